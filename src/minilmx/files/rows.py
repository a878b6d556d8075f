"""The rows of text, CSV, TSV, JSONL and Parquet files, as a stream.

The formats of lines may be compressed with gzip (.jsonl.gz). Memory does not grow with a file.
"""

import csv
import gzip
import io
import json
import sys
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

from minilmx.errors import DatasetError

STANDARD_INPUT = "-"
EXTENSIONS = (".txt", ".csv", ".tsv", ".jsonl", ".parquet")
_TEXT = ("text",)
_BATCH_ROWS = 4096


class Row(NamedTuple):
    """One row. `names` is the same for all rows of a file, but for JSONL, which has no header.

    `line` is where the row starts in its file: a line, or in Parquet a row number.
    """

    line: int
    names: tuple[str, ...]
    values: Sequence[Any]

    def get(self, name: str) -> Any:
        """The value of a column; None where the row has none of that name."""
        return self.values[self.names.index(name)] if name in self.names else None


def read_rows(path: str, *, header: bool = True) -> Iterator[Row]:
    """The rows of a file by its extension, or of standard input. Raises DatasetError."""
    kind = file_kind(path)
    if kind not in EXTENSIONS:
        raise DatasetError(f"{path} has an unknown extension: expected one of {', '.join(EXTENSIONS)}")
    if kind == ".parquet":
        yield from _read_parquet(path)
        return
    if not is_read_once(path):
        for _ in _lines(path):  # what is not UTF-8 is said first, before what may be due to it
            pass
    if kind == ".txt":
        for line, text in enumerate(_lines(path), start=1):
            yield Row(line, _TEXT, (_without_end(text),))
    elif kind == ".jsonl":
        yield from _read_jsonl(path)
    else:
        yield from _read_csv(path, "\t" if kind == ".tsv" else ",", header)


def file_kind(path: str) -> str:
    """The extension that says how to read a file, without .gz."""
    if path == STANDARD_INPUT:
        return ".txt"
    kind = Path(path).suffix.lower()
    if kind == ".gz":
        kind = Path(path).with_suffix("").suffix.lower()
        return ".gz" if kind == ".parquet" else kind
    return kind


def is_read_once(path: str) -> bool:
    """Whether a path is standard input or a pipe, which cannot be read a second time."""
    with suppress(OSError):  # which whoever opens it reports
        return path == STANDARD_INPUT or Path(path).is_fifo()
    return False


@contextmanager
def reading(path: str) -> Iterator[IO[bytes]]:
    """A file's bytes, decompressed, or those of standard input; OSErrors become DatasetErrors."""
    try:
        if path == STANDARD_INPUT:
            yield sys.stdin.buffer
        else:
            with Path(path).open("rb") as stream:
                if path.lower().endswith(".gz"):
                    with gzip.open(stream) as decompressed:
                        yield cast("IO[bytes]", decompressed)
                else:
                    yield stream
    except FileNotFoundError as error:
        raise DatasetError(f"there is no file {path}") from error
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise DatasetError(f"{path} cannot be read: {reason}") from error


def _lines(path: str) -> Iterator[str]:
    """Lines as an editor counts them: str.splitlines would also split at U+2028 and the like."""
    encoding = "utf-8-sig"  # the first line may start with a byte order mark
    with reading(path) as stream:
        for number, line in enumerate(stream, start=1):
            try:
                text = line.decode(encoding)
            except UnicodeDecodeError as error:
                raise DatasetError(
                    f"{path}, line {number}: byte 0x{error.object[error.start]:02x} is not UTF-8: save "
                    "the file as UTF-8"
                ) from error
            if text:  # a byte order mark alone is no line
                yield text
            encoding = "utf-8"


def _without_end(line: str) -> str:
    return line.removesuffix("\n").removesuffix("\r") if line.endswith("\n") else line


def _read_csv(path: str, delimiter: str, header: bool) -> Iterator[Row]:
    csv.field_size_limit(2**31 - 1)  # the default refuses fields over 128 KiB
    with reading(path) as stream:
        # Untranslated: csv.reader is the one to tell an end of line from one within quotes.
        text = io.TextIOWrapper(stream, encoding="utf-8-sig", newline="")
        reader = csv.reader(text, delimiter=delimiter, strict=True)
        names: tuple[str, ...] | None = None
        line = 1
        try:
            for values in reader:
                if names is None and header:
                    names = tuple(values)
                else:
                    names = names or tuple(str(i + 1) for i in range(len(values)))
                    if len(values) != len(names):
                        raise DatasetError(
                            f"{path}, line {line}: {len(values)} fields, expected {len(names)} as in the "
                            "first row"
                        )
                    yield Row(line, names, values)
                line = reader.line_num + 1
        except (csv.Error, UnicodeDecodeError) as error:
            raise DatasetError(f"{path}, line {line}: {error}") from error


def _read_jsonl(path: str) -> Iterator[Row]:
    for number, line in enumerate(_lines(path), start=1):
        try:
            record = json.loads(line.rstrip("\r\n"))
        except (ValueError, RecursionError) as error:
            raise DatasetError(f"{path}, line {number}: no JSON: {error}") from error
        if not isinstance(record, dict):
            raise DatasetError(f"{path}, line {number}: expected a JSON object")
        yield Row(number, tuple(record), tuple(record.values()))


def _read_parquet(path: str) -> Iterator[Row]:
    line = 1
    for batch in parquet_batches(path):
        names = tuple(batch.schema.names)
        for values in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            yield Row(line, names, values)
            line += 1


def parquet_batches(path: str, skip: int = 0) -> Iterator[Any]:
    """A Parquet file as pyarrow RecordBatches, without its first `skip` rows. Raises DatasetError."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise DatasetError(
            f"reading {path} needs pyarrow, which is not installed: pip install 'minilmx[datasets]'"
        ) from error
    row = 0
    try:
        with Path(path).open("rb") as stream, pyarrow.parquet.ParquetFile(stream, buffer_size=2**20) as file:
            groups = list(range(file.num_row_groups))
            while groups and row + (rows := file.metadata.row_group(groups[0]).num_rows) <= skip:
                row += rows
                del groups[0]
            for batch in file.iter_batches(_BATCH_ROWS, row_groups=groups) if groups else ():
                if row + len(batch) > skip:
                    yield batch.slice(max(skip - row, 0))
                row += len(batch)
    except FileNotFoundError as error:
        raise DatasetError(f"there is no file {path}") from error
    except (pyarrow.ArrowException, OSError) as error:
        where = f"{path}, after row {row}," if row else path
        raise DatasetError(f"{where} cannot be read as Parquet: {error}") from error
