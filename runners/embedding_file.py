"""Embeddings on disk: .npy, .npz, .parquet or .jsonl, with the run's record beside them."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from minilmx.atomic import atomic_file, check_writable
from minilmx.errors import OutputError
from minilmx.models.digest import sha256_of_file
from minilmx.runners.job import RunRecord

Rows = NDArray[np.float32]


def record_path(output: Path) -> Path:
    """Where the record of an embeddings file stands: FILE.run.json."""
    return output.with_name(output.name + ".run.json")


def check_output(output: Path, *, replace: bool) -> None:
    """Raise OutputError, before any work, where the embeddings could not be saved."""
    _writer(output)
    for path in (output, record_path(output)):
        check_writable(path, replace=replace)


def save_embeddings(
    output: Path, texts: Sequence[str], values: Rows, record: RunRecord, *, replace: bool
) -> None:
    """Write float32 [N, D] embeddings by the extension, then their record. Raises OutputError."""
    write = _writer(output)
    with atomic_file(output, replace=replace) as temporary:
        write(temporary, texts, values)
    document = record.to_document() | {"output": output.name, "sha256": sha256_of_file(output)}
    with atomic_file(record_path(output), replace=replace) as temporary:
        temporary.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def read_embeddings(path: Path) -> Rows:
    """Read what save_embeddings wrote: float32 [N, D]. Nothing is unpickled. Raises OutputError."""
    readers = {".npy": _read_npy, ".npz": _read_npz, ".parquet": _read_parquet, ".jsonl": _read_jsonl}
    try:
        values = readers[path.suffix.lower()](path)
    except (KeyError, ValueError, OSError) as error:
        raise OutputError(f"{path} cannot be read as embeddings: {error}") from error
    if values.ndim != 2 or values.dtype != np.float32:
        raise OutputError(f"{path} has {values.dtype} {list(values.shape)}, expected float32 [N, D]")
    return values


def write_jsonl(stream: IO[str], texts: Sequence[str], values: Rows) -> None:
    """One object a line: {"text": ..., "embedding": [...]}; the numbers are exact."""
    for text, row in zip(texts, values, strict=True):
        document = {"text": text, "embedding": row.tolist()}
        stream.write(json.dumps(document, ensure_ascii=False) + "\n")


def _writer(output: Path) -> Callable[[Path, Sequence[str], Rows], None]:
    writers = {".npy": _npy, ".npz": _npz, ".parquet": _parquet, ".jsonl": _jsonl}
    try:
        write = writers[output.suffix.lower()]
    except KeyError as error:
        raise OutputError(
            f"{output} has an unknown extension: expected one of {', '.join(writers)}"
        ) from error
    if write is _parquet:
        _pyarrow(output)
    return write


def _npy(path: Path, texts: Sequence[str], values: Rows) -> None:
    with path.open("wb") as stream:
        np.save(stream, values, allow_pickle=False)


def _npz(path: Path, texts: Sequence[str], values: Rows) -> None:
    with path.open("wb") as stream:
        np.savez(stream, embeddings=values)


def _jsonl(path: Path, texts: Sequence[str], values: Rows) -> None:
    with path.open("w", encoding="utf-8") as stream:
        write_jsonl(stream, texts, values)


def _parquet(path: Path, texts: Sequence[str], values: Rows) -> None:
    pyarrow = _pyarrow(path)
    flat = pyarrow.array(values.reshape(-1), pyarrow.float32())
    columns = {
        "text": pyarrow.array(texts, pyarrow.string()),
        "embedding": pyarrow.FixedSizeListArray.from_arrays(flat, values.shape[1]),
    }
    pyarrow.parquet.write_table(pyarrow.table(columns), str(path))


def _read_npy(path: Path) -> Rows:
    values: Rows = np.load(path, allow_pickle=False)
    return values


def _read_npz(path: Path) -> Rows:
    with np.load(path, allow_pickle=False) as file:
        values: Rows = file["embeddings"]
    return values


def _read_jsonl(path: Path) -> Rows:
    with path.open(encoding="utf-8") as stream:
        return np.array([json.loads(line)["embedding"] for line in stream], dtype=np.float32)


def _read_parquet(path: Path) -> Rows:
    pyarrow = _pyarrow(path)
    column = pyarrow.parquet.read_table(path)["embedding"].combine_chunks()
    values: Rows = column.flatten().to_numpy().reshape(len(column), -1)
    return values


def _pyarrow(file: Path):  # type: ignore[no-untyped-def] # an optional, untyped module
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise OutputError(
            f"{file.name} needs pyarrow, which is not installed: pip install 'minilmx[datasets]'"
        ) from error
    return pyarrow
