"""How far one runner's embeddings are from another's over the same inputs."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from minilmx.errors import EvalError
from minilmx.eval.scores import cosine_similarity


@dataclass(frozen=True, slots=True)
class Drift:
    """Element-wise differences over N x D numbers, and cosines over N sentences.

    All but `finite` are None where an embedding of either side is not finite; the cosines are
    None, too, where an embedding is all zeros.
    """

    finite: bool
    max_abs: float | None
    mean_abs: float | None
    rms_abs: float | None
    p99_abs: float | None
    min_cosine: float | None
    mean_cosine: float | None


def measure_drift(reference: NDArray[np.float32], candidate: NDArray[np.float32]) -> Drift:
    """Compare two float32 [N, D] arrays; the arithmetic is float64. Raises EvalError."""
    if reference.shape != candidate.shape or reference.size == 0:
        raise EvalError(
            f"embeddings of shapes {list(reference.shape)} and {list(candidate.shape)} cannot be compared"
        )
    if not (np.isfinite(reference).all() and np.isfinite(candidate).all()):
        return Drift(False, None, None, None, None, None, None)
    difference = np.abs(candidate.astype(np.float64) - reference.astype(np.float64))
    cosines = cosine_similarity(reference, candidate)
    defined = bool(np.isfinite(cosines).all())
    return Drift(
        finite=True,
        max_abs=float(difference.max()),
        mean_abs=float(difference.mean()),
        rms_abs=float(np.sqrt(np.mean(difference**2))),
        p99_abs=float(np.percentile(difference, 99)),
        min_cosine=float(cosines.min()) if defined else None,
        mean_cosine=float(cosines.mean()) if defined else None,
    )
