"""How far one runner's embeddings are from another's over the same inputs."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from msgspec import UNSET, UnsetType
from numpy.typing import NDArray

from minilmx.embedding.similarity import cosine_similarity
from minilmx.errors import EvalError

_BINS = 40
_DECILES = 10
_MOST_LANGUAGES = 50
_WORST = 10


@dataclass(frozen=True, slots=True)
class Drift:
    """Element-wise differences over N x D numbers, or N scores, and cosines over N sentences.

    `max_relative` is the largest L2 norm of a sentence's difference, divided by the norm of the reference's
    embedding: it depends neither on the length of the embeddings nor on D. `max_ulps` and `mean_ulps`
    count the difference in float16 units in the last place, at the
    reference's number or, for one near zero, at its embedding's root mean square. All but
    `finite` are None if an embedding of either side is not finite; the cosines and `max_relative` are
    also None if an embedding is all zeros. Scores have no cosines, and no ulps; their `max_relative` is
    the largest difference, divided by the root mean square of the reference's scores.
    """

    finite: bool
    max_relative: float | None = None
    max_abs: float | None = None
    mean_abs: float | None = None
    rms_abs: float | None = None
    p50_abs: float | None = None
    p99_abs: float | None = None
    p99_9_abs: float | None = None
    max_ulps: float | None = None
    mean_ulps: float | None = None
    min_cosine: float | None = None
    p1_cosine: float | None = None
    median_cosine: float | None = None
    mean_cosine: float | None = None


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts between edges; there is one more edge than counts."""

    edges: tuple[float, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupDrift:
    """Drift of some of the sentences."""

    sentences: int
    max_abs: float
    mean_abs: float
    min_cosine: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LengthDrift(GroupDrift):
    """Drift of the sentences of `shortest` to `longest` tokens."""

    shortest: int
    longest: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PositionDrift(GroupDrift):
    """Drift of the rows `first` to `last` of a corpus, counted from 0: a tenth of it."""

    first: int
    last: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LanguageDrift(GroupDrift):
    """Drift of the sentences of one language as the corpus names it; None for those without a name."""

    language: str | None


@dataclass(frozen=True, slots=True)
class CorpusRows:
    """Where N sentences are in a corpus: the numbers of their rows, int64 [N], of `total`, and perhaps their
    languages."""

    rows: NDArray[np.int64]
    total: int
    languages: Sequence[str | None] | None = None


@dataclass(frozen=True, slots=True)
class SentenceDrift:
    """One sentence's drift. `index` counts first sentences of all pairs, then second ones."""

    index: int
    text: str
    tokens: int | None
    max_abs: float
    cosine: float


@dataclass(frozen=True, slots=True)
class DriftProfile:
    """Where the drift is: by dimension, by length, by sentence, and by position and language in a corpus.

    `by_position` has the tenths of a corpus, and is left out for other sentences. `by_language` has the 50
    languages with the most sentences, those first, and is left out if the corpus names none.
    `dimension_max_abs` and `dimension_mean_abs` have D numbers. The histograms are over log10 of each
    sentence's largest difference (zero counts as 1e-12), and over each sentence's cosine. `worst`
    holds the sentences with the largest difference, the largest first, each text once.
    """

    dimension_max_abs: tuple[float, ...]
    dimension_mean_abs: tuple[float, ...]
    by_length: tuple[LengthDrift, ...]
    log10_max_abs: Histogram
    cosine: Histogram
    worst: tuple[SentenceDrift, ...]
    by_position: tuple[PositionDrift, ...] | UnsetType = UNSET
    by_language: tuple[LanguageDrift, ...] | UnsetType = UNSET


def measure_drift(reference: NDArray[np.float32], candidate: NDArray[np.float32]) -> Drift:
    """Compare two float32 [N, D] arrays; the arithmetic is float64. Raises EvalError."""
    if reference.size == 0:
        raise EvalError(f"embeddings: none, {list(reference.shape)}; expected at least one number")
    if reference.shape != candidate.shape:
        raise EvalError(
            f"embeddings: shapes {list(reference.shape)} and {list(candidate.shape)}; expected the same shape"
        )
    if not _finite(reference, candidate):
        return Drift(finite=False)
    difference = np.abs(candidate.astype(np.float64) - reference)
    ulps = difference / _float16_ulp(reference)
    cosines = cosine_similarity(reference, candidate)
    drift = Drift(True, max_ulps=float(ulps.max()), mean_ulps=float(ulps.mean()), **_sizes(difference))
    if not np.isfinite(cosines).all():
        return drift
    p1, median = np.percentile(cosines, (1, 50))
    return replace(
        drift,
        max_relative=float((_norms(difference) / _norms(reference)).max()),
        min_cosine=float(cosines.min()),
        p1_cosine=float(p1),
        median_cosine=float(median),
        mean_cosine=float(cosines.mean()),
    )


def measure_score_drift(reference: NDArray[np.float64], candidate: NDArray[np.float64]) -> Drift:
    """Compare the scores of N pairs, each float64 [N]."""
    if not _finite(reference, candidate):
        return Drift(finite=False)
    difference = np.abs(candidate - reference)
    size = float(np.sqrt(np.mean(reference**2)))
    largest = float(difference.max())
    relative = largest / size if size else None if largest else 0.0
    return Drift(finite=True, max_relative=relative, **_sizes(difference))


def _sizes(difference: NDArray[np.float64]) -> dict[str, float]:
    """How large absolute differences are."""
    p50, p99, p99_9 = np.percentile(difference, (50, 99, 99.9))
    return {
        "max_abs": float(difference.max()),
        "mean_abs": float(difference.mean()),
        "rms_abs": float(np.sqrt(np.mean(difference**2))),
        "p50_abs": float(p50),
        "p99_abs": float(p99),
        "p99_9_abs": float(p99_9),
    }


def profile_drift(
    reference: NDArray[np.float32],
    candidate: NDArray[np.float32],
    texts: list[str],
    token_counts: NDArray[np.int64] | None,
    corpus: CorpusRows | None = None,
) -> DriftProfile | None:
    """Where two float32 [N, D] arrays differ; None if either is not finite or a row is zero.

    `token_counts`, int64 [N], and `corpus` say what is known of the N texts.
    """
    cosines = cosine_similarity(reference, candidate)
    if not (_finite(reference, candidate) and np.isfinite(cosines).all()):
        return None
    difference = np.abs(candidate.astype(np.float64) - reference)
    largest = difference.max(axis=1)
    first = sorted(np.unique(np.array(texts, dtype=object), return_index=True)[1])  # each text once
    order = np.array(first)[np.argsort(-largest[first], kind="stable")[:_WORST]]
    return DriftProfile(
        dimension_max_abs=tuple(difference.max(axis=0).tolist()),
        dimension_mean_abs=tuple(difference.mean(axis=0).tolist()),
        by_length=() if token_counts is None else _by_length(difference, cosines, token_counts),
        log10_max_abs=_histogram(np.log10(np.maximum(largest, 1e-12))),
        cosine=_histogram(cosines),
        worst=tuple(
            SentenceDrift(
                int(i),
                texts[i],
                None if token_counts is None else int(token_counts[i]),
                float(largest[i]),
                float(cosines[i]),
            )
            for i in order
        ),
        by_position=UNSET if corpus is None else _by_position(difference, cosines, corpus),
        by_language=UNSET if corpus is None or corpus.languages is None
        else _by_language(difference, cosines, corpus.languages),
    )  # fmt: skip


def _norms(rows: NDArray[Any]) -> NDArray[np.float64]:
    return np.asarray(np.linalg.norm(rows.astype(np.float64, copy=False), axis=1))


def _float16_ulp(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """The distance between float16 numbers at each value, or at its row's root mean square if larger."""
    floor = np.sqrt(np.mean(np.square(values, dtype=np.float64), axis=1, keepdims=True))
    largest = np.finfo(np.float16).max / 2  # above it, the last distance is used
    magnitude = np.minimum(np.maximum(np.abs(values), floor), largest).astype(np.float16)
    return np.asarray(np.spacing(magnitude), dtype=np.float64)


def _finite(*arrays: NDArray[Any]) -> bool:
    return all(bool(np.isfinite(array).all()) for array in arrays)


def _group(
    difference: NDArray[np.float64], cosines: NDArray[np.float64], rows: NDArray[np.bool_]
) -> dict[str, Any]:
    """The fields of a GroupDrift of some rows, at least one."""
    return {
        "sentences": int(rows.sum()),
        "max_abs": float(difference[rows].max()),
        "mean_abs": float(difference[rows].mean()),
        "min_cosine": float(cosines[rows].min()),
    }


def _by_length(
    difference: NDArray[np.float64], cosines: NDArray[np.float64], token_counts: NDArray[np.int64]
) -> tuple[LengthDrift, ...]:
    """Bins of lengths 1-8, 9-16, 17-32, ... tokens; empty ones are left out."""
    bins = []
    shortest, longest = 1, 8
    while shortest <= token_counts.max():
        rows = (token_counts >= shortest) & (token_counts <= longest)
        if rows.any():
            bins.append(LengthDrift(shortest=shortest, longest=longest, **_group(difference, cosines, rows)))
        shortest, longest = longest + 1, 2 * longest
    return tuple(bins)


def _by_position(
    difference: NDArray[np.float64], cosines: NDArray[np.float64], corpus: CorpusRows
) -> tuple[PositionDrift, ...]:
    """Tenths of the corpus; those without a sentence are left out."""
    edges = [corpus.total * tenth // _DECILES for tenth in range(_DECILES + 1)]
    tenths = []
    for first, end in pairwise(edges):
        rows = (corpus.rows >= first) & (corpus.rows < end)
        if rows.any():
            tenths.append(PositionDrift(first=first, last=end - 1, **_group(difference, cosines, rows)))
    return tuple(tenths)


def _by_language(
    difference: NDArray[np.float64], cosines: NDArray[np.float64], languages: Sequence[str | None]
) -> tuple[LanguageDrift, ...]:
    """The languages with the most sentences, those first."""
    named = np.array(languages, dtype=object)
    return tuple(
        LanguageDrift(language=name, **_group(difference, cosines, named == name))
        for name, _ in Counter(languages).most_common(_MOST_LANGUAGES)
    )


def _histogram(values: NDArray[np.float64]) -> Histogram:
    low, high = float(values.min()), float(values.max())
    # Bins of float64 numbers cannot be narrower than the numbers are apart.
    least = 4 * _BINS * float(np.spacing(max(abs(low), abs(high), 1e-12)))
    if high - low < least:
        low, high = low - least / 2, high + least / 2
    counts, edges = np.histogram(values, bins=_BINS, range=(low, high))
    return Histogram(tuple(edges.tolist()), tuple(counts.tolist()))
