"""Whether two runners put sentence pairs in the same order of similarity."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_BLOCK_ROWS = 512
_WORST = 10

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Swap:
    """Two sentence pairs whose order differs: the reference has `higher` above `lower`.

    Both are positions among the pairs, with their sentences. `margin` is how much the difference of
    their similarities changed from the reference to the candidate.
    """

    higher: int
    lower: int
    higher_texts: tuple[str, str]
    lower_texts: tuple[str, str]
    margin: float


@dataclass(frozen=True, slots=True)
class RankDrift:
    """`swaps` of `comparisons` two-pair comparisons differ in order; `worst` has the widest margins.

    `kendall_tau` is Kendall's tau-b; None if all similarities of a runner are the same.
    `max_rank_shift` is the most places that one pair moved.
    """

    comparisons: int
    swaps: int
    kendall_tau: float | None
    max_rank_shift: float
    worst: tuple[Swap, ...]


def measure_ranks(reference: Floats, candidate: Floats, texts: Sequence[tuple[str, str]]) -> RankDrift:
    """Compare the order of two runners' similarities, float64 [N] each, in blocks of rows.

    `texts` are the N sentence pairs, for naming the worst swaps.
    """
    from scipy import stats  # here, as it takes a while and only pairs need it

    n = len(reference)
    swaps, widest = 0, []
    for start in range(0, n, _BLOCK_ROWS):
        rows = slice(start, min(start + _BLOCK_ROWS, n))
        before = reference[rows, None] - reference[None, :]
        after = candidate[rows, None] - candidate[None, :]
        swapped = (before > 0) & (after < 0)
        swaps += int(swapped.sum())
        i, j = np.nonzero(swapped)
        margins = before[i, j] - after[i, j]
        top = np.argsort(-margins, kind="stable")[:_WORST]
        widest += [(float(margins[k]), start + int(i[k]), int(j[k])) for k in top]
    shift = np.abs(stats.rankdata(reference) - stats.rankdata(candidate)).max()
    tau = float(stats.kendalltau(reference, candidate).statistic)
    return RankDrift(
        comparisons=n * (n - 1) // 2,
        swaps=swaps,
        kendall_tau=None if np.isnan(tau) else tau,
        max_rank_shift=float(shift),
        worst=tuple(
            Swap(high, low, texts[high], texts[low], margin)
            for margin, high, low in sorted(widest, reverse=True)[:_WORST]
        ),
    )
