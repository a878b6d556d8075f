"""The paired bootstrap: whether two runners' correlations differ by more than chance.

Both runners are scored on the same resampled pairs (Efron and Tibshirani, An Introduction to
the Bootstrap, 1993, chapter 13: percentile intervals), so the sampling error that they share,
2 points and more on STSb, cancels out.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 10_000
SEED = 0
# Numbers computed on at a time: more leave a core's cache, and take twice as long.
_PIECE_NUMBERS = 100_000

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Interval:
    """A 95% percentile interval around an estimate."""

    estimate: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Whether chance alone is unlikely to explain the estimate."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """Candidate minus reference, -2 to 2, with the seed and number of resamples behind it."""

    spearman: Interval
    pearson: Interval
    resamples: int
    seed: int

    @property
    def meaning(self) -> str:
        """A plain sentence that says what the Spearman difference means."""
        points = 100 * self.spearman.estimate
        low, high = 100 * self.spearman.low, 100 * self.spearman.high
        measured = f"{points:+.4f} points, 95% interval {low:+.4f} to {high:+.4f}"
        if not self.spearman.excludes_zero:
            return f"The Spearman correlations do not differ beyond chance ({measured})."
        better = "higher" if points > 0 else "lower"
        size = " It is far smaller than any difference between models." if abs(points) < 0.1 else ""
        return f"The candidate's Spearman is {better}, and not by chance ({measured}).{size}"


def compare_correlations(
    reference: Floats, candidate: Floats, gold: Floats, resamples: int = RESAMPLES, seed: int = SEED
) -> PairedDifference:
    """Bootstrap the differences of Spearman and Pearson correlation with gold, all float64 [N]."""
    n = len(gold)
    whole = np.ones((1, n))
    spearman, pearson = _differences(reference, candidate, gold, whole)
    drawn = [_differences(reference, candidate, gold, c) for c in _resampled(n, resamples, seed)]
    return PairedDifference(
        _interval(float(spearman[0]), np.concatenate([pair[0] for pair in drawn])),
        _interval(float(pearson[0]), np.concatenate([pair[1] for pair in drawn])),
        resamples,
        seed,
    )


def compare_means(reference: Floats, candidate: Floats) -> Interval:
    """Bootstrap the difference of two means over the same items, both float64 [N]."""
    return estimate_means((candidate - reference)[:, None])[0]


def estimate_means(values: Floats) -> list[Interval]:
    """Bootstrap the mean of each column of float64 [N, K] over the same N items."""
    n = len(values)
    drawn = np.concatenate([counts @ values / n for counts in _resampled(n, RESAMPLES, SEED)])
    return [_interval(float(each.mean()), means) for each, means in zip(values.T, drawn.T, strict=True)]


def _resampled(n: int, resamples: int, seed: int) -> Iterator[Floats]:
    """How often each of n items is drawn: float64 [R, n] pieces that add up to all resamples."""
    random = np.random.default_rng(seed)
    piece = max(1, _PIECE_NUMBERS // n)
    for start in range(0, resamples, piece):
        rows = min(piece, resamples - start)
        drawn = random.integers(0, n, size=(rows, n)) + n * np.arange(rows)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=rows * n)
        yield counts.reshape(rows, n).astype(np.float64)


def _differences(reference: Floats, candidate: Floats, gold: Floats, counts: Floats) -> tuple[Floats, Floats]:
    """Differences of Spearman and of Pearson for each row of counts: [R] each."""
    a, b, c = (_ranks(values, counts) for values in (reference, candidate, gold))
    weighted_a, weighted_b, weighted_c = counts * a, counts * b, counts * c
    aa, bb, cc, ac, bc = (
        np.einsum("rn,rn->r", x, y)
        for x, y in ((weighted_a, a), (weighted_b, b), (weighted_c, c), (a, weighted_c), (b, weighted_c))
    )
    spearman = _ratio(bc, bb * cc) - _ratio(ac, aa * cc)
    a, b, c = (values - values.mean() for values in (reference, candidate, gold))
    moments = counts @ np.stack([a, b, c, a * a, b * b, c * c, a * c, b * c], axis=1) / len(gold)
    mean_a, mean_b, mean_c, aa, bb, cc, ac, bc = moments.T
    aa, bb, cc = aa - mean_a**2, bb - mean_b**2, cc - mean_c**2
    ac, bc = ac - mean_a * mean_c, bc - mean_b * mean_c
    return spearman, _ratio(bc, bb * cc) - _ratio(ac, aa * cc)


def _ranks(values: Floats, counts: Floats) -> Floats:
    """Average ranks within each resample, less their mean (N + 1) / 2, [R, N], without sorting it.

    With the values sorted once, the copies of an item in a resample follow all copies of
    smaller ones, and equal values share the mean of their places.
    """
    _, group = np.unique(values, return_inverse=True)
    order = np.argsort(group, kind="stable")
    starts = np.searchsorted(group[order], np.arange(group.max() + 1))
    sizes = np.add.reduceat(counts[:, order], starts, axis=1)
    places = np.cumsum(sizes, axis=1) - (sizes + len(values)) / 2
    return np.asarray(places[:, group])


def _ratio(covariance: Floats, variances: Floats) -> Floats:
    """A correlation from a covariance and the product of two variances; 0 if undefined."""
    scale = np.sqrt(variances.clip(min=0))
    return np.asarray(np.divide(covariance, scale, out=np.zeros_like(scale), where=scale > 0))


def _interval(estimate: float, drawn: Floats) -> Interval:
    low, high = np.percentile(drawn, (2.5, 97.5))
    return Interval(estimate, float(low), float(high))
