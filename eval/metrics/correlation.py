"""How well cosine similarity ranks sentence pairs against gold scores."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats


@dataclass(frozen=True, slots=True)
class Scores:
    """Spearman and Pearson correlation of cosine similarity with gold, -1 to 1.

    None if they are not defined: embeddings that are not finite or all zeros, or similarities or
    gold scores that are all the same.
    """

    spearman: float | None
    pearson: float | None


def cosine_similarity(first: NDArray[np.float32], second: NDArray[np.float32]) -> NDArray[np.float64]:
    """Row by row cosine similarity of two float32 [N, D] arrays, in float64: [N].

    NaN for a row that is all zeros or not finite.
    """
    left, right = first.astype(np.float64), second.astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        norms = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
        return np.asarray(np.einsum("nd,nd->n", left, right) / norms)


def pair_similarities(embeddings: NDArray[np.float32]) -> NDArray[np.float64]:
    """Cosines of N pairs from float32 [2N, D], all first sentences before all second ones: [N]."""
    half = len(embeddings) // 2
    return cosine_similarity(embeddings[:half], embeddings[half:])


def score_pairs(first: NDArray[np.float32], second: NDArray[np.float32], gold: NDArray[np.float64]) -> Scores:
    """Score the embeddings of N pairs, each float32 [N, D], against gold [N]."""
    similarities = cosine_similarity(first, second)
    if not np.isfinite(similarities).all() or 0 in (np.ptp(similarities), np.ptp(gold)):
        return Scores(None, None)
    return Scores(
        float(stats.spearmanr(similarities, gold).statistic),
        float(stats.pearsonr(similarities, gold).statistic),
    )
