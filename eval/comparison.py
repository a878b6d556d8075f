"""The comparison of one runner's embeddings with the reference's."""

from dataclasses import dataclass, replace

import numpy as np
from msgspec import UNSET, UnsetType
from numpy.typing import NDArray

from minilmx.eval.datasets.pairs import SentencePairs
from minilmx.eval.metrics.bootstrap import PairedDifference, compare_correlations
from minilmx.eval.metrics.correlation import pair_similarities
from minilmx.eval.metrics.drift import Drift, measure_drift, measure_score_drift
from minilmx.eval.metrics.profile import DriftProfile, profile_drift
from minilmx.eval.metrics.ranks import RankDrift, measure_ranks
from minilmx.eval.metrics.relevance import RelevanceDifference
from minilmx.eval.metrics.retrieval import RetrievalDrift, Sides, measure_retrieval
from minilmx.eval.metrics.sampling import SampleEstimates
from minilmx.models.manifest import COSINE

Rows = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Comparison:
    """A candidate against the reference over the same 2N sentences.

    `max_delta_cosine` and `mean_delta_cosine` are of the N pairs' similarities, or a cross-encoder's scores,
    which have no `profile` and no `retrieval`. All but `drift`
    is None if embeddings are not finite or all zeros, or too few. `relevance` is
    left out without relevance judgements, and `sample` unless the sentences are a sample.
    """

    drift: Drift
    profile: DriftProfile | None = None
    max_delta_cosine: float | None = None
    mean_delta_cosine: float | None = None
    correlation: PairedDifference | None = None
    ranks: RankDrift | None = None
    retrieval: RetrievalDrift | None = None
    relevance: RelevanceDifference | UnsetType = UNSET
    sample: SampleEstimates | UnsetType = UNSET


def compare(
    reference: Rows,
    candidate: Rows,
    pairs: SentencePairs,
    token_counts: NDArray[np.int64] | None,
    similarity: str = COSINE,
    search: tuple[Sides, Sides] | None = None,
) -> Comparison:
    """Compare float32 [2N, D] embeddings of all first sentences, then all second ones.

    `similarity` is the model's: "cosine", "dot", "euclidean" or "manhattan". `search` holds the reference's
    and the candidate's embeddings of the same sentences for a search, if it needs others.
    """
    drift = measure_drift(reference, candidate)
    before, after = pair_similarities(reference, similarity), pair_similarities(candidate, similarity)
    if not (np.isfinite(before).all() and np.isfinite(after).all()):
        return Comparison(drift)
    first, second = search or (reference, candidate)
    return replace(
        _compare_pairs(drift, before, after, pairs),
        profile=profile_drift(reference, candidate, pairs.texts, token_counts),
        retrieval=measure_retrieval(first, second, pairs.texts, similarity),
    )


def compare_scores(
    reference: NDArray[np.float64], candidate: NDArray[np.float64], pairs: SentencePairs
) -> Comparison:
    """Compare the scores that a cross-encoder gives the pairs on two runners, each float64 [N]."""
    drift = measure_score_drift(reference, candidate)
    if not drift.finite:
        return Comparison(drift)
    return _compare_pairs(drift, reference, candidate, pairs)


def _compare_pairs(
    drift: Drift, before: NDArray[np.float64], after: NDArray[np.float64], pairs: SentencePairs
) -> Comparison:
    """What the N pairs' similarities or scores, float64 [N], show of the reference and the candidate."""
    delta = np.abs(after - before)
    return Comparison(
        drift=drift,
        max_delta_cosine=float(delta.max()),
        mean_delta_cosine=float(delta.mean()),
        correlation=compare_correlations(before, after, pairs.gold),
        ranks=measure_ranks(before, after, pairs.pairs),
    )
