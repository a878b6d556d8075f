"""What a comparison measures: each side's result on the same inputs, compared with the first side's."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from msgspec import UNSET, UnsetType
from numpy.typing import NDArray

from minilmx.eval.comparison import Comparison, compare
from minilmx.eval.datasets.pairs import SentencePairs
from minilmx.eval.datasets.search import SearchTexts
from minilmx.eval.evaluation import RunnerResult
from minilmx.eval.inputs import Inputs
from minilmx.eval.metrics.correlation import Scores, correlate, pair_similarities
from minilmx.eval.metrics.drift import Drift, measure_drift
from minilmx.eval.metrics.profile import CorpusRows, profile_drift
from minilmx.eval.metrics.relevance import compare_relevance, score_queries
from minilmx.eval.metrics.retrieval import (
    FoundNeighbours,
    compare_neighbours,
    find_nearest,
    find_neighbours,
)
from minilmx.eval.metrics.sampling import SampleEstimates, estimate_sample
from minilmx.eval.sides.side import ComparedSide
from minilmx.runners.base import chip_latencies


def pair_results(
    sides: Sequence[ComparedSide], pairs: SentencePairs, similarity: str
) -> Iterator[RunnerResult]:
    """Each side's result on graded pairs, compared with the first side's."""
    first, counts = sides[0], _token_counts(sides)
    for side in sides:
        similarities = pair_similarities(side.values, similarity)
        scores = correlate(similarities, pairs.gold)
        comparison = None
        if side is not first:
            comparison = Comparison(Drift(finite=False))
            if first.is_finite and side.is_finite:
                comparison = compare(first.values, side.values, pairs, counts, similarity)
        yield replace(
            _result(side, comparison),
            scores=scores,
            similarities=None if scores.spearman is None else tuple(similarities.tolist()),
        )


def text_results(
    sides: Sequence[ComparedSide], inputs: Inputs | None, similarity: str, keep_text: bool
) -> Iterator[RunnerResult]:
    """Each side's result on texts, each of which is a query of a search among the others."""
    first, sample, ids = sides[0], inputs.sample if inputs else None, inputs.ids if inputs else None
    numbers = np.arange(len(first.values)) if sample is None else sample.rows
    rows = [f"row {number}" for number in numbers] if ids is None else [f"id {each}" for each in ids]
    texts = rows if inputs is None else list(inputs.texts)
    total = len(numbers) if sample is None else sample.total
    corpus = CorpusRows(numbers, total, inputs.languages if inputs else None)
    shown, counts = texts if keep_text else rows, _token_counts(sides)
    for side in sides:
        comparison = None if side is first else _compare(first, side, shown, counts, corpus)
        if comparison and comparison.drift.finite:
            neighbours = find_neighbours(first.values, side.values, texts, similarity)
            estimates: SampleEstimates | UnsetType = UNSET
            if sample is not None and comparison.profile is not None:
                estimates = estimate_sample(first.values, side.values, neighbours)
            comparison = replace(
                comparison,
                retrieval=None if neighbours is None else compare_neighbours(neighbours),
                sample=estimates,
            )
        yield _result(side, comparison)


def search_results(
    sides: Sequence[ComparedSide], search: SearchTexts, similarity: str, keep_text: bool
) -> Iterator[RunnerResult]:
    """Each side's result on the queries and the documents of a search."""
    first, half = sides[0], len(search.queries)
    shown, counts = search.texts if keep_text else search.labels, _token_counts(sides)
    neighbours_by_side = [find_nearest(side.values[:half], side.values[half:], similarity) for side in sides]
    judged = [
        None if nearest is None or search.judgements is None else score_queries(nearest, search.judgements)
        for nearest in neighbours_by_side
    ]
    for side, nearest, scores in zip(sides, neighbours_by_side, judged, strict=True):
        comparison = None if side is first else _compare(first, side, shown, counts)
        if comparison and comparison.drift.finite:
            mixed = find_nearest(side.values[:half], first.values[half:], similarity)
            if neighbours_by_side[0] is not None and nearest is not None and mixed is not None:
                neighbours = FoundNeighbours(neighbours_by_side[0], nearest, mixed)
                comparison = replace(
                    comparison,
                    retrieval=compare_neighbours(neighbours, search, keep_text=keep_text),
                    relevance=compare_relevance(judged[0], scores) if judged[0] and scores else UNSET,
                )
        yield replace(_result(side, comparison), relevance=scores.means if scores else UNSET)


def _token_counts(sides: Sequence[ComparedSide]) -> NDArray[np.int64] | None:
    """The tokens of each text, int64 [N], as the first side that has them counts them."""
    return next((side.token_counts for side in sides if side.token_counts is not None), None)


def _compare(
    first: ComparedSide,
    side: ComparedSide,
    shown: list[str],
    counts: NDArray[np.int64] | None,
    corpus: CorpusRows | None = None,
) -> Comparison:
    """How far a side's embeddings are from the first's, and where, with the texts as they are `shown`."""
    if not (first.is_finite and side.is_finite):
        return Comparison(Drift(finite=False))
    drift = measure_drift(first.values, side.values)
    return Comparison(drift, profile_drift(first.values, side.values, shown, counts, corpus))


def _result(side: ComparedSide, comparison: Comparison | None) -> RunnerResult:
    return RunnerResult(
        runner=side.name,
        graph=side.record.graph if side.record else None,
        details=side.details,
        versions=side.versions,
        finite=side.is_finite,
        scores=Scores(None, None),
        similarities=None,
        comparison=comparison,
        invariance=side.invariance,
        timing=side.timing,
        **chip_latencies(side.details),
    )
