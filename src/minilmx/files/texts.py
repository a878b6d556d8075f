"""Sentences from files: text (one a line), CSV, TSV, JSONL and Parquet."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from minilmx.errors import DatasetError
from minilmx.files.rows import EXTENSIONS as EXTENSIONS
from minilmx.files.rows import file_kind, is_read_once, read_rows

_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Table:
    """Named columns of a file. `lines` is where each row stands in it: a line, or a row number."""

    path: str
    names: tuple[str, ...]
    rows: list[list[Any]]
    lines: list[int]

    def column(self, name: str) -> list[Any]:
        """The values of one column. Raises DatasetError where there is none of that name."""
        if name not in self.names:
            raise no_such_column(self.path, name, self.names)
        index = self.names.index(name)
        return [row[index] for row in self.rows]

    def texts(self, name: str) -> list[str]:
        """One column as non-empty texts. Raises DatasetError, naming the line."""
        values = self.column(name)
        for line, value in zip(self.lines, values, strict=True):
            if problem := find_problem(self.path, line, name, value):
                raise problem
        return values


@dataclass(frozen=True, slots=True)
class Texts:
    """Sentences to embed, read from their source each time that they are iterated over.

    `count` is how many there are, and None where the source can be read once only (standard
    input, a pipe): its rows are then checked as they come.
    """

    path: str
    column: str | None
    count: int | None

    def __iter__(self) -> Iterator[str]:
        """The texts in order. Raises DatasetError."""
        column, row = self.column, None
        for row in read_rows(self.path):
            column = column or choose_column(self.path, row.names, None)
            value = row.get(column)
            if self.count is None and (problem := find_problem(self.path, row.line, column, value)):
                raise problem
            yield value
        if row is None:
            raise empty(self.path)


def open_texts(path: str, column: str | None = None) -> Texts:
    """Sentences from a file, or from standard input ("-", one sentence a line).

    `column` is the CSV, TSV or Parquet column, or the JSONL field; it may be left out where
    there is only one. A file is read through once here, so that a bad row is known before any
    work. Raises DatasetError, naming the line.
    """
    if is_read_once(path):
        if column is not None and file_kind(path) == ".txt":
            raise _no_columns(path)
        return Texts(path, column, None)
    names: dict[str, None] = {}
    seen: tuple[str, ...] = ()
    bad: tuple[int, object] | None = None
    count = 0
    for row in read_rows(path):
        count += 1
        if row.names != seen:
            seen = row.names
            names.update(dict.fromkeys(seen))
        value = row.get(column or next(iter(names), ""))
        if bad is None and find_problem(path, row.line, "", value):
            bad = row.line, value
    if not count:
        raise empty(path)
    column = choose_column(path, tuple(names), column)
    if bad and (problem := find_problem(path, bad[0], column, bad[1])):
        raise problem
    return Texts(path, column, count)


def choose_column(path: str, names: tuple[str, ...], column: str | None) -> str:
    """The column with the texts: the one that was asked for, or the only one.

    Raises DatasetError where it is not there, or there are several to choose from.
    """
    if column is None:
        if len(names) != 1:
            raise DatasetError(f"{path} has the columns {', '.join(names)}: choose one with --column")
        return names[0]
    if file_kind(path) == ".txt":
        raise _no_columns(path)
    if column not in names:
        raise no_such_column(path, column, names)
    return column


def find_problem(path: str, line: int, name: str, value: object) -> DatasetError | None:
    """What is wrong with a value that should be a text with something in it."""
    if isinstance(value, str) and value.strip() and (value.isascii() or not _SURROGATE.search(value)):
        return None
    if not isinstance(value, str):
        kind = "null" if value is None else type(value).__name__
        what = f"is {kind}, expected a text: mend or remove the line"
    elif not value.strip():
        what = "is empty: fill it in or remove the line"
    else:
        what = "has half of a surrogate pair, which is no character: mend or remove the line"
    return DatasetError(f"{path}, line {line}: {name} {what}")


def read_texts(path: str, column: str | None = None) -> list[str]:
    """The texts of `open_texts` in a list. Raises DatasetError."""
    return list(open_texts(path, column))


def read_table(path: str, *, header: bool = True) -> Table:
    """Read a whole file by its extension. Raises DatasetError where it cannot be read or is empty.

    Without `header` the first row of a CSV or TSV file is data, and the columns are named by
    their position: "1", "2", and so on.
    """
    rows = list(read_rows(path, header=header))
    if not rows:
        raise empty(path)
    names = rows[0].names
    if any(row.names is not names for row in rows):
        names = tuple(dict.fromkeys(name for row in rows for name in row.names))
        values = [[row.get(name) for name in names] for row in rows]
    else:
        values = [list(row.values) for row in rows]
    return Table(path, names, values, [row.line for row in rows])


def empty(path: str) -> DatasetError:
    """The error for a file without rows."""
    return DatasetError(f"{path} is empty: expected at least one row")


def _no_columns(path: str) -> DatasetError:
    return DatasetError(f"--column goes with CSV, TSV, JSONL and Parquet, and {path} is text")


def no_such_column(path: str, name: str, names: tuple[str, ...]) -> DatasetError:
    """The error for a column that a file has not."""
    return DatasetError(f"{path} has no column {name!r}: it has {', '.join(names) or 'none'}")
