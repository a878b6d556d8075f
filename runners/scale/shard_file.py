"""One shard as a Parquet file: the same rows, settings and pyarrow give the same bytes."""

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from minilmx.atomic import atomic_file
from minilmx.errors import OutputError
from minilmx.models.corpus import Shard
from minilmx.models.digest import sha256_of_file
from minilmx.runners.scale.ledger import SHARD_PREFIX, Entry


def write_shard(folder: Path, shard: Shard, values: NDArray[np.float32], dtype: str) -> Entry:
    """Write id, embedding (a list of D of `dtype`) and what is carried through.

    `values` is float32 [n, D]. The file is on the disk when this returns. Raises OutputError.
    """
    import pyarrow
    import pyarrow.parquet

    flat = pyarrow.array(values.astype(dtype, copy=False).reshape(-1))
    embedding = pyarrow.FixedSizeListArray.from_arrays(flat, values.shape[1])
    table = shard.carried.add_column(1, "embedding", embedding)
    carried = shard.carried.column_names
    path = folder / f"{SHARD_PREFIX}{shard.index:06d}.parquet"
    with atomic_file(path, replace=True) as temporary:
        try:
            # Embeddings have nothing to compress and no least or greatest.
            pyarrow.parquet.write_table(
                table,
                str(temporary),
                row_group_size=len(table),
                use_dictionary=carried,
                write_statistics=carried,
                compression=dict.fromkeys(carried, "zstd"),
            )
        except pyarrow.ArrowException as error:
            raise OutputError(f"{path} cannot be written: {error}") from error
        except OSError as error:  # whose words are pyarrow's: one sentence is enough
            raise OSError(error.errno, os.strerror(error.errno)) if error.errno else error from error
        digest, size = sha256_of_file(temporary), temporary.stat().st_size
    return Entry(shard.index, path.name, shard.first_row, len(table), size, digest)
