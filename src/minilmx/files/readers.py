"""Text, CSV, TSV, JSONL and Parquet files, read as a stream of blocks of rows.

Line-based files may be compressed with gzip (.jsonl.gz). Memory does not grow with the file.
"""

import csv
import gzip
import hashlib
import io
import json
import re
import sys
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import IO, Any, TypeVar, cast

from minilmx.errors import DatasetError
from minilmx.files.formats import BY_NAME, EXTENSIONS, STANDARD_INPUT, TextFormat, place

_BLOCK_ROWS = 1024  # few enough to stay in the processor's cache
_PARQUET_BLOCK_ROWS = 4096
_UNDECODED = re.compile("[\udc80-\udcff]")  # how surrogateescape decodes a byte that is not UTF-8
Item = TypeVar("Item")
Digest = Any  # a hash object of hashlib, whose type has no public name


@dataclass(frozen=True, slots=True)
class Block:
    """Consecutive rows of a file, by column: a list or a pyarrow array for each of `names`.

    `lines` is the line at which each row starts; in Parquet, the number of the row. A name may
    occur twice; then it stands for the first column of that name.
    """

    path: str
    lines: Sequence[int]
    names: Sequence[str]
    columns: Sequence[Any]

    def __len__(self) -> int:
        return len(self.lines)

    def column(self, name: str) -> Any:
        """A column as a list or a pyarrow array; None if the block does not have it."""
        return self.columns[self.names.index(name)] if name in self.names else None

    def values(self, name: str) -> list[Any]:
        """The values of a column, all None if the block does not have it."""
        column = self.column(name)
        return [None] * len(self) if column is None else as_list(column)


def read_blocks(
    path: str, skip: int = 0, digest: Digest = None, text_format: TextFormat = BY_NAME
) -> Iterator[Block]:
    """The rows of a file, or of standard input, without the first `skip`. Raises DatasetError.

    Rows before a bad one are yielded before its error is raised. The file's bytes are added to
    `digest`, a hash object, as they are read.
    """
    kind = text_format.kind(path)
    if kind not in EXTENSIONS:
        raise DatasetError(f"{path}: unknown extension; expected one of {', '.join(EXTENSIONS)}")
    if kind == ".parquet":
        yield from _read_parquet(path, skip, digest)
        return
    # csv.reader itself must tell the end of a line from one within quotes.
    lines = _read_lines(path, "" if kind in (".csv", ".tsv") else "\n", digest)
    if kind == ".txt":
        for texts in _batched(islice(map(_without_end, lines), skip, None)):
            yield Block(path, range(skip + 1, skip + 1 + len(texts)), ["text"], [texts])
            skip += len(texts)
    elif kind == ".jsonl":
        for records in _batched(islice(_read_jsonl(path, lines), skip, None)):
            names = list(dict.fromkeys(name for _, record in records for name in record))
            columns = [[record.get(name) for _, record in records] for name in names]
            yield Block(path, [line for line, _ in records], names, columns)
    else:
        rows = _read_delimited(path, lines, kind, text_format)
        _, names = next(rows, (0, []))
        for batch in _batched(islice(rows, skip, None)):
            columns = [list(column) for column in zip(*(values for _, values in batch), strict=True)]
            yield Block(path, [line for line, _ in batch], names, columns)


def is_read_once(path: str) -> bool:
    """Whether a path is standard input or a pipe, which cannot be read a second time."""
    with suppress(OSError):  # reported when the file is opened
        return path == STANDARD_INPUT or Path(path).is_fifo()
    return False


def as_list(column: Any) -> list[Any]:
    """A column of a block as a list."""
    return column if isinstance(column, list) else list(column.to_pylist())


class _Hashed(io.RawIOBase):
    """A file whose bytes are added to a hash object as they are read."""

    def __init__(self, stream: IO[bytes], digest: Digest) -> None:
        self._stream, self._digest = stream, digest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        size: int = self._stream.readinto(buffer)  # type: ignore[attr-defined] # any file has it
        self._digest.update(memoryview(buffer)[:size])
        return size


@contextmanager
def _reading(path: str, digest: Digest) -> Iterator[IO[bytes]]:
    """The decompressed bytes of a file or of standard input; OSErrors become DatasetErrors."""
    try:
        if path == STANDARD_INPUT:
            yield sys.stdin.buffer
            return
        with Path(path).open("rb") as stream:
            raw = stream if digest is None else io.BufferedReader(_Hashed(stream, digest), 2**17)
            yield cast("IO[bytes]", gzip.GzipFile(fileobj=raw) if path.lower().endswith(".gz") else raw)
    except FileNotFoundError as error:
        raise DatasetError(f"{path} does not exist") from error
    except (OSError, EOFError, zlib.error) as error:
        raise DatasetError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error


def _read_lines(path: str, newline: str, digest: Digest) -> Iterator[str]:
    """Lines with their ends. Raises DatasetError, naming the line, for bytes that are not UTF-8."""
    with _reading(path, digest) as stream:
        # A byte order mark may come first. str.splitlines would also split at U+2028 and the like.
        text = io.TextIOWrapper(stream, "utf-8-sig", errors="surrogateescape", newline=newline)
        try:
            for number, line in enumerate(text, start=1):
                if not line.isascii() and (bad := _UNDECODED.search(line)):
                    byte = f"0x{ord(bad[0]) - 0xDC00:02x}"
                    raise DatasetError(
                        f"{place(path, number)}: byte {byte} is not UTF-8", "Save the file as UTF-8."
                    )
                yield line
        finally:
            text.detach()  # closing standard input is not ours


def _without_end(line: str) -> str:
    return line.removesuffix("\n").removesuffix("\r") if line.endswith("\n") else line


def _read_delimited(
    path: str, lines: Iterator[str], kind: str, text_format: TextFormat
) -> Iterator[tuple[int, list[str]]]:
    """The line and the values of each row of a CSV or TSV file, the header's first."""
    csv.field_size_limit(2**31 - 1)  # the default refuses fields over 128 KiB
    blank, header = 0, next(lines, "")
    while header.isspace():
        blank, header = blank + 1, next(lines, "")
    delimiter = text_format.delimiter or ("\t" if kind == ".tsv" else _delimiter_in(header))
    unquoted = text_format.quoting == "none" or (
        text_format.quoting is None and delimiter == "\t" and not _is_quoted(header, delimiter)
    )
    reader = csv.reader(
        chain([header], lines),
        delimiter=delimiter,
        quoting=csv.QUOTE_NONE if unquoted else csv.QUOTE_MINIMAL,
        strict=True,
    )
    line, fields = blank + 1, None
    try:
        for values in reader:
            fields = len(values) if fields is None else fields
            if not values or (len(values) == 1 < fields and not values[0].strip()):
                line = blank + reader.line_num + 1  # a blank line is not a row
                continue
            if len(values) != fields:
                raise DatasetError(
                    f"{place(path, line)}: {len(values)} fields; expected {fields}, as in the first row",
                    "Fix it, or set the file's delimiter and quoting.",
                )
            if unquoted and text_format.quoting is None:
                _refuse_quotes(path, line, values)
            yield line, values
            line = blank + reader.line_num + 1
    except csv.Error as error:
        raise DatasetError(
            f"{place(path, line)}: not valid CSV: {error}", "Fix it, or set the file's delimiter and quoting."
        ) from error


def _delimiter_in(header: str) -> str:
    """What delimits the names in the first line of a CSV file."""
    names = re.sub('"[^"]*"', "", header)
    return next((each for each in ",;\t" if each in names), ",")


def _is_quoted(header: str, delimiter: str) -> bool:
    """Whether all names in the first line are in double quotes."""
    names = header.rstrip("\r\n").split(delimiter)
    return all(len(name) > 1 and name[0] == name[-1] == '"' for name in names)


def _refuse_quotes(path: str, line: int, values: list[str]) -> None:
    """Raise DatasetError for a value that only a writer of quoted fields makes: "say ""no\""."""
    for value in values:
        if value[:1] == value[-1:] == '"' and (
            value == '""' or ('""' in value[1:-1] and '"' not in value[1:-1].replace('""', ""))
        ):
            raise DatasetError(
                f"{place(path, line)}: the field {value[:80]!r} is in double quotes; expected a TSV file "
                "without quoting",
                "Set the file's quoting: csv, or none if the quotes belong to the text.",
            )


def _read_jsonl(path: str, lines: Iterable[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(lines, start=1):
        if line.isspace():
            continue
        try:
            record = json.loads(line.rstrip("\r\n"))
        except (ValueError, RecursionError) as error:
            raise DatasetError(f"{place(path, number)}: not JSON: {error}") from error
        if not isinstance(record, dict):
            raise DatasetError(f"{place(path, number)}: {type(record).__name__}; expected a JSON object")
        yield number, record


def _read_parquet(path: str, skip: int, digest: Digest) -> Iterator[Block]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise DatasetError(
            f"{path} needs pyarrow, which is not installed", "Run pip install 'minilmx[datasets]'."
        ) from error
    row = 0
    try:
        with Path(path).open("rb") as stream:
            if digest is not None:  # first, as Parquet is not read from its start to its end
                hashlib.file_digest(stream, lambda: digest)
                stream.seek(0)
            with pyarrow.parquet.ParquetFile(stream, buffer_size=2**20) as file:
                groups = list(range(file.num_row_groups))
                while groups and row + (rows := file.metadata.row_group(groups[0]).num_rows) <= skip:
                    row += rows
                    del groups[0]
                for batch in file.iter_batches(_PARQUET_BLOCK_ROWS, row_groups=groups) if groups else ():
                    start = max(skip, row)
                    row += len(batch)
                    if start < row:
                        kept = batch.slice(start - row + len(batch))
                        yield Block(path, range(start + 1, row + 1), batch.schema.names, kept.columns)
    except FileNotFoundError as error:
        raise DatasetError(f"{path} does not exist") from error
    except (pyarrow.ArrowException, OSError) as error:
        where = f"{path}, after row {row}," if row else path
        raise DatasetError(f"{where} cannot be read as Parquet: {error}") from error


def _batched(rows: Iterator[Item]) -> Iterator[list[Item]]:
    """The rows in lists of up to _BLOCK_ROWS; those before an error are yielded before it."""
    failure = None
    while failure is None:
        batch: list[Item] = []
        try:
            for row in islice(rows, _BLOCK_ROWS):
                batch.append(row)
        except DatasetError as error:
            failure = error
        if batch:
            yield batch
        elif failure is None:
            return
    raise failure
