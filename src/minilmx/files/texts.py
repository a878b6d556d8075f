"""Sentences from files: text (one sentence per line), CSV, TSV, JSON and Parquet."""

import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from minilmx.errors import DatasetError
from minilmx.files.formats import BY_NAME, TextFormat, place
from minilmx.files.opening import is_read_once
from minilmx.files.readers import Block, read_blocks
from minilmx.wording import counted

# What becomes of a row without a text.
ERROR, SKIP, NULL = "error", "skip", "null"
_SKIP_HINT = "Fill it in or remove it, or choose to skip rows without a text."
_LISTED = 20  # lines in a message

_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Texts:
    """Sentences to embed, read from their file on each iteration.

    `count` is how many there are; None for standard input and pipes, which can be read only
    once. `column` is None until it is known. `empty_lines` is where rows without a text start: known from
    the start if `count` is, and otherwise after the iteration. They are skipped, or their text is "" if
    `on_empty` is "null".
    """

    path: str
    column: str | None
    count: int | None
    text_format: TextFormat = BY_NAME
    on_empty: str = ERROR
    empty_lines: list[int] = field(default_factory=list)

    def __iter__(self) -> Iterator[str]:
        """The texts in order. Raises DatasetError."""
        column, number = "", 0
        for block in read_blocks(self.path, text_format=self.text_format):
            if not column and self.count is None:
                column = choose_column(self.path, tuple(block.names), self.column, self.text_format)
            column = column or self.column or ""
            for line, value in zip(block.lines, block.values(column), strict=True):
                if not is_text(value):
                    if self.on_empty == ERROR or not is_empty(value):
                        raise bad_text(self.path, line, column, value, hint=_SKIP_HINT)
                    if self.count is None:
                        self.empty_lines.append(line)
                    if self.on_empty == SKIP:
                        continue
                    value = ""
                number += 1
                yield value
        if not number:
            raise no_rows(self.path)

    @property
    def empty_note(self) -> str | None:
        """One sentence about the rows without a text; None if every row has one."""
        if not self.empty_lines:
            return None
        many = "s" * (len(self.empty_lines) > 1)
        unit = "row" if self.text_format.kind_of(self.path) == ".parquet" else "line"
        lines = ", ".join(map(str, self.empty_lines[:_LISTED])) + ", ..." * (len(self.empty_lines) > _LISTED)
        what = "skipped" if self.on_empty == SKIP else NULL
        rows = counted(len(self.empty_lines), "row")
        return f"{self.path}: {rows} without a text: {what} ({unit}{many} {lines})"


@dataclass(frozen=True, slots=True)
class Scan:
    """What reading through a file showed.

    `column` holds the texts. `rows` counts all rows; `empty_rows` are the numbers, from 0, of those
    without a text, and `empty_lines` is where they start.
    """

    column: str
    rows: int
    sha256: str
    empty_rows: tuple[int, ...]
    empty_lines: tuple[int, ...]


def scan(
    path: str,
    column: str | None,
    other: str | None = None,
    inspect: Callable[[Block, str], None] = lambda block, column: None,
    text_format: TextFormat = BY_NAME,
    on_empty: str = ERROR,
    beside: tuple[str, ...] = (),
    hint: str = _SKIP_HINT,
) -> Scan:
    """Read a file through once and check its texts.

    `column` holds the texts; by default, the only column beside `other`, which must exist too if
    given, and those of `beside` that exist. `inspect` is called with each block and the texts' column, and
    may raise DatasetError. Raises DatasetError for the first problem in the file, naming its line; a row
    without a text is one if `on_empty` is "error", and `hint` says what to do about it. A file without rows
    is not a problem.
    """
    digest = hashlib.sha256()
    names: dict[str, None] = {}
    rows, texts = 0, column or ""
    empty_rows: list[int] = []
    empty_lines: list[int] = []
    bad: tuple[int, object] | None = None
    others = {other, *beside}
    try:
        for block in read_blocks(path, digest=digest, text_format=text_format):
            names.update(dict.fromkeys(block.names))
            texts = column or next((name for name in names if name not in others), "")
            values = block.values(texts)
            for row, value in enumerate(() if all(map(is_text, values)) else values):
                if not is_text(value):
                    is_fault = on_empty == ERROR or not is_empty(value)
                    bad = (block.lines[row], value) if bad is None and is_fault else bad
                    if is_empty(value):
                        empty_rows.append(rows + row)
                        empty_lines.append(block.lines[row])
            rows += len(block)
            inspect(block, texts)
    except DatasetError:
        if bad is None or texts not in names:  # otherwise a bad text came first
            raise
    if rows:
        texts = choose_column(
            path, tuple(name for name in names if column or name not in others), column, text_format
        )
        if other is not None and other not in names:
            raise no_such_column(path, other, tuple(names))
    if bad:
        raise bad_text(path, bad[0], texts, bad[1], len(empty_rows), hint)
    return Scan(texts, rows, digest.hexdigest(), tuple(empty_rows), tuple(empty_lines))


def open_texts(
    path: str, column: str | None = None, text_format: TextFormat = BY_NAME, on_empty: str = ERROR
) -> Texts:
    """Sentences from a file, a URL or standard input ("-", by default one sentence per line).

    `column` is the CSV, TSV or Parquet column, or the JSONL field; it may be omitted if there is
    only one. `on_empty` says what becomes of a row without a text: "error", "skip" or "null". The file is
    read through once here, so that a bad row is reported before any work. Raises DatasetError, naming
    the line.
    """
    require_on_empty(on_empty)
    text_format.require_used([path])
    require_no_column(path, column, text_format)
    if is_read_once(path):
        return Texts(path, column, None, text_format, on_empty)
    scanned = scan(path, column, text_format=text_format, on_empty=on_empty)
    count = scanned.rows - (len(scanned.empty_rows) if on_empty == SKIP else 0)
    if not count:
        raise no_rows(path)
    return Texts(path, scanned.column, count, text_format, on_empty, list(scanned.empty_lines))


def require_on_empty(on_empty: str) -> None:
    """Raise DatasetError unless this is a way to treat rows without a text."""
    if on_empty not in (ERROR, SKIP, NULL):
        raise DatasetError(f"rows without a text: {on_empty!r}; expected one of {ERROR}, {SKIP}, {NULL}")


def require_no_column(path: str, column: str | None, text_format: TextFormat = BY_NAME) -> None:
    """Raise DatasetError for a column of a text file."""
    if column is not None and text_format.kind_of(path) == ".txt":
        raise _no_columns(path, unused=True)


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
    if text_format.kind_of(path) == ".txt":
        raise _no_columns(path)
    if column not in names:
        raise no_such_column(path, column, names)
    return column


def no_such_column(path: str, name: str, names: tuple[str, ...], hint: str | None = None) -> DatasetError:
    """The error for a column that a file does not have; `hint` says what to do about it."""
    one = len(names) == 1 and re.search(r"[|:~^]", names[0])
    return DatasetError(
        f"{path} has no column {name!r}; its columns are {', '.join(names) or 'none'}",
        f"If {one[0]} delimits the columns, set the file's delimiter." if one else hint,
    )


def is_text(value: object) -> bool:
    """Whether a value is a text that is not blank and can be encoded."""
    return (
        isinstance(value, str) and bool(value.strip()) and (value.isascii() or not _SURROGATE.search(value))
    )


def is_empty(value: object) -> bool:
    """Whether a row with this value has no text: null, or nothing but white space."""
    return value is None or (isinstance(value, str) and not value.strip())


def bad_text(
    path: str, line: int, name: str, value: object, count: int = 1, hint: str = "Fill it in or remove it."
) -> DatasetError:
    """The error for the first value that is not a text, of `count` rows that have none."""
    if not is_empty(value):
        hint = "Fix or remove it."
    several = f", the first of {count} rows without a text" if is_empty(value) and count > 1 else ""
    if not isinstance(value, str):
        what = f"is {'null' if value is None else type(value).__name__}{several}; expected a text"
    elif not value.strip():
        what = f"is empty{several}; expected a text"
    else:
        what = "has half of a surrogate pair, which is not a character"
    return DatasetError(f"{place(path, line)}: {name} {what}", hint)


def no_id(path: str, line: int, name: str) -> DatasetError:
    """The error for null in a column of ids."""
    return DatasetError(
        f"{place(path, line)}: {name} is null; expected an id", "Fill it in or remove the row."
    )


def no_rows(path: str) -> DatasetError:
    """The error for a file without a row to embed."""
    return DatasetError(f"{path} is empty; expected at least one row")


def _no_columns(path: str, *, unused: bool = False) -> DatasetError:
    return DatasetError(
        f"{path} is a text file, which has no columns", "Do not name a column.", unused=unused
    )
