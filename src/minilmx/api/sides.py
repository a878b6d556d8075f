"""What a comparison takes, as a user names it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from minilmx.arguments import require_strings
from minilmx.embedders.spelling import artifact_embedder, read_spelling
from minilmx.errors import EvalError
from minilmx.eval.inputs import Inputs, read_inputs
from minilmx.models.artifact import Artifact

# What `compare` takes: see there.
EmbedderLike = Any


def side_of(side: EmbedderLike) -> Any:
    """What a comparison takes, for one side as a user names it."""
    if isinstance(side, Artifact):
        return artifact_embedder(side)
    return read_spelling(str(side)) if isinstance(side, Path | str) else side


def inputs_of(texts: Path | str | Sequence[str], column: str | None, sample: int | None = None) -> Inputs:
    """The texts of a file or of a sequence, for which a column or a sample raises EvalError."""
    if isinstance(texts, Path | str):
        return read_inputs(str(texts), column, sample)
    if column is not None:
        raise EvalError(f"the column {column!r}: no file of texts; expected one", unused=True)
    if sample is not None:
        raise EvalError(f"a sample of {sample}: no file of texts; expected one", unused=True)
    require_strings("texts", texts)
    return Inputs("texts", texts)
