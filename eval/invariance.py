"""Batch invariance: whether a text has the same embedding whatever it is embedded with."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from minilmx.embedding.embedder import Embedder
from minilmx.embedding.open_graph import Embeddings
from minilmx.embedding.similarity import cosine_similarity
from minilmx.models.batching import feed_alone
from minilmx.models.tokenizer import TokenizedTexts

SENTENCES = 24
LEAST_COSINE = 1 - 1e-6


@dataclass(frozen=True, slots=True)
class BatchInvariance:
    """How far embeddings of one runner move when other texts share their batch.

    Over `sentences` sentences of all lengths, each embedded with the whole data, alone, and among the
    others in the opposite order: `min_cosine` is the smallest cosine of two embeddings of one sentence,
    and `max_abs` their largest absolute difference.
    """

    sentences: int
    min_cosine: float
    max_abs: float

    @property
    def kept(self) -> bool:
        """Whether embeddings move no further than the order of float32 sums moves them."""
        return self.min_cosine >= LEAST_COSINE

    @property
    def meaning(self) -> str:
        """What it means that they move, as a plain sentence."""
        return (
            f"A text's embedding depends on the other texts in its batch: cosine {self.min_cosine:.6f} at "
            "the lowest between two embeddings of one text."
        )


def measure_invariance(
    embedder: Embedder, texts: TokenizedTexts, embeddings: Embeddings
) -> BatchInvariance | None:
    """Embed up to 24 of the texts again, and compare with the `embeddings` of all of them.

    None if an embedding is not finite or all zeros. Raises RunnerError.
    """
    rows = _spread_over_lengths(texts)
    some = texts.take(rows)
    alone = embedder.encode_tokenized(some, feed=feed_alone).values
    turned = embedder.encode_tokenized(some.take(slice(None, None, -1))).values[::-1]
    before = embeddings.values[rows]
    cosines, differences = [], []
    for again in (alone, turned):
        cosines.append(cosine_similarity(before, again))
        differences.append(np.abs(again.astype(np.float64) - before))
    if not np.isfinite(cosines).all():
        return None
    return BatchInvariance(len(rows), float(np.min(cosines)), float(np.max(differences)))


def _spread_over_lengths(texts: TokenizedTexts) -> NDArray[np.int64]:
    """The rows of the shortest and the longest text, and of some at even steps of rank between them."""
    order = np.argsort(texts.token_counts, kind="stable")
    steps = np.linspace(0, len(order) - 1, min(SENTENCES, len(order)))
    return np.asarray(order[steps.round().astype(np.int64)])
