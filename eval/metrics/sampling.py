"""What a sample says of all the texts that it was drawn from."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from minilmx.embedding.similarity import cosine_similarity
from minilmx.eval.metrics.bootstrap import RESAMPLES, SEED, Interval, estimate_means
from minilmx.eval.metrics.retrieval import TOP, FoundNeighbours

_CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class SampleEstimates:
    """95% intervals of the means over all texts, from a bootstrap over those in the sample.

    The recalls are of a search among the sampled texts alone, and None if that is not defined. At 95%
    confidence, no more than `share_beyond` of all texts, 0 to 1, have moved further than each in the sample.
    """

    mean_abs: Interval
    mean_cosine: Interval
    recall_at_1: Interval | None
    recall_at_10: Interval | None
    mixed_recall_at_1: Interval | None
    mixed_recall_at_10: Interval | None
    share_beyond: float
    resamples: int
    seed: int

    @property
    def meaning(self) -> str:
        """The estimates as plain sentences."""
        shown = [
            ("mean abs", self.mean_abs, ".2e"),
            ("mean cosine", self.mean_cosine, ".8f"),
            ("recall@10", self.recall_at_10, ".4f"),
            ("recall@10 in the old index", self.mixed_recall_at_10, ".4f"),
        ]
        intervals = ", ".join(
            f"{name} {each.low:{digits}} to {each.high:{digits}}" for name, each, digits in shown if each
        )
        among = "; the neighbours are those among the sampled texts" if self.recall_at_10 else ""
        return (
            f"95% intervals from the sample: {intervals}{among}. With 95% confidence, at most "
            f"{100 * self.share_beyond:.2g}% of all texts differ by more than the largest difference here."
        )


def estimate_sample(
    reference: NDArray[np.float32], candidate: NDArray[np.float32], neighbours: FoundNeighbours | None
) -> SampleEstimates:
    """The estimates from two float32 [N, D] arrays, finite and without a row of zeros."""
    moved = np.abs(candidate.astype(np.float64) - reference).mean(axis=1)
    mean_abs, mean_cosine = estimate_means(np.column_stack([moved, cosine_similarity(reference, candidate)]))
    recalls: list[Interval] | list[None] = [None] * 4
    if neighbours is not None:
        recalls = estimate_means(neighbours.hits / (1, TOP, 1, TOP))
    return SampleEstimates(
        mean_abs=mean_abs,
        mean_cosine=mean_cosine,
        recall_at_1=recalls[0],
        recall_at_10=recalls[1],
        mixed_recall_at_1=recalls[2],
        mixed_recall_at_10=recalls[3],
        share_beyond=1 - (1 - _CONFIDENCE) ** (1 / len(reference)),
        resamples=RESAMPLES,
        seed=SEED,
    )
