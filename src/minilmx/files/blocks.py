"""Files of any kind as columns of pyarrow arrays, a block of rows at a time."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from minilmx.errors import DatasetError
from minilmx.files.rows import file_kind, parquet_batches, read_rows

_BLOCK_ROWS = 4096


@dataclass(frozen=True, slots=True)
class Block:
    """Some rows of a file: the line of each, and each column as a list or a pyarrow array."""

    path: str
    lines: Sequence[int]
    columns: Mapping[str, Any]

    def __len__(self) -> int:
        return len(self.lines)

    def values(self, name: str) -> list[Any]:
        """A column's values; None for each where the block has none of that name."""
        column = self.columns.get(name)
        if column is None:
            return [None] * len(self)
        return column if isinstance(column, list) else list(column.to_pylist())

    def array(self, name: str, kind: Any = None) -> Any:
        """A column as a pyarrow array, of a pyarrow type where one is given. Raises DatasetError."""
        import pyarrow

        column = self.columns.get(name)
        if column is None:
            return pyarrow.nulls(len(self), kind)
        try:
            if isinstance(column, list):
                return pyarrow.array(column, kind)
            if pyarrow.types.is_dictionary(column.type):  # categories are what they stand for
                column = column.cast(column.type.value_type)
            return column if kind is None else column.cast(kind)
        except (pyarrow.ArrowException, OverflowError, UnicodeError) as error:
            raise self._misfit(name, kind) or DatasetError(
                f"{self.path}: the column {name} cannot be made {kind}: {error}"
            ) from error

    def widen(self, schema: Any, names: Sequence[str]) -> Any:
        """A pyarrow schema with these columns, too, each of a type that holds all values until now.

        Raises DatasetError, naming the line, where there is no such type.
        """
        import pyarrow

        for name in names:
            try:
                schema = _joined(schema, pyarrow.schema({name: self.array(name).type}))
            except pyarrow.ArrowException as error:
                known, found = schema.field(name).type, self.array(name).type
                raise self._misfit(name, known) or DatasetError(
                    f"{self.path}: the column {name} is {found}, and {known} before it: make them one type"
                ) from error
        return schema

    def _misfit(self, name: str, known: Any) -> DatasetError | None:
        """The error for the first value that does not go with the type of those before it."""
        import pyarrow

        schema = pyarrow.schema({} if known is None else {name: known})
        for line, value in zip(self.lines, self.values(name), strict=True):
            where = f"{self.path}, line {line}: {name}"
            try:
                found = pyarrow.schema({name: pyarrow.array([value]).type})
            except (pyarrow.ArrowException, OverflowError, UnicodeError) as error:
                return DatasetError(f"{where} cannot be carried through: {error}")
            try:
                schema = _joined(schema, found)
            except pyarrow.ArrowException:
                kinds = f"{found.field(name).type}, and {schema.field(name).type} in what is before it"
                return DatasetError(f"{where} is {kinds}: make them one type")
        return None


def read_blocks(path: str, skip: int = 0) -> Iterator[Block]:
    """A file's rows, without its first `skip`, some thousands at a time. Raises DatasetError."""
    if file_kind(path) == ".parquet":
        row = skip + 1
        for batch in parquet_batches(path, skip):
            names = batch.schema.names
            _require_distinct(path, names)
            yield Block(path, range(row, row + len(batch)), dict(zip(names, batch.columns, strict=True)))
            row += len(batch)
        return
    rows = islice(read_rows(path), skip, None)
    while block := list(islice(rows, _BLOCK_ROWS)):
        _require_distinct(path, block[0].names)
        names = dict.fromkeys(name for names in {row.names: None for row in block} for name in names)
        columns = {name: [row.get(name) for row in block] for name in names}
        yield Block(path, [row.line for row in block], columns)


def _joined(one: Any, other: Any) -> Any:
    import pyarrow

    return pyarrow.unify_schemas([one, other], promote_options="permissive")


def _require_distinct(path: str, names: Sequence[str]) -> None:
    if len(set(names)) < len(names):
        twice = next(name for name in names if list(names).count(name) > 1)
        raise DatasetError(f"{path} has two columns {twice!r}: rename one")
