"""Sentences from files: text (one a line), CSV, TSV, JSONL and Parquet."""

import csv
import io
import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minilmx.errors import DatasetError

STANDARD_INPUT = "-"
_SURROGATE = re.compile("[\ud800-\udfff]")
EXTENSIONS = (".txt", ".csv", ".tsv", ".jsonl", ".parquet")


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
            raise DatasetError(
                f"{self.path} has no column {name!r}: it has {', '.join(self.names) or 'none'}"
            )
        index = self.names.index(name)
        return [row[index] for row in self.rows]

    def texts(self, name: str) -> list[str]:
        """One column as non-empty texts. Raises DatasetError, naming the line."""
        values = self.column(name)
        for line, value in zip(self.lines, values, strict=True):
            if not isinstance(value, str):
                kind = "null" if value is None else type(value).__name__
                raise DatasetError(
                    f"{self.path}, line {line}: {name} is {kind}, expected a text: mend or remove the line"
                )
            if not value.strip():
                raise DatasetError(
                    f"{self.path}, line {line}: {name} is empty: fill it in or remove the line"
                )
            if _SURROGATE.search(value):
                raise DatasetError(
                    f"{self.path}, line {line}: {name} has half of a surrogate pair, which is no "
                    "character: mend or remove the line"
                )
        return values


def read_texts(path: str, column: str | None = None) -> list[str]:
    """Sentences to embed, from a file or from standard input ("-", one sentence a line).

    `column` is the CSV, TSV or Parquet column, or the JSONL field; it may be left out where
    there is only one. Raises DatasetError.
    """
    table = read_table(path)
    if column is None:
        if len(table.names) != 1:
            raise DatasetError(f"{path} has the columns {', '.join(table.names)}: choose one with --column")
        column = table.names[0]
    elif path == STANDARD_INPUT or path.endswith(".txt"):
        raise DatasetError(f"--column goes with CSV, TSV, JSONL and Parquet, and {path} is text")
    return table.texts(column)


def read_table(path: str, *, header: bool = True) -> Table:
    """Read a file by its extension. Raises DatasetError where it cannot be read or is empty.

    Without `header` the first row of a CSV or TSV file is data, and the columns are named by
    their position: "1", "2", and so on.
    """
    kind = ".txt" if path == STANDARD_INPUT else Path(path).suffix.lower()
    if kind not in EXTENSIONS:
        raise DatasetError(f"{path} has an unknown extension: expected one of {', '.join(EXTENSIONS)}")
    if kind == ".parquet":
        table = _read_parquet(path)
    else:
        text = _read_text(path)
        if kind == ".txt":
            table = _read_lines(path, text)
        elif kind == ".jsonl":
            table = _read_jsonl(path, text)
        else:
            table = _read_csv(path, text, "\t" if kind == ".tsv" else ",", header)
    if not table.rows:
        raise DatasetError(f"{path} is empty: expected at least one row")
    return table


def _read_text(path: str) -> str:
    try:
        data = sys.stdin.buffer.read() if path == STANDARD_INPUT else Path(path).read_bytes()
    except FileNotFoundError as error:
        raise DatasetError(f"there is no file {path}") from error
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror or error}") from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # error.start counts in error.object, which a byte order mark at the start is no part of.
        line = error.object.count(b"\n", 0, error.start) + 1
        raise DatasetError(
            f"{path}, line {line}: byte 0x{error.object[error.start]:02x} is not UTF-8: save the "
            "file as UTF-8"
        ) from error


def _read_lines(path: str, text: str) -> Table:
    lines = _split_lines(text)
    return Table(path, ("text",), [[line] for line in lines], list(range(1, len(lines) + 1)))


def _split_lines(text: str) -> list[str]:
    """Lines as an editor counts them: str.splitlines would also split at U+2028 and the like."""
    lines = text.replace("\r\n", "\n").split("\n")
    if lines[-1] == "":
        lines.pop()
    return lines


def _read_csv(path: str, text: str, delimiter: str, header: bool) -> Table:
    csv.field_size_limit(2**31 - 1)  # the default refuses fields over 128 KiB
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows, lines, start = [], [], 1
    try:
        for row in reader:
            rows.append(row)
            lines.append(start)
            start = reader.line_num + 1
    except csv.Error as error:
        raise DatasetError(f"{path}, line {start}: {error}") from error
    if not rows:
        return Table(path, (), [], [])
    names = tuple(rows[0]) if header else tuple(str(i + 1) for i in range(len(rows[0])))
    if header:
        rows, lines = rows[1:], lines[1:]
    for row, line in zip(rows, lines, strict=True):
        if len(row) != len(names):
            raise DatasetError(
                f"{path}, line {line}: {len(row)} fields, expected {len(names)} as in the first row"
            )
    return Table(path, names, list(rows), lines)


def _read_jsonl(path: str, text: str) -> Table:
    records, lines = [], []
    for number, line in enumerate(_split_lines(text), start=1):
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DatasetError(f"{path}, line {number}: no JSON: {error}") from error
        if not isinstance(record, dict):
            raise DatasetError(f"{path}, line {number}: expected a JSON object")
        records.append(record)
        lines.append(number)
    names = tuple(dict.fromkeys(name for record in records for name in record))
    rows = [[record.get(name) for name in names] for record in records]
    return Table(path, names, rows, lines)


def _read_parquet(path: str) -> Table:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise DatasetError(
            f"reading {path} needs pyarrow, which is not installed: pip install 'minilmx[datasets]'"
        ) from error
    try:
        # Given the path, pyarrow would also read folders, and columns out of folder names.
        with Path(path).open("rb") as stream:
            table = pyarrow.parquet.read_table(stream)
    except FileNotFoundError as error:
        raise DatasetError(f"there is no file {path}") from error
    except (pyarrow.ArrowException, OSError) as error:
        raise DatasetError(f"{path} cannot be read as Parquet: {error}") from error
    columns = [column.to_pylist() for column in table.columns]
    rows = [list(row) for row in zip(*columns, strict=True)]
    return Table(path, tuple(table.column_names), rows, list(range(1, len(rows) + 1)))
