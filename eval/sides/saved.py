"""Saved embeddings as sides: read, and joined row by row."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from minilmx.embedding.saved_run import read_run
from minilmx.embedding.vectors import Selection, take_vectors
from minilmx.errors import EvalError, boundary
from minilmx.eval.configuration import CONVERTED
from minilmx.eval.golden import Golden
from minilmx.eval.inputs import Inputs
from minilmx.eval.sides.side import NO_RECORD, ComparedSide, Source
from minilmx.wording import counted


def load_saved(source: Source, number: int, inputs: Inputs | None) -> ComparedSide:
    """Those embeddings of a source that are compared. Raises EvalError, and OutputError for a file."""
    selection = None
    if inputs is not None and inputs.sample is not None:
        selection = Selection(inputs.sample.rows, None if inputs.ids is None else frozenset(inputs.ids))
    if isinstance(source, np.ndarray):
        name, record = f"array {number}", None
        with boundary(EvalError, f"{name} cannot be compared"):
            vectors = take_vectors([(source, None)], selection)
    elif isinstance(source, Golden):
        made = source.record
        return ComparedSide(
            name=f"{number}: {source.name}",
            values=source.values,
            total=len(source.values),
            is_finite=True,
            is_live=True,  # its texts are those that the others embed
            details={"runner": NO_RECORD, **made.details, "embedder": made.embedder},
            versions=made.versions,
        )
    else:
        run = read_run(source, selection)
        name, record, vectors = f"{number}: {run.name}", run.record, run.vectors
    details: dict[str, Any] = {
        **(record.details if record else {}),
        "runner": record.runner if record else NO_RECORD,
        "artifact_sha256": record.artifact_sha256 if record else NO_RECORD,
    }
    if vectors.dtype != "float32":
        details[CONVERTED] = vectors.dtype
    return ComparedSide(
        name=name,
        values=vectors.values,
        total=vectors.total,
        is_finite=vectors.is_finite,
        ids=vectors.ids,
        record=record,
        details=details,
        versions=record.versions if record else {},
        timing=record.timing if record else None,
    )


def join_rows(saved: dict[int, ComparedSide], inputs: Inputs | None) -> dict[int, ComparedSide]:
    """The saved rows in the order of the texts, or of the first file with ids. Raises EvalError."""
    ids = [side for side in saved.values() if side.ids is not None]
    ids_to_join, of, total = None, "", None
    if inputs is not None:
        ids_to_join, of, total = inputs.ids, inputs.name, inputs.total
    elif len(ids) > 1:
        ids_to_join, of = ids[0].ids, ids[0].name
    if ids_to_join is not None:
        _places(ids_to_join, of)
    return {number: _in_order(side, ids_to_join, of, total) for number, side in saved.items()}


def _places(ids: Sequence[str], of: str) -> dict[str, int]:
    places = {each: row for row, each in enumerate(ids)}
    if len(places) < len(ids):
        twice = next(each for row, each in enumerate(ids) if places[each] != row)
        raise EvalError(f"{of}: the id {twice!r:.80} twice; expected each once")
    return places


def _in_order(side: ComparedSide, order: Sequence[str] | None, of: str, total: int | None) -> ComparedSide:
    """The rows of the ids in `order`, or else all rows, which must be one per text."""
    if side.ids is None or order is None:
        if total not in (None, side.total):
            raise EvalError(
                f"{side.name}: {counted(side.total, 'embedding')}; expected {total:,}, one per text of {of}"
            )
        return replace(side, ids=None)
    places = _places(side.ids, side.name)
    missing = [each for each in order if each not in places]
    if missing:
        raise EvalError(
            f"{side.name}: {counted(len(missing), 'missing id')}, the first is {missing[0]!r:.80}; expected "
            f"all {len(order):,} of {of}"
        )
    rows = [places[each] for each in order]
    return replace(side, values=side.values[rows], ids=order)
