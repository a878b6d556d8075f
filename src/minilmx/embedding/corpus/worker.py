"""What a worker does in its process, on any machine: embed the texts of one shard."""

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minilmx.embedding.embedder import Embedder
from minilmx.models.artifact import Artifact
from minilmx.progress import StandardErrorProgress


@dataclass(frozen=True, slots=True)
class Task:
    """The texts of a shard, and the number of its first row in the corpus."""

    first_row: int
    texts: list[str]


@dataclass(frozen=True, slots=True)
class Embedded:
    """A shard's embeddings, float32 [n, D], and the seconds that the runner took for them."""

    values: NDArray[np.float32]
    truncated_rows: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Job:
    """What every worker of a run is given; it can be sent to another machine.

    The artifact is seen as the graph to run; `settings` are the runner's options.
    """

    artifact: Artifact
    runner: str
    settings: dict[str, Any]


class ShardEmbedder:
    """A worker's embedder, open on the job's artifact. Raises RunnerError."""

    def __init__(self, job: Job) -> None:
        if threads := job.settings.get("threads"):
            os.environ.setdefault("RAYON_NUM_THREADS", str(threads))  # the tokenizer's
        self._embedder = Embedder(
            job.artifact, job.runner, job.artifact.graph_kind, StandardErrorProgress(), **job.settings
        )

    def embed(self, task: Task) -> Embedded:
        """A shard's embeddings, which depend on its texts alone. Raises RunnerFailed."""
        embedder = self._embedder
        truncated, seconds = embedder.truncated_rows, embedder.seconds
        values = embedder.encode(task.texts, task.first_row)
        return Embedded(values, embedder.truncated_rows - truncated, embedder.seconds - seconds)

    def close(self) -> None:
        """Close the runner."""
        self._embedder.close()
