"""Semantic search in any store, by any runner: what the examples share.

A store records which runner and artifact its embeddings are by. Another one may only query it if its
queries find the same neighbours in the old index; otherwise the store is embedded again, by the new one.
"""

import argparse
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

import minilmx
from minilmx import MinilmxError
from minilmx.eval.metrics.retrieval import RetrievalDrift, measure_retrieval
from minilmx.models.manifest import COSINE

Rows = NDArray[np.float32]


class Store(Protocol):
    """Texts with their embeddings, float32 [N, D]."""

    def replace(self, texts: list[str], embeddings: Rows, made_by: str) -> None:
        """Store these in place of the old ones, which stay if it fails."""

    def made_by(self) -> str | None:
        """Which runner and artifact the embeddings are by; None if nothing was stored yet."""

    def texts(self) -> list[str]:
        """All texts."""

    def sample(self, count: int) -> tuple[list[str], Rows]:
        """So many texts at random, the same ones each time, and their embeddings."""

    def nearest(self, query: NDArray[np.float32], count: int) -> list[tuple[str, float]]:
        """The nearest texts and their cosine similarities, nearest first."""


def main(about: str, open_store: Callable[[Path], AbstractContextManager[Store]]) -> None:
    """Do what the command line asks for; exit code 1 and one line on standard error if that fails."""
    arguments = parse_arguments(about)
    try:
        artifact = minilmx.open_artifact(arguments.artifact)
        texts = read_texts(arguments.corpus) if arguments.corpus else None
        with minilmx.load(artifact, arguments.runner) as model, open_store(arguments.store) as store:
            if texts:
                index(store, texts, model)
            else:
                admit(store, model, arguments.sample)
            [query] = model.encode([arguments.query])
            for text, similarity in store.nearest(query, 3):
                print(f"{similarity:.4f}  {text}")
    except (MinilmxError, OSError, UnicodeDecodeError) as error:
        sys.exit(f"error: {error}")


def read_texts(path: Path) -> list[str]:
    """A file's different lines."""
    lines = [line.strip() for line in path.read_text("utf-8").splitlines()]
    texts = [line for line in dict.fromkeys(lines) if line]
    return texts or sys.exit(f"error: {path} is empty")


def index(store: Store, texts: list[str], model: minilmx.Embedder) -> None:
    """Embed the texts and fill the store with them."""
    made_by = describe(model)
    store.replace(texts, model.encode(texts), made_by)
    print(f"Indexed {len(texts):,} sentences by {made_by}.")


def admit(store: Store, model: minilmx.Embedder, sample: int) -> None:
    """Make sure that the runner's queries find in the store what they should."""
    made_by, asking = store.made_by(), describe(model)
    if made_by is None:
        sys.exit("error: the store is empty: give --corpus")
    print(f"The index is by {made_by}.")
    if asking != made_by:
        print(f"The queries are by {asking}.")
        verdict = judge(store, model, sample)
        print(verdict.meaning if verdict else "No verdict: too few sentences, or embeddings of another size.")
        if verdict is None or not verdict.index_may_stay:
            index(store, store.texts(), model)


def judge(store: Store, model: minilmx.Embedder, sample: int) -> RetrievalDrift | None:
    """The mixed-index verdict; None for fewer than 12 texts or embeddings of another size."""
    texts, stored = store.sample(sample)
    fresh = model.encode(texts)
    if stored.shape != fresh.shape:
        return None
    return measure_retrieval(stored, fresh, texts, COSINE)  # as the stores search


def describe(model: minilmx.Embedder) -> str:
    """Runner and artifact: embeddings of equal names go together."""
    artifact = model.artifact
    return f"{model.runner.name}, {artifact.path.resolve().name} {artifact.digest[:12]}"


def parse_arguments(about: str) -> argparse.Namespace:
    """The same arguments for every store."""
    parser = argparse.ArgumentParser(description=about.splitlines()[0])
    parser.add_argument("artifact", type=Path, help="a folder that `mlx export` made")
    parser.add_argument("query", help="prints the three sentences that are nearest to it")
    parser.add_argument("--store", type=Path, required=True, help="the store's own folder")
    parser.add_argument("--corpus", type=Path, help="index this file, one sentence per line, from scratch")
    parser.add_argument("--runner", default="onnxruntime", help="see `mlx runners` [%(default)s]")
    parser.add_argument("--sample", type=int, default=2000, help="sentences for the verdict [%(default)s]")
    return parser.parse_args()
