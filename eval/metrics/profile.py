"""Where the drift is: by dimension, by length, by sentence, and by position and language in a corpus."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from msgspec import UNSET, UnsetType
from numpy.typing import NDArray

from minilmx.embedding.similarity import cosine_similarity
from minilmx.eval.metrics.drift import all_finite

_BINS = 40
_DECILES = 10
_MOST_LANGUAGES = 50
_WORST = 10


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
    if not (all_finite(reference, candidate) and np.isfinite(cosines).all()):
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
