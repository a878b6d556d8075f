"""Embeddings from a file: .npy, .npz, .parquet or .jsonl.

A file is read in blocks of rows, so that memory grows only with the rows that are kept.
"""

import math
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from minilmx.errors import DatasetError, OutputError, boundary
from minilmx.files.documents import require_regular
from minilmx.files.formats import BY_NAME
from minilmx.files.opening import import_pyarrow
from minilmx.files.readers import read_blocks

_BLOCK_BYTES = 2**20
_BLOCK_ROWS = 1024
Rows = NDArray[np.float32]
# Consecutive rows of numbers of any floating-point type, [n, D], and their ids.
Block = tuple[NDArray[Any], Sequence[Any] | None]


@dataclass(frozen=True, slots=True)
class Vectors:
    """Embeddings of a file, or of an array: float32 [N, D].

    `dtype` is what they were, and `ids` are those of the rows as text, if the file has a column `id`. `total`
    is how many rows there are, and `is_finite` whether all of their numbers are finite: both count the rows
    that were not kept.
    """

    values: Rows
    dtype: str
    ids: tuple[str, ...] | None
    total: int
    is_finite: bool


@dataclass(frozen=True, slots=True)
class Selection:
    """Which rows are kept: those of these ids, if both sides have ids, and otherwise those of these numbers.

    `rows` counts from 0, int64 in order.
    """

    rows: NDArray[np.int64]
    ids: frozenset[str] | None = None

    def choose(self, start: int, count: int, ids: Sequence[str] | None) -> NDArray[np.int64]:
        """The rows to keep of a block of `count` rows that begins with the row `start`: int64 in order."""
        if ids is not None and self.ids is not None:
            return np.flatnonzero([each in self.ids for each in ids])
        first, end = np.searchsorted(self.rows, (start, start + count))
        return self.rows[first:end] - start


def read_vectors(path: Path, selection: Selection | None = None) -> Vectors:
    """Read embeddings, without unpickling: a .npy, the array `embeddings` of a .npz, or the column or field
    `embedding` of .parquet or .jsonl; of another name, if it is a Parquet file's only column of vectors.

    float16 and float64 become float32. Every number is read, also of rows that are not of the `selection`.
    Raises OutputError.
    """
    readers = {".npy": _read_npy, ".npz": _read_npz, ".parquet": _read_parquet, ".jsonl": _read_jsonl}
    read = readers.get(path.suffix.lower())
    if read is None:
        raise OutputError(f"{path}: unknown extension; expected one of {', '.join(readers)}")
    with boundary(OutputError, f"{path} cannot be read as embeddings"):
        require_regular(path)
        return take_vectors(read(path), selection)


def take_vectors(blocks: Iterable[Block], selection: Selection | None = None) -> Vectors:
    """The rows of the `selection`, or all. Raises ValueError for anything but floating-point [n, D]."""
    kept: list[Rows] = []
    kept_ids: list[str] | None = []
    dtype, total, is_finite = "", 0, True
    for numbers, stated in blocks:
        if numbers.ndim != 2 or numbers.dtype.kind != "f" or numbers.dtype.itemsize > 8:
            raise ValueError(f"{numbers.dtype} {list(numbers.shape)}; expected float32 [N, D]")
        if kept and numbers.shape[1] != kept[0].shape[1]:
            raise ValueError(f"embeddings of {kept[0].shape[1]} and {numbers.shape[1]} numbers")
        with np.errstate(over="ignore"):  # infinity, which is not finite
            values = numbers.astype(np.float32, copy=False)
        is_finite = is_finite and bool(np.isfinite(values).all())
        if stated is not None and None in stated:
            raise ValueError(f"row {total + list(stated).index(None) + 1}: id is null; expected an id")
        ids = None if stated is None else list(map(str, stated))
        if selection is not None:
            rows = selection.choose(total, len(values), ids)
            values = values[rows]
            ids = None if ids is None else [ids[row] for row in rows.tolist()]
        kept.append(values)
        if ids is None:
            kept_ids = None
        elif kept_ids is not None:
            kept_ids += ids
        dtype, total = numbers.dtype.name, total + len(numbers)
    values = kept[0] if len(kept) == 1 else np.concatenate(kept)
    return Vectors(values, dtype, None if kept_ids is None else tuple(kept_ids), total, is_finite)


def _read_npy(path: Path) -> Iterator[Block]:
    with path.open("rb") as stream:
        yield from _array_blocks(stream, path.stat().st_size)


def _read_npz(path: Path) -> Iterator[Block]:
    with zipfile.ZipFile(path) as archive, archive.open("embeddings.npy") as stream:
        yield from _array_blocks(stream, archive.getinfo("embeddings.npy").file_size)


def _array_blocks(stream: IO[bytes], size_bytes: int) -> Iterator[Block]:
    """The array of a .npy file of this size. Raises ValueError before it takes memory for a false header."""
    major, _ = np.lib.format.read_magic(stream)
    read_header = np.lib.format.read_array_header_1_0 if major == 1 else np.lib.format.read_array_header_2_0
    shape, is_fortran, dtype = read_header(stream)
    if dtype.hasobject:
        raise ValueError("it holds Python objects, which are not read (allow_pickle=False)")
    if dtype.kind != "f" or dtype.itemsize > 8 or len(shape) != 2 or shape[1] < 1:
        raise ValueError(f"{dtype} {list(shape)}; expected float32 [N, D]")
    expected, left = math.prod(shape) * dtype.itemsize, size_bytes - stream.tell()
    if shape[0] < 0 or expected != left:
        raise ValueError(f"{left} bytes follow the header; expected {expected}, for {list(shape)}")
    if is_fortran:  # the numbers of a row are apart
        yield _numbers(stream, dtype, expected).reshape(shape, order="F"), None
        return
    row_bytes = shape[1] * dtype.itemsize
    block_rows = max(1, _BLOCK_BYTES // row_bytes)
    for start in range(0, max(shape[0], 1), block_rows):
        count = min(block_rows, shape[0] - start)
        yield _numbers(stream, dtype, count * row_bytes).reshape(count, shape[1]), None


def _numbers(stream: IO[bytes], dtype: np.dtype[Any], size_bytes: int) -> NDArray[Any]:
    content = bytearray()
    while len(content) < size_bytes:  # what is there, as a zip may state any size
        piece = stream.read(min(_BLOCK_BYTES, size_bytes - len(content)))
        if not piece:
            raise ValueError(f"it ends {size_bytes - len(content)} bytes too early")
        content += piece
    return np.frombuffer(content, dtype)


def _read_jsonl(path: Path) -> Iterator[Block]:
    try:
        has_ids, width = None, None
        for block in read_blocks(str(path), text_format=BY_NAME):
            if has_ids is None:
                has_ids = "id" in block.names
            for line, each in zip(block.lines, block.values("id"), strict=True):
                if (each is not None) != has_ids:
                    raise ValueError(
                        f"line {line} has {'no' if has_ids else 'an'} id; expected one in all or none"
                    )
            if "embedding" not in block.names:
                raise ValueError(f"line {block.lines[0]} has no field 'embedding'")
            rows = block.values("embedding")
            for line, row in zip(block.lines, rows, strict=True):
                if row is None:
                    raise ValueError(f"line {line} has no embedding")
                if not isinstance(row, list) or not all(type(number) in (int, float) for number in row):
                    raise ValueError(f"line {line}: the embedding is not a list of numbers")
                if len(row) != (width := width or len(row)):
                    raise ValueError(f"line {line}: an embedding of {len(row)} numbers; expected {width}")
            yield np.array(rows, dtype=np.float32), block.values("id") if has_ids else None
        if has_ids is None:
            raise ValueError("it has no rows")
    except DatasetError as error:
        raise OutputError(error.message, error.hint) from error


def _read_parquet(path: Path) -> Iterator[Block]:
    pyarrow = import_pyarrow(path.name, OutputError)
    row = 0
    with (
        path.open("rb") as stream,  # pyarrow opens no name that is not UTF-8
        pyarrow.parquet.ParquetFile(stream, buffer_size=_BLOCK_BYTES, pre_buffer=False) as file,
    ):
        schema = file.schema_arrow
        name = "embedding" if "embedding" in schema.names else _only_vectors(schema)
        columns = [name, *({"id"} & set(schema.names))]
        # One group at a time: pyarrow keeps what it has read of a file until its batches end.
        for group in range(file.num_row_groups):
            for batch in file.iter_batches(_BLOCK_ROWS, row_groups=[group], columns=columns):
                column = batch.column(name)
                if column.null_count:
                    first = pyarrow.compute.index(column.is_null(), True).as_py()
                    raise ValueError(f"row {row + first + 1} has no embedding")
                widths = pyarrow.compute.unique(pyarrow.compute.list_value_length(column)).to_pylist()
                if len(widths) > 1:
                    raise ValueError(f"embeddings of {' and '.join(map(str, sorted(widths)[:2]))} numbers")
                row += len(column)
                if len(column):
                    numbers = column.flatten().to_numpy(zero_copy_only=False).reshape(len(column), -1)
                    yield numbers, batch.column("id").to_pylist() if len(columns) > 1 else None
    if not row:
        raise ValueError("it has no rows")


def _only_vectors(schema: Any) -> str:
    """The one column of lists of floating-point numbers. Raises ValueError."""
    found = [
        field.name
        for field in schema
        if str(getattr(field.type, "value_type", "")) in ("halffloat", "float", "double")
    ]
    if len(found) != 1:
        raise ValueError(f"{len(found)} columns of vectors; expected one, or one called embedding")
    return str(found[0])
