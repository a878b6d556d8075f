"""Sentences and tables from files: text (one sentence per line), CSV, TSV, JSONL and Parquet."""

import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

from minilmx.errors import DatasetError
from minilmx.files.formats import BY_NAME, TextFormat, place
from minilmx.files.readers import Block, as_list, is_read_once, read_blocks

_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Table:
    """A file as a list for each of its columns. `lines` is where each row starts in the file."""

    path: str
    lines: list[int]
    names: tuple[str, ...]
    columns: list[list[Any]]

    def column(self, name: str) -> list[Any]:
        """The values of one column. Raises DatasetError if it does not exist."""
        if name not in self.names:
            raise no_such_column(self.path, name, self.names)
        return self.columns[self.names.index(name)]

    def texts(self, name: str) -> list[str]:
        """One column as non-empty texts. Raises DatasetError, naming the line."""
        values = self.column(name)
        for line, value in zip(self.lines, values, strict=True):
            if not _is_text(value):
                raise _bad_text(self.path, line, name, value)
        return values


@dataclass(frozen=True, slots=True)
class Texts:
    """Sentences to embed, read from their file on each iteration.

    `count` is how many there are; None for standard input and pipes, which can be read only
    once. `column` is None until it is known.
    """

    path: str
    column: str | None
    count: int | None
    text_format: TextFormat = BY_NAME

    def __iter__(self) -> Iterator[str]:
        """The texts in order. Raises DatasetError."""
        column, block = self.column, None
        for block in read_blocks(self.path, text_format=self.text_format):
            column = column or choose_column(self.path, tuple(block.names), None, self.text_format)
            for line, value in zip(block.lines, block.values(column), strict=True):
                if not _is_text(value):
                    raise _bad_text(self.path, line, column, value)
                yield value
        if block is None:
            raise _empty(self.path)


@dataclass(frozen=True, slots=True)
class Scan:
    """What reading through a file showed: its texts' column, its rows and its SHA-256."""

    column: str
    rows: int
    sha256: str


def scan(
    path: str,
    column: str | None = None,
    other: str | None = None,
    inspect: Callable[[Block, str], None] = lambda block, column: None,
    text_format: TextFormat = BY_NAME,
) -> Scan:
    """Read a file through once and check its texts.

    `column` holds the texts; by default, the only column beside `other`, which must exist too if
    given. `inspect` is called with each block and the texts' column, and may raise DatasetError.
    Raises DatasetError for the first problem in the file, naming its line.
    """
    digest = hashlib.sha256()
    names: dict[str, None] = {}
    rows, texts = 0, column or ""
    bad: tuple[int, object] | None = None
    try:
        for block in read_blocks(path, digest=digest, text_format=text_format):
            rows += len(block)
            names.update(dict.fromkeys(block.names))
            texts = column or next((name for name in names if name != other), "")
            if bad is None:
                pairs = zip(block.lines, block.values(texts), strict=True)
                bad = next((pair for pair in pairs if not _is_text(pair[1])), None)
            inspect(block, texts)
    except DatasetError:
        if bad is None or texts not in names:  # otherwise a bad text came first
            raise
    if not rows:
        raise _empty(path)
    texts = choose_column(path, tuple(name for name in names if column or name != other), column, text_format)
    if other is not None and other not in names:
        raise no_such_column(path, other, tuple(names))
    if bad:
        raise _bad_text(path, bad[0], texts, bad[1])
    return Scan(texts, rows, digest.hexdigest())


def open_texts(path: str, column: str | None = None, text_format: TextFormat = BY_NAME) -> Texts:
    """Sentences from a file, or from standard input ("-", one sentence per line).

    `column` is the CSV, TSV or Parquet column, or the JSONL field; it may be omitted if there is
    only one. The file is read through once here, so that a bad row is reported before any
    work. Raises DatasetError, naming the line.
    """
    text_format.require_used([path])
    if is_read_once(path):
        if column is not None and text_format.kind(path) == ".txt":
            raise _no_columns(path)
        return Texts(path, column, None, text_format)
    scanned = scan(path, column, text_format=text_format)
    return Texts(path, scanned.column, scanned.rows, text_format)


def read_texts(path: str, column: str | None = None, text_format: TextFormat = BY_NAME) -> list[str]:
    """The texts of `open_texts` as a list. Raises DatasetError."""
    return list(open_texts(path, column, text_format))


def read_table(path: str, text_format: TextFormat = BY_NAME) -> Table:
    """Read a whole file. Raises DatasetError if it cannot be read or is empty."""
    blocks = list(read_blocks(path, text_format=text_format))
    if not blocks:
        raise _empty(path)
    names = tuple(blocks[0].names)
    if all(tuple(block.names) == names for block in blocks):  # by position: names may occur twice
        parts = [[as_list(column) for column in block.columns] for block in blocks]
    else:
        names = tuple(dict.fromkeys(name for block in blocks for name in block.names))
        parts = [[block.values(name) for name in names] for block in blocks]
    columns = [list(chain(*column)) for column in zip(*parts, strict=True)]
    return Table(path, [line for block in blocks for line in block.lines], names, columns)


def choose_column(
    path: str, names: tuple[str, ...], column: str | None, text_format: TextFormat = BY_NAME
) -> str:
    """The column with the texts: the given one, or the only one. Raises DatasetError."""
    if column is None:
        if len(names) != 1:
            raise DatasetError(
                f"{path} has the columns {', '.join(names)}; choose a column", "Name one of them."
            )
        return names[0]
    if text_format.kind(path) == ".txt":
        raise _no_columns(path)
    if column not in names:
        raise no_such_column(path, column, names)
    return column


def no_such_column(path: str, name: str, names: tuple[str, ...]) -> DatasetError:
    """The error for a column that a file does not have."""
    return DatasetError(f"{path} has no column {name!r}; its columns are {', '.join(names) or 'none'}")


def _is_text(value: object) -> bool:
    """Whether a value is a text that is not blank and can be encoded."""
    return (
        isinstance(value, str) and bool(value.strip()) and (value.isascii() or not _SURROGATE.search(value))
    )


def _bad_text(path: str, line: int, name: str, value: object) -> DatasetError:
    hint = "Fix or remove it."
    if not isinstance(value, str):
        what = f"is {'null' if value is None else type(value).__name__}; expected a text"
    elif not value.strip():
        what, hint = "is empty; expected a text", "Fill it in or remove it."
    else:
        what = "has half of a surrogate pair, which is not a character"
    return DatasetError(f"{place(path, line)}: {name} {what}", hint)


def _empty(path: str) -> DatasetError:
    return DatasetError(f"{path} is empty; expected at least one row")


def _no_columns(path: str) -> DatasetError:
    return DatasetError(f"{path} is a text file, which has no columns", "Do not name a column.")
