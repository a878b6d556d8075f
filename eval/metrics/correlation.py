"""How well a model's similarity, mostly cosine, ranks sentence pairs against gold scores."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from minilmx.embedding.similarity import measure_similarity

_MOST = 1 + 1e-9  # room for rounding


@dataclass(frozen=True, slots=True)
class Scores:
    """Spearman and Pearson correlation of the model's similarity with gold, -1 to 1.

    None if they are not defined: embeddings that are not finite or all zeros, or similarities or
    gold scores that are all the same.
    """

    spearman: float | None
    pearson: float | None

    def __post_init__(self) -> None:
        for value in (self.spearman, self.pearson):
            if value is not None and abs(value) > _MOST:
                raise ValueError(f"a correlation of {value:g}; expected -1 to 1")


def pair_similarities(embeddings: NDArray[np.float32], similarity: str) -> NDArray[np.float64]:
    """Similarities of N pairs from float32 [2N, D], all first sentences before all second ones: [N]."""
    half = len(embeddings) // 2
    return measure_similarity(embeddings[:half], embeddings[half:], similarity)


def correlate(similarities: NDArray[np.float64], gold: NDArray[np.float64]) -> Scores:
    """The correlations of N pairs' similarities, or a cross-encoder's scores, with gold: each float64 [N]."""
    if not np.isfinite(similarities).all() or 0 in (np.ptp(similarities), np.ptp(gold)):
        return Scores(None, None)
    from scipy import stats  # here, as it takes a while and only pairs need it

    return Scores(
        float(stats.spearmanr(similarities, gold).statistic),
        float(stats.pearsonr(similarities, gold).statistic),
    )
