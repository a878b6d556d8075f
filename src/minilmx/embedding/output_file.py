"""Embeddings in a file (.npy, .npz, .parquet or .jsonl), with the record of the run beside it."""

import json
import math
import shutil
import zipfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from minilmx.embedding.record import RunRecord
from minilmx.errors import OutputError, boundary
from minilmx.files.atomic import atomic_file, check_writable, require_local
from minilmx.files.digest import sha256_of_file
from minilmx.files.documents import require_regular

RECORD_SUFFIX = ".run.json"
_PIECE_BYTES = 2**20
Rows = NDArray[np.float32]
# Numbers of any floating-point type, and the ids of their rows.
Found = tuple[NDArray[Any], list[Any] | None]
# Chunks of texts with their embeddings, float32 [n, D].
Chunks = Iterable[tuple[Sequence[str], Rows]]


def record_path(output: Path) -> Path:
    """The path of the record of an embeddings file: FILE.run.json."""
    return output.with_name(output.name + RECORD_SUFFIX)


def check_output(output: Path, *, replace: bool, nulls: bool = False) -> None:
    """Raise OutputError if embeddings cannot be saved to this path. Call this before long work.

    With `nulls`, rows without an embedding must fit too.
    """
    require_local(output)
    if _writer(output) in (_npy, _npz) and nulls:
        raise OutputError(
            f"{output} cannot hold null for a row without a text; expected .parquet or .jsonl",
            "Choose another output, or to skip rows without a text.",
        )
    for path in (output, record_path(output)):
        check_writable(path, replace=replace)


def save_embeddings(
    output: Path,
    dimension: int,
    chunks: Chunks,
    record: Callable[[], RunRecord],
    *,
    replace: bool,
    empty_lines: Sequence[int] = (),
) -> RunRecord:
    """Write embeddings of D = `dimension` as they are computed, then the record of the run.

    The extension decides the format. `record` is called once, after the last chunk; the record that
    was saved is returned. An embedding is null if its text is "". `empty_lines`, which are complete after the
    last chunk, are recorded. Raises OutputError and whatever iterating over the chunks raises.
    """
    write = _writer(output)
    with atomic_file(output, replace=replace) as temporary:
        write(temporary, dimension, chunks)
    return save_record(output, record(), empty_lines, replace=replace)


def save_record(
    output: Path, record: RunRecord, empty_lines: Sequence[int] = (), *, replace: bool
) -> RunRecord:
    """Write the record of a run beside its output, and return it. Raises OutputError."""
    document = record.to_document() | {"output": output.name, "sha256": sha256_of_file(output)}
    document |= {"empty_lines": list(empty_lines)}
    with atomic_file(record_path(output), replace=replace) as temporary:
        temporary.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    return record


@dataclass(frozen=True, slots=True)
class Vectors:
    """Embeddings of a file: float32 [N, D].

    `dtype` is what they are in the file, and `ids` are those of its rows as text, if it has a column `id`.
    """

    values: Rows
    dtype: str = "float32"
    ids: tuple[str, ...] | None = None


def read_vectors(path: Path) -> Vectors:
    """Read embeddings, without unpickling: a .npy, the array `embeddings` of a .npz, or the column or field
    `embedding` of .parquet or .jsonl; of another name, if it is a Parquet file's only column of vectors.

    float16 and float64 become float32. Raises OutputError.
    """
    readers = {".npy": _read_npy, ".npz": _read_npz, ".parquet": _read_parquet, ".jsonl": _read_jsonl}
    read = readers.get(path.suffix.lower())
    if read is None:
        raise OutputError(f"{path}: unknown extension; expected one of {', '.join(readers)}")
    with boundary(OutputError, f"{path} cannot be read as embeddings"):
        require_regular(path)
        values, ids = read(path)
    if values.ndim != 2 or values.dtype.kind != "f":
        raise OutputError(f"{path}: {values.dtype} {list(values.shape)}; expected float32 [N, D]")
    with np.errstate(over="ignore"):  # infinity, which a comparison refuses
        converted = values.astype(np.float32, copy=False)
    return Vectors(converted, values.dtype.name, None if ids is None else tuple(map(str, ids)))


def read_embeddings(path: Path) -> Rows:
    """The embeddings of `read_vectors`: float32 [N, D]. Raises OutputError."""
    return read_vectors(path).values


def write_jsonl(write: Callable[[str], object], chunks: Chunks) -> None:
    """Write one object per line, {"text": ..., "embedding": [...]}, without rounding.

    Both are null if the text is "".
    """
    for texts, values in chunks:
        for text, row in zip(texts, values.tolist(), strict=True):
            record = {"text": text or None, "embedding": row if text else None}
            write(json.dumps(record, ensure_ascii=False) + "\n")


def _writer(output: Path) -> Callable[[Path, int, Chunks], None]:
    writers = {".npy": _npy, ".npz": _npz, ".parquet": _parquet, ".jsonl": _jsonl}
    try:
        write = writers[output.suffix.lower()]
    except KeyError as error:
        raise OutputError(f"{output}: unknown extension; expected one of {', '.join(writers)}") from error
    if write is _parquet:
        _pyarrow(output)
    return write


def _npy(path: Path, dimension: int, chunks: Chunks) -> None:
    """As np.save writes it; its header has room for any number of rows."""

    def write_header(rows: int) -> None:
        stream.seek(0)
        header = {"descr": "<f4", "fortran_order": False, "shape": (rows, dimension)}
        np.lib.format.write_array_header_1_0(stream, header)

    rows = 0
    with path.open("wb") as stream:
        write_header(0)
        for _, values in chunks:
            stream.write(np.ascontiguousarray(values, dtype="<f4").data)
            rows += len(values)
        write_header(rows)


def _npz(path: Path, dimension: int, chunks: Chunks) -> None:
    """As np.savez writes it. A header inside a zip cannot be rewritten, so a .npy comes first."""
    array = path.with_name(path.name + ".npy")
    try:
        _npy(array, dimension, chunks)
        with (
            zipfile.ZipFile(path, "w", allowZip64=True) as archive,
            archive.open("embeddings.npy", "w", force_zip64=True) as entry,
            array.open("rb") as stream,
        ):
            shutil.copyfileobj(stream, entry, 2**20)
    finally:
        array.unlink(missing_ok=True)


def _jsonl(path: Path, dimension: int, chunks: Chunks) -> None:
    with path.open("w", encoding="utf-8") as stream:
        write_jsonl(stream.write, chunks)


def _parquet(path: Path, dimension: int, chunks: Chunks) -> None:
    pyarrow = _pyarrow(path)
    embedding = pyarrow.list_(pyarrow.float32(), dimension)
    schema = pyarrow.schema({"text": pyarrow.string(), "embedding": embedding})
    with path.open("wb") as stream, pyarrow.parquet.ParquetWriter(stream, schema) as writer:
        for texts, values in chunks:
            flat = pyarrow.array(values.reshape(-1), pyarrow.float32())
            empty = pyarrow.array([not text for text in texts])
            column = pyarrow.FixedSizeListArray.from_arrays(flat, dimension, mask=empty)
            named = pyarrow.array([text or None for text in texts], pyarrow.string())
            writer.write_table(pyarrow.table([named, column], schema=schema))


def _read_npy(path: Path) -> Found:
    with path.open("rb") as stream:
        return _array(stream, path.stat().st_size), None


def _read_npz(path: Path) -> Found:
    with zipfile.ZipFile(path) as archive, archive.open("embeddings.npy") as stream:
        return _array(stream, archive.getinfo("embeddings.npy").file_size), None


def _array(stream: IO[bytes], size_bytes: int) -> NDArray[Any]:
    """The array of a .npy file of this size. Raises ValueError before it takes memory for a false header."""
    major, _ = np.lib.format.read_magic(stream)
    read_header = np.lib.format.read_array_header_1_0 if major == 1 else np.lib.format.read_array_header_2_0
    shape, is_fortran, dtype = read_header(stream)
    if dtype.hasobject:
        raise ValueError("it holds Python objects, which are not read (allow_pickle=False)")
    if dtype.kind != "f" or dtype.itemsize > 8 or len(shape) != 2:
        raise ValueError(f"{dtype} {list(shape)}; expected float32 [N, D]")
    expected, left = math.prod(shape) * dtype.itemsize, size_bytes - stream.tell()
    if min(shape) < 0 or expected != left:
        raise ValueError(f"{left} bytes follow the header; expected {expected}, for {list(shape)}")
    content = bytearray()
    while piece := stream.read(_PIECE_BYTES):  # what is there, as a zip may state any size
        content += piece
    return np.frombuffer(content, dtype).reshape(shape, order="F" if is_fortran else "C")


def _read_jsonl(path: Path) -> Found:
    with path.open(encoding="utf-8") as stream:
        records = [json.loads(line) for line in stream]
    for line, record in enumerate(records, 1):
        if "embedding" not in record:
            raise ValueError(f"line {line} has no field 'embedding'")
    rows = [record["embedding"] for record in records]
    if None in rows:
        raise ValueError(f"{rows.count(None)} rows have no embedding")
    if not all(type(number) in (int, float) for row in rows for number in row):
        raise ValueError("an embedding is not a list of numbers")
    ids = [record["id"] for record in records] if all("id" in record for record in records) else None
    return np.array(rows, dtype=np.float32), ids


def _read_parquet(path: Path) -> Found:
    pyarrow = _pyarrow(path)
    schema = pyarrow.parquet.read_schema(path)
    name = "embedding" if "embedding" in schema.names else _only_vectors(schema)
    table = pyarrow.parquet.read_table(path, columns=[name, *({"id"} & set(schema.names))])
    column = table[name].combine_chunks()
    if column.null_count:
        raise ValueError(f"{column.null_count} rows have no embedding")
    widths = pyarrow.compute.unique(pyarrow.compute.list_value_length(column)).to_pylist()
    if len(widths) != 1:
        raise ValueError(f"embeddings of {' and '.join(map(str, sorted(widths)[:2])) or 'no'} numbers")
    values: NDArray[Any] = column.flatten().to_numpy(zero_copy_only=False).reshape(len(column), -1)
    return values, table["id"].to_pylist() if "id" in table.column_names else None


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


def _pyarrow(file: Path):  # type: ignore[no-untyped-def] # an optional, untyped module
    try:
        import pyarrow.compute
        import pyarrow.parquet
    except ImportError as error:
        raise OutputError(
            f"{file.name} needs pyarrow, which is not installed", "Run pip install 'minilmx[datasets]'."
        ) from error
    return pyarrow
