"""Workers as actors of a Ray cluster, or of this machine where no cluster is named.

Plain actors, and not ray.data: a shard must hold the same rows on every run, be tried again on
its own, and count when the ledger says so. The driver reads and writes, so the nodes need
minilmx and nothing else: no common file system, not even the artifact.
"""

import importlib
import os
import socket
import tempfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from minilmx.embedding.corpus.pool import WorkerDied
from minilmx.embedding.corpus.worker import Embedded, Job, ShardEmbedder, Task
from minilmx.errors import ArtifactError, MinilmxError, RunnerFailed, RunnerUnavailable
from minilmx.files.atomic import atomic_folder
from minilmx.models.artifact import Artifact, find_problems, read_artifact
from minilmx.models.manifest import MANIFEST_NAME


class RayWorker:
    """An actor, and the answer that it owes."""

    def __init__(self, ray: Any, actor: Any) -> None:
        self._ray = ray
        self._actor = actor
        self.answer = actor.ready.remote()

    def send(self, task: Task) -> None:
        """Hand it a task; where it is dead, `receive` will say so."""
        self.answer = self._actor.embed.remote(task)

    def receive(self) -> Embedded | None:
        """Its answer. Raises WorkerDied, and what the worker raised."""
        try:
            answer: Embedded | None = self._ray.get(self.answer)
        except self._ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, MinilmxError):
                raise error.cause from error
            raise RunnerFailed(f"a worker failed: {error.cause!r}") from error
        except self._ray.exceptions.RayError as error:
            raise WorkerDied(str(error).strip().split("\n")[0]) from error
        return answer

    def stop(self) -> None:
        """End it, whatever it does."""
        self._ray.kill(self._actor)


@dataclass(frozen=True, slots=True)
class RayEngine:
    """So many actors at a time, on a cluster that is connected to while it is open."""

    ray: Any
    actor: Any
    job: Any
    files: Any
    workers: int

    @classmethod
    def open(cls, job: Job, address: str | None, workers: int | None, cpus_per_worker: int) -> Self:
        """Connect to a cluster, or start one on this machine where none is named.

        As many workers as the cluster has room for, unless it is said how many. Raises
        RunnerUnavailable where Ray or the cluster is not there, or too small for a worker.
        """
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        try:
            ray = importlib.import_module("ray")
        except ImportError as error:
            raise RunnerUnavailable(
                "--engine ray needs ray, which is not installed: pip install 'minilmx[ray]'"
            ) from error
        address = address or os.environ.get("RAY_ADDRESS", "local")
        try:
            _require_answer(address)
            ray.init(address, log_to_driver=False, logging_level="ERROR")
        except (OSError, ValueError, RuntimeError) as error:
            raise RunnerUnavailable(
                f"no Ray cluster at {address}: {error}; where it wants a token, set RAY_AUTH_MODE=token "
                "and RAY_AUTH_TOKEN"
            ) from error
        cpus = int(ray.cluster_resources().get("CPU", 0))
        if cpus < cpus_per_worker:
            ray.shutdown()
            raise RunnerUnavailable(
                f"the Ray cluster has {cpus} CPUs, too few for a worker's {cpus_per_worker}: lower "
                "--cpus-per-worker"
            )
        files = {name: (job.artifact.path / name).read_bytes() for name in _files(job.artifact)}
        actor = ray.remote(num_cpus=cpus_per_worker, max_restarts=0)(_Actor)
        workers = workers or cpus // cpus_per_worker
        return cls(ray, actor, ray.put(job), ray.put(files), workers)

    def start(self) -> RayWorker:
        """A new actor, which opens the runner once the cluster has room for it."""
        return RayWorker(self.ray, self.actor.remote(self.job, self.files))

    def wait(self, workers: Collection[RayWorker]) -> RayWorker:
        """Wait until one of these has an answer, or is dead."""
        (ready, *_), _ = self.ray.wait([worker.answer for worker in workers])
        return next(worker for worker in workers if worker.answer == ready)

    def close(self) -> None:
        """Leave the cluster."""
        self.ray.shutdown()


class _Actor:
    def __init__(self, job: Job, files: Mapping[str, bytes]) -> None:
        self._embedder = ShardEmbedder(replace(job, artifact=_artifact_here(job.artifact, files)))

    def ready(self) -> None:
        """Answers when the runner is open."""

    def embed(self, task: Task) -> Embedded:
        return self._embedder.embed(task)


def _require_answer(address: str) -> None:
    """Raise OSError where nothing answers at host:port: Ray itself would try for minutes."""
    host, _, port = address.rpartition("/")[2].rpartition(":")
    if port.isdecimal():
        socket.create_connection((host, int(port)), timeout=10).close()


def _files(artifact: Artifact) -> list[str]:
    return [MANIFEST_NAME, *(file.path for file in artifact.manifest.files)]


def _artifact_here(artifact: Artifact, files: Mapping[str, bytes]) -> Artifact:
    """The artifact on this node: where the driver has it, or else its files as they were sent."""
    sent = Path(tempfile.gettempdir()) / f"minilmx-{artifact.digest}"
    for path in (artifact.path, sent):
        try:
            if read_artifact(path).digest == artifact.digest:
                here = replace(artifact, path=path)
                if not find_problems(here):
                    return here
        except ArtifactError:
            pass
    with atomic_folder(sent, replace=True) as folder:
        for name, content in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    return replace(artifact, path=sent)
