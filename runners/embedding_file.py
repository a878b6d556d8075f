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


def _pyarrow(output: Path):  # type: ignore[no-untyped-def] # an optional, untyped module
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise OutputError(
            f"writing {output.name} needs pyarrow, which is not installed: "
            "pip install 'minilmx[datasets]'"
        ) from error
    return pyarrow
