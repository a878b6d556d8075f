"""Semantic search in LanceDB, embedded, whose runner can be swapped.

python lancedb_search.py ARTIFACT "A query" --store store --corpus sentences.txt
python lancedb_search.py ARTIFACT "A query" --store store --runner groq-emulator
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import lancedb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from semantic_search import Rows, main

TABLE = "sentences"


class LanceStore:
    """A table with the columns text, made_by and embedding."""

    def __init__(self, folder: Path) -> None:
        self._database = lancedb.connect(folder)

    def replace(self, texts: list[str], embeddings: Rows, made_by: str) -> None:
        rows = pa.table(
            {
                "text": texts,
                "made_by": [made_by] * len(texts),
                "embedding": pa.FixedSizeListArray.from_arrays(embeddings.ravel(), embeddings.shape[1]),
            }
        )
        # A new version of the table: whoever reads the one before goes on doing so.
        self._database.create_table(TABLE, rows, mode="overwrite" if self._exists() else "create")

    def made_by(self) -> str | None:
        return self._column("made_by", 1)[0] if self._exists() else None

    def texts(self) -> list[str]:
        return self._column("text")

    def sample(self, count: int) -> tuple[list[str], Rows]:
        table = self._database.open_table(TABLE)
        total = table.count_rows()
        rows = table.take_offsets(random.Random(0).sample(range(total), min(count, total))).to_arrow()
        return rows["text"].to_pylist(), np.array(rows["embedding"].to_pylist(), np.float32)

    def nearest(self, query: NDArray[np.float32], count: int) -> list[tuple[str, float]]:
        # With no index LanceDB compares all rows; for millions, make one with `create_index`.
        search = self._database.open_table(TABLE).search(query).distance_type("cosine").limit(count)
        return [(row["text"], 1 - row["_distance"]) for row in search.to_list()]

    def _exists(self) -> bool:
        return TABLE in self._database.list_tables().tables

    def _column(self, name: str, limit: int | None = None) -> list[str]:
        rows = self._database.open_table(TABLE).search().select([name]).limit(limit).to_arrow()
        return list(rows[name].to_pylist())


@contextmanager
def open_store(folder: Path) -> Iterator[LanceStore]:
    """The LanceDB database in the folder."""
    yield LanceStore(folder)


if __name__ == "__main__":
    main(__doc__, open_store)
