"""Writing one shard to a file: the same rows, settings and versions give the same bytes."""

import os
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minilmx.embedding.corpus.ledger import Entry, shard_file
from minilmx.embedding.corpus.source import Shard
from minilmx.errors import OutputError
from minilmx.files.atomic import atomic_file
from minilmx.files.digest import sha256_of_file


@dataclass(frozen=True, slots=True)
class ShardFormat:
    """A file format for shards, "parquet" or "lance".

    `write` writes a pyarrow Table to an empty file. `check_installed`, and `check_columns` with the
    pyarrow Fields that are carried over, are called before any work; `finish` is called when all
    shards are complete. All raise OutputError.
    """

    name: str
    write: Callable[[Any, Path], None]
    packages: tuple[str, ...] = ()  # that its bytes depend on, besides pyarrow
    check_installed: Callable[[], None] = lambda: None
    check_columns: Callable[[list[Any]], None] = lambda fields: None
    finish: Callable[[Path, Collection[Entry]], None] = lambda folder, shards: None


def write_shard(
    folder: Path, shard: Shard, values: NDArray[np.float32], dtype: str, kind: ShardFormat
) -> Entry:
    """Write the ids, the embeddings (lists of D numbers of `dtype`) and the columns carried over.

    `values` is float32 [n, D]; the embedding of a row without a text is null. The file is flushed to disk.
    Raises OutputError.
    """
    import pyarrow

    flat = pyarrow.array(values.astype(dtype, copy=False).reshape(-1))
    empty = [not text for text in shard.texts]
    mask = pyarrow.array(empty) if any(empty) else None
    embedding = pyarrow.FixedSizeListArray.from_arrays(flat, values.shape[1], mask=mask)
    table = shard.carried.add_column(1, "embedding", embedding)
    name = shard_file(shard.index, kind.name)
    path = folder / name
    with atomic_file(path, replace=True) as temporary:
        try:
            kind.write(table, temporary)
        except pyarrow.ArrowException as error:
            raise OutputError(f"{path} cannot be written: {error}") from error
        except OSError as error:  # replace pyarrow's long message
            raise OSError(error.errno, os.strerror(error.errno)) if error.errno else error from error
        digest, size = sha256_of_file(temporary), temporary.stat().st_size
    return Entry(shard.index, name, shard.first_row, len(table), size, digest)


def _write_parquet(table: Any, path: Path) -> None:
    import pyarrow.parquet

    # Compression and statistics are useless for embeddings.
    carried = [name for name in table.column_names if name != "embedding"]
    with path.open("wb") as stream:  # pyarrow takes no path that is not UTF-8
        pyarrow.parquet.write_table(
            table,
            stream,
            row_group_size=len(table),
            use_dictionary=carried,
            write_statistics=carried,
            compression=dict.fromkeys(carried, "zstd"),
        )


PARQUET = ShardFormat("parquet", _write_parquet)
