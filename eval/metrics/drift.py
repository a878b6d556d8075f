"""How far one runner's embeddings are from another's over the same inputs."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minilmx.embedding.similarity import cosine_similarity
from minilmx.errors import EvalError


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


def measure_drift(reference: NDArray[np.float32], candidate: NDArray[np.float32]) -> Drift:
    """Compare two float32 [N, D] arrays; the arithmetic is float64. Raises EvalError."""
    if reference.size == 0:
        raise EvalError(f"embeddings: none, {list(reference.shape)}; expected at least one number")
    if reference.shape != candidate.shape:
        raise EvalError(
            f"embeddings: shapes {list(reference.shape)} and {list(candidate.shape)}; expected the same shape"
        )
    if not all_finite(reference, candidate):
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
    if not all_finite(reference, candidate):
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


def _norms(rows: NDArray[Any]) -> NDArray[np.float64]:
    return np.asarray(np.linalg.norm(rows.astype(np.float64, copy=False), axis=1))


def _float16_ulp(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """The distance between float16 numbers at each value, or at its row's root mean square if larger."""
    floor = np.sqrt(np.mean(np.square(values, dtype=np.float64), axis=1, keepdims=True))
    largest = np.finfo(np.float16).max / 2  # above it, the last distance is used
    magnitude = np.minimum(np.maximum(np.abs(values), floor), largest).astype(np.float16)
    return np.asarray(np.spacing(magnitude), dtype=np.float64)


def all_finite(*arrays: NDArray[Any]) -> bool:
    """Whether no number is NaN or infinite."""
    return all(bool(np.isfinite(array).all()) for array in arrays)
