"""One side of a comparison."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minilmx.embedding.record import RunRecord, Timing
from minilmx.eval.golden import Golden
from minilmx.eval.invariance import BatchInvariance
from minilmx.runners.base import Details

NO_RECORD = "no record"
Rows = NDArray[np.float32]
# A file of embeddings, an array, an embedder that can be opened, or one that is open.
Source = Any


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedSide:
    """One side of a comparison: embeddings, float32 [N, D], and what is known of how they were made.

    `total` is how many embeddings there are, and `is_finite` whether all of their numbers are finite: both
    count those of a file that are not compared.
    """

    name: str
    values: Rows
    total: int
    is_finite: bool
    is_live: bool = False
    ids: Sequence[str] | None = None
    record: RunRecord | None = None
    details: Details
    versions: Mapping[str, str]
    timing: Timing | None = None
    invariance: BatchInvariance | None = None
    token_counts: NDArray[np.int64] | None = None
    texts_per_row: int = 1


def is_saved(source: Source) -> bool:
    """Whether a source is embeddings that exist, and not an embedder."""
    return isinstance(source, Path | np.ndarray | Golden)
