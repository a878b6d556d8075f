"""The numbers of each step between two boundaries of a model.

**Share of the final drift.** The growth of the error from boundary to boundary does not show which
step caused it: later layers shrink or magnify the errors of earlier ones. So the share is measured by
intervention. D(k) is the final drift (the relative L2 norm of the difference over all sentence
embeddings) that remains if the candidate receives the reference's tensor at boundary k and computes
the rest itself; D(0), before the first boundary, is the whole drift, and D at the last one is 0. The
share of step k is

    (D(k-1)^2 - D(k)^2) / D(0)^2

Squares, because independent errors add up in squares: with plain differences a late step would get
more than an early one for the same error. The shares add up to 1. A share is negative if a step's
error cancels part of the errors before it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from minilmx.embedding.similarity import cosine_similarity
from minilmx.eval.bisect.boundaries import Boundary
from minilmx.eval.bisect.traces import Trace
from minilmx.runners.base import FLOAT16_MAX


@dataclass(frozen=True, slots=True)
class Step:
    """One boundary, and the computation between the boundary before and this one.

    The cosines are over attended tokens, or over sentences after the pooling. `relative_error` is
    the L2 norm of the candidate's difference divided by that of the reference, and `increase` is how
    much larger it is than at the boundary before. `remaining_drift` is the final drift if the
    candidate receives the reference's tensor here, and `share` is this step's share of the final
    drift: see this module's docstring. `largest_magnitude` is that of any float value of this step in
    the reference's run, and `float16_headroom` is 65504 divided by it. A number is None if it is not
    defined, such as one of values that are not finite, or a share of no drift.
    """

    boundary: str
    mean_cosine: float | None
    min_cosine: float | None
    relative_error: float | None
    increase: float | None
    remaining_drift: float | None
    share: float | None
    largest_magnitude: float | None
    float16_headroom: float | None

    def is_past(self, threshold: float) -> bool:
        """Whether the relative error is above the threshold, or not defined."""
        return self.relative_error is None or self.relative_error > threshold


def compare_steps(
    boundaries: Sequence[Boundary], reference: Trace, candidate: Trace, remaining: Sequence[float | None]
) -> tuple[Step, ...]:
    """Compare two traces; `remaining` is the final drift D(0) and then that of each boundary."""
    errors = [relative_error(*values) for values in zip(reference.values, candidate.values, strict=True)]
    largest = reference.largest
    steps = []
    for index, boundary in enumerate(boundaries):
        cosines = cosine_similarity(reference.values[index], candidate.values[index])
        magnitude = None if largest is None else float(largest[index])
        steps.append(
            Step(
                boundary=boundary.name,
                mean_cosine=_finite(cosines.mean()),
                min_cosine=_finite(cosines.min()),
                relative_error=errors[index],
                increase=_minus(errors[index], errors[index - 1] if index else 0.0),
                remaining_drift=remaining[index + 1],
                share=_share(remaining[index], remaining[index + 1], remaining[0]),
                largest_magnitude=None if magnitude is None else _finite(magnitude),
                float16_headroom=FLOAT16_MAX / magnitude if magnitude else None,
            )
        )
    return tuple(steps)


def relative_error(reference: NDArray[np.float32], candidate: NDArray[np.float32]) -> float | None:
    """The L2 norm of the difference divided by that of the reference, in float64; None if undefined."""
    exact = reference.astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        return _finite(float(np.linalg.norm(candidate - exact) / np.linalg.norm(exact)))


def _share(before: float | None, after: float | None, whole: float | None) -> float | None:
    if before is None or after is None or not whole:
        return None
    return (before**2 - after**2) / whole**2


def _minus(value: float | None, other: float | None) -> float | None:
    return None if value is None or other is None else value - other


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
