"""Real sentences of every length, to check consumers with."""

from itertools import accumulate

import numpy as np

from minilmx.eval.datasets.pairs import BUNDLED, load_pairs
from minilmx.models.artifact import Artifact
from minilmx.models.tokenizer import open_tokenizer

_MOST = 32
_TRUNCATED = 3


def varied_texts(artifact: Artifact) -> list[str]:
    """Up to 35 texts, always the same: lengths from one token to the artifact's, and 3 truncated.

    They are the bundled sentences, their words, and sentences joined to longer and longer texts; one
    text per length, in mixed order, so that a batch holds several lengths.
    """
    sentences = load_pairs(BUNDLED).texts
    words = sorted({word for sentence in sentences for word in sentence.split()})
    longest = 2 * artifact.shape.sequence_length
    joined = accumulate(sentences[:longest], lambda text, more: f"{text} {more}")
    candidates = [*sentences, *words, *joined]
    tokenized = open_tokenizer(artifact, artifact.prompt).encode(candidates)
    whole = {
        int(count): text
        for count, truncated, text in zip(
            tokenized.token_counts, tokenized.truncated, candidates, strict=True
        )
        if not truncated
    }
    lengths = sorted(whole)
    picks = np.unique(np.linspace(0, len(lengths) - 1, min(len(lengths), _MOST)).round().astype(int))
    cut = [text for text, truncated in zip(candidates, tokenized.truncated, strict=True) if truncated]
    texts = [whole[lengths[pick]] for pick in picks] + cut[:1] + cut[1 - _TRUNCATED :]
    return [texts[i] for i in np.random.default_rng(0).permutation(len(texts))]
