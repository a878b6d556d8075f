"""The columns of a corpus that are carried over, as pyarrow arrays of one schema."""

from collections.abc import Sequence
from typing import Any

from minilmx.errors import DatasetError
from minilmx.files.formats import place
from minilmx.files.readers import Block


def as_array(block: Block, name: str, kind: Any = None) -> Any:
    """A block's column as a pyarrow array, of a pyarrow type if given. Raises DatasetError."""
    import pyarrow

    column = block.column(name)
    if column is None:
        return pyarrow.nulls(len(block), kind)
    try:
        if isinstance(column, list):
            return pyarrow.array(column, kind)
        if pyarrow.types.is_dictionary(column.type):  # the values, not their categories
            column = column.cast(column.type.value_type)
        return column if kind is None else column.cast(kind)
    except (pyarrow.ArrowException, OverflowError, UnicodeError) as error:
        raise _misfit(block, name, kind) or DatasetError(
            f"{block.path}: the column {name} cannot be converted to {kind}: {error}"
        ) from error


def widen(schema: Any, block: Block, names: Sequence[str]) -> Any:
    """Add a block's columns to a pyarrow schema, in types that hold all values so far.

    Raises DatasetError, naming the line, if a column has no such type.
    """
    import pyarrow

    if len(set(block.names)) < len(block.names):
        name = next(name for name in block.names if list(block.names).count(name) > 1)
        raise DatasetError(f"{block.path}: two columns are named {name!r}", "Rename one of them.")
    try:  # all columns in one call: each call takes time for every column that the schema has
        return _unified(schema, pyarrow.schema({name: as_array(block, name).type for name in names}))
    except (pyarrow.ArrowException, DatasetError):
        _require_fit(schema, block, names)
        raise


def _require_fit(schema: Any, block: Block, names: Sequence[str]) -> None:
    """Raise DatasetError for the first column that does not fit the schema."""
    import pyarrow

    known = {field.name: field.type for field in schema}
    for name in names:
        kind = as_array(block, name).type
        if name in known:
            try:
                _unified(pyarrow.schema({name: known[name]}), pyarrow.schema({name: kind}))
            except pyarrow.ArrowException as error:
                fault = _misfit(block, name, known[name])
                raise fault or _mixed(f"{block.path}: {name}", kind, known[name]) from error


def _misfit(block: Block, name: str, known: Any) -> DatasetError | None:
    """The error for the first value that does not fit the type of those before it."""
    import pyarrow

    schema = pyarrow.schema({} if known is None else {name: known})
    for line, value in zip(block.lines, block.values(name), strict=True):
        where = f"{place(block.path, line)}: {name}"
        try:
            kind = pyarrow.array([value]).type
        except (pyarrow.ArrowException, OverflowError, UnicodeError) as error:
            return DatasetError(f"{where} cannot be carried over: {error}")
        try:
            schema = _unified(schema, pyarrow.schema({name: kind}))
        except pyarrow.ArrowException:
            return _mixed(where, kind, schema.field(name).type)
    return None


def _mixed(where: str, kind: Any, known: Any) -> DatasetError:
    return DatasetError(f"{where} is {kind}; expected {known}, as before it", "Give the column one type.")


def _unified(one: Any, other: Any) -> Any:
    import pyarrow

    return pyarrow.unify_schemas([one, other], promote_options="permissive")
