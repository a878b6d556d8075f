"""Text, CSV, TSV, JSON and Parquet files, read as a stream of blocks of rows.

All but Parquet may be compressed (.jsonl.gz, .bz2, .zst). Memory does not grow with the file: blocks are of
limited length and size, and a line that would fill the memory is refused.
"""

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from minilmx.errors import DatasetError, MinilmxError, boundary, reason
from minilmx.files.delimited import read_delimited
from minilmx.files.digest import Digest, add_stream
from minilmx.files.documents import require_regular
from minilmx.files.formats import DELIMITED, EXTENSIONS, MAX_CHARACTERS, TextFormat, place, too_long
from minilmx.files.json_records import Record, read_json, read_jsonl
from minilmx.files.opening import import_pyarrow, is_url, open_bytes, open_file

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_BLOCK_ROWS = 1024  # few enough to stay in the processor's cache
_PARQUET_BLOCK_ROWS = 4096
_BLOCK_CHARACTERS = 2**22  # or fewer rows than that, if they are long
_PIECE_CHARACTERS = 2**18
_UNDECODED = re.compile("[\udc80-\udcff]")  # how surrogateescape decodes a byte that is not UTF-8
Item = TypeVar("Item")


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
    _positions: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        positions = {name: at for at, name in reversed(list(enumerate(self.names)))}
        object.__setattr__(self, "_positions", positions)

    def __len__(self) -> int:
        return len(self.lines)

    def column(self, name: str) -> Any:
        """A column as a list or a pyarrow array; None if the block does not have it."""
        at = self._positions.get(name)
        return None if at is None else self.columns[at]

    def values(self, name: str) -> list[Any]:
        """The values of a column, all None if the block does not have it."""
        column = self.column(name)
        return [None] * len(self) if column is None else self.listed(column)

    def chosen(self, name: str, rows: "NDArray[np.int64]") -> list[Any]:
        """The values of a column in some rows, counted from 0; all None if the block does not have it."""
        column = self.column(name)
        if column is None:
            return [None] * len(rows)
        if isinstance(column, list):
            return [column[row] for row in rows.tolist()]
        return self.listed(column.take(rows))

    def listed(self, column: Any) -> list[Any]:
        """One of the columns as a list. Raises DatasetError for a value that Python does not have."""
        if isinstance(column, list):
            return column
        with boundary(DatasetError, f"{self.path}, rows {self.lines[0]} to {self.lines[-1]}, cannot be read"):
            return list(column.to_pylist())


def read_blocks(
    path: str, skip: int = 0, digest: Digest = None, *, text_format: TextFormat
) -> Iterator[Block]:
    """The rows of a file, or of standard input, without the first `skip`. Raises DatasetError.

    Rows before a bad one are yielded before its error is raised. The file's bytes are added to
    `digest`, a hash object, as they are read.
    """
    with boundary(DatasetError, f"{path} cannot be read"):
        yield from _read_blocks(path, skip, digest, text_format)


def _read_blocks(path: str, skip: int, digest: Digest, text_format: TextFormat) -> Iterator[Block]:
    kind = text_format.kind_of(path)
    if kind not in EXTENSIONS:
        raise DatasetError(
            f"{path}: unknown extension; expected one of {', '.join(EXTENSIONS)}",
            "Rename it, or set its format.",
        )
    if kind == ".parquet":
        yield from _read_parquet(path, skip, digest)
        return
    count = _Count()
    if kind == ".json":
        records = read_json(path, _read_pieces(path, digest, count))
        yield from _record_blocks(path, islice(records, skip, None), count)
        return
    # csv.reader itself must tell the end of a line from one within quotes.
    lines = _read_lines(path, "" if kind in DELIMITED else "\n", digest, count)
    if kind == ".txt":
        for texts in _batched(islice(map(_without_end, lines), skip, None), count):
            yield Block(path, range(skip + 1, skip + 1 + len(texts)), ["text"], [texts])
            skip += len(texts)
    elif kind == ".jsonl":
        yield from _record_blocks(path, islice(read_jsonl(path, lines), skip, None), count)
    else:
        rows = read_delimited(path, lines, kind, text_format)
        _, names = next(rows, (0, []))
        for batch in _batched(islice(rows, skip, None), count):
            columns = [list(column) for column in zip(*(values for _, values in batch), strict=True)]
            yield Block(path, [line for line, _ in batch], names, columns)


@dataclass(slots=True)
class _Count:
    """How many characters of a file have been read."""

    characters: int = 0


@contextmanager
def _text(path: str, newline: str, digest: Digest) -> Iterator[io.TextIOWrapper]:
    with open_bytes(path, digest) as stream:
        # A byte order mark may come first. str.splitlines would also split at U+2028 and the like.
        text = io.TextIOWrapper(stream, "utf-8-sig", errors="surrogateescape", newline=newline)
        try:
            yield text
        finally:
            text.detach()  # closing standard input is not ours


def _read_lines(path: str, newline: str, digest: Digest, count: _Count) -> Iterator[str]:
    """Lines with their ends. Raises DatasetError, naming the line, if it is too long or not UTF-8."""
    with _text(path, newline, digest) as text:
        for number, line in enumerate(iter(partial(text.readline, MAX_CHARACTERS + 1), ""), start=1):
            count.characters += len(line)
            if len(line) > MAX_CHARACTERS:
                raise too_long(path, number)
            if not line.isascii() and (bad := _UNDECODED.search(line)):
                raise _not_utf8(path, number, bad)
            yield line


def _read_pieces(path: str, digest: Digest, count: _Count) -> Iterator[str]:
    """Parts of the text of a limited size. Raises DatasetError for bytes that are not UTF-8."""
    line = 1
    with _text(path, "\n", digest) as text:
        while piece := text.read(_PIECE_CHARACTERS):
            count.characters += len(piece)
            if not piece.isascii() and (bad := _UNDECODED.search(piece)):
                raise _not_utf8(path, line + piece.count("\n", 0, bad.start()), bad)
            yield piece
            line += piece.count("\n")


def _not_utf8(path: str, line: int, bad: re.Match[str]) -> DatasetError:
    byte = f"0x{ord(bad[0]) - 0xDC00:02x}"
    return DatasetError(f"{place(path, line)}: byte {byte} is not UTF-8", "Save the file as UTF-8.")


def _record_blocks(path: str, records: Iterator[Record], count: _Count) -> Iterator[Block]:
    for batch in _batched(records, count):
        names = list(dict.fromkeys(name for _, record in batch for name in record))
        columns = [[record.get(name) for _, record in batch] for name in names]
        yield Block(path, [line for line, _ in batch], names, columns)


def _without_end(line: str) -> str:
    return line.removesuffix("\n").removesuffix("\r") if line.endswith("\n") else line


def _read_parquet(path: str, skip: int, digest: Digest) -> Iterator[Block]:
    pyarrow = import_pyarrow(path)
    row = 0
    try:
        if not is_url(path):
            require_regular(Path(path))
        with open_file(path) as stream:
            if digest is not None:  # first, as Parquet is not read from its start to its end
                add_stream(digest, stream)
                stream.seek(0)
            with pyarrow.parquet.ParquetFile(stream, buffer_size=2**20, pre_buffer=False) as file:
                groups = list(range(file.num_row_groups))
                while groups and row + (rows := file.metadata.row_group(groups[0]).num_rows) <= skip:
                    row += rows
                    del groups[0]
                size = min((_rows_per_block(file.metadata.row_group(group)) for group in groups), default=1)
                # One group at a time: pyarrow keeps what it has read of a file until its batches end.
                for batch in chain.from_iterable(
                    file.iter_batches(size, row_groups=[group]) for group in groups
                ):
                    start = max(skip, row)
                    row += len(batch)
                    if start < row:
                        kept = batch.slice(start - row + len(batch))
                        yield Block(path, range(start + 1, row + 1), batch.schema.names, kept.columns)
    except FileNotFoundError as error:
        raise DatasetError(f"{path} does not exist") from error
    except Exception as error:
        if isinstance(error, MinilmxError):
            raise
        where = f"{path}, after row {row}," if row else path
        raise DatasetError(f"{where} cannot be read as Parquet: {reason(error)}") from error


def _rows_per_block(group: Any) -> int:
    size = max(1, int(group.total_byte_size) // max(1, int(group.num_rows)))
    return max(1, min(_PARQUET_BLOCK_ROWS, 4 * _BLOCK_CHARACTERS // size))


def _batched(rows: Iterator[Item], count: _Count) -> Iterator[list[Item]]:
    """The rows in lists of limited length and size; those before an error are yielded before it."""
    failure = None
    while failure is None:
        batch: list[Item] = []
        end = count.characters + _BLOCK_CHARACTERS
        try:
            for row in islice(rows, _BLOCK_ROWS):
                batch.append(row)
                if count.characters > end:
                    break
        except DatasetError as error:
            failure = error
        if batch:
            yield batch
        elif failure is None:
            return
    raise failure
