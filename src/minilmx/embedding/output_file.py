"""Embeddings into a file (.npy, .npz, .parquet or .jsonl), with the record of the run beside it."""

import json
import shutil
import zipfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from minilmx.embedding.record import RunRecord
from minilmx.errors import OutputError
from minilmx.files.atomic import atomic_file, check_writable, require_local
from minilmx.files.digest import sha256_of_file
from minilmx.files.documents import dump_json
from minilmx.files.opening import import_pyarrow

RECORD_SUFFIX = ".run.json"
Rows = NDArray[np.float32]
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
    check_files(output, replace=replace)


def check_files(output: Path, *, replace: bool) -> None:
    """Raise OutputError if the output, or the record beside it, cannot be written."""
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
        made = record()  # what it refuses leaves no output
    return save_record(output, made, empty_lines, replace=replace)


def save_record(
    output: Path, record: RunRecord, empty_lines: Sequence[int] = (), *, replace: bool
) -> RunRecord:
    """Write the record of a run beside its output, and return it. Raises OutputError."""
    document = record.to_document() | {"output": output.name, "sha256": sha256_of_file(output)}
    document |= {"empty_lines": list(empty_lines)}
    with atomic_file(record_path(output), replace=replace) as temporary:
        temporary.write_text(dump_json(document, indent=2) + "\n", encoding="utf-8")
    return record


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
        import_pyarrow(output.name, OutputError)
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
    pyarrow = import_pyarrow(path.name, OutputError)
    embedding = pyarrow.list_(pyarrow.float32(), dimension)
    schema = pyarrow.schema({"text": pyarrow.string(), "embedding": embedding})
    with path.open("wb") as stream, pyarrow.parquet.ParquetWriter(stream, schema) as writer:
        for texts, values in chunks:
            flat = pyarrow.array(values.reshape(-1), pyarrow.float32())
            empty = pyarrow.array([not text for text in texts])
            column = pyarrow.FixedSizeListArray.from_arrays(flat, dimension, mask=empty)
            named = pyarrow.array([text or None for text in texts], pyarrow.string())
            writer.write_table(pyarrow.table([named, column], schema=schema))
