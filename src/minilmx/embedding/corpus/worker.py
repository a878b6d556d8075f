"""What a worker does, whichever process or machine it is in: embed one shard's texts."""

import os
import sys
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from minilmx.embedding.embedder import EmbeddingJob
from minilmx.models.artifact import Artifact
from minilmx.runners.base import RunnerOptions
from minilmx.runners.registry import open_runner


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
    """What every worker of a run is told; it can be sent to another machine."""

    artifact: Artifact
    runner: str
    settings: dict[str, Any]

    @classmethod
    def of(cls, artifact: Artifact, runner: str, options: RunnerOptions) -> Self:
        """The job with these options; what a runner says, its worker says on standard error."""
        names = [field.name for field in fields(options) if field.name != "say"]
        return cls(artifact, runner, {name: getattr(options, name) for name in names})


class Embedder:
    """One runner, opened on the job's artifact. Raises RunnerError."""

    def __init__(self, job: Job) -> None:
        if threads := job.settings["threads"]:
            os.environ.setdefault("RAYON_NUM_THREADS", str(threads))  # the tokenizer's
        self._runner = open_runner(job.runner, job.artifact, RunnerOptions(**job.settings, say=_say))
        self._job = EmbeddingJob(job.artifact, self._runner)

    def embed(self, task: Task) -> Embedded:
        """A shard's embeddings, which depend on its texts alone. Raises RunnerFailed."""
        job = self._job
        truncated, seconds = job.truncated_rows, job.seconds
        values = job.embed_all(task.texts, first_row=task.first_row)
        return Embedded(values, job.truncated_rows - truncated, job.seconds - seconds)

    def close(self) -> None:
        """Close the runner."""
        self._runner.close()


def _say(message: str) -> None:
    print(message, file=sys.stderr)
