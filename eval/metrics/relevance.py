"""nDCG@10 and MRR@10 of a search with relevance judgements, as trec_eval defines them."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from minilmx.eval.metrics.bootstrap import RESAMPLES, SEED, Interval, compare_means
from minilmx.eval.metrics.retrieval import TOP, Neighbours

_DISCOUNTS = 1 / np.log2(np.arange(2, TOP + 2))


@dataclass(frozen=True, slots=True)
class Relevance:
    """The means of nDCG@10 and MRR@10, 0 to 1, over the queries that have a judgement."""

    queries: int
    ndcg_at_10: float
    mrr_at_10: float


@dataclass(frozen=True, slots=True)
class RelevanceDifference:
    """Candidate minus reference, -1 to 1, with a paired bootstrap over the queries."""

    ndcg_at_10: Interval
    mrr_at_10: Interval
    resamples: int
    seed: int

    @property
    def meaning(self) -> str:
        """A plain sentence that says what the difference of nDCG@10 means."""
        interval = self.ndcg_at_10
        measured = f"{interval.estimate:+.4f}, 95% interval {interval.low:+.4f} to {interval.high:+.4f}"
        if not interval.excludes_zero:
            return f"nDCG@10 does not differ beyond chance ({measured})."
        better = "higher" if interval.estimate > 0 else "lower"
        return f"nDCG@10 is {better}, and not by chance ({measured})."


@dataclass(frozen=True, slots=True)
class QueryScores:
    """nDCG@10 and MRR@10 of each judged query, float64 [J]."""

    ndcg: NDArray[np.float64]
    mrr: NDArray[np.float64]

    @property
    def means(self) -> Relevance:
        """The means over the queries."""
        return Relevance(len(self.ndcg), float(self.ndcg.mean()), float(self.mrr.mean()))


def score_queries(nearest: Neighbours, judgements: Mapping[int, Mapping[int, int]]) -> QueryScores:
    """Score the nearest documents of each query, int64 [Q, 10].

    The gain is the score of the judgement, and a document is relevant if that is more than 0.
    """
    gains = np.array([[judged.get(int(n), 0) for n in nearest[q]] for q, judged in judgements.items()])
    best = np.zeros(gains.shape)
    for row, judged in enumerate(judgements.values()):
        scores = sorted(judged.values(), reverse=True)[:TOP]
        best[row, : len(scores)] = scores
    ideal, relevant = best @ _DISCOUNTS, gains > 0
    ndcg = np.divide(gains @ _DISCOUNTS, ideal, out=np.zeros(len(gains)), where=ideal > 0)
    return QueryScores(ndcg, relevant.any(axis=1) / (relevant.argmax(axis=1) + 1))


def compare_relevance(reference: QueryScores, candidate: QueryScores) -> RelevanceDifference:
    """Bootstrap the differences of the means over the same queries."""
    return RelevanceDifference(
        compare_means(reference.ndcg, candidate.ndcg),
        compare_means(reference.mrr, candidate.mrr),
        RESAMPLES,
        SEED,
    )
