"""Workers as actors of a Ray cluster, or of this machine if no cluster is named.

These are plain actors rather than ray.data, because a shard must hold the same rows on every run, be
retried on its own, and count as complete when the ledger says so. Only the driver reads and writes, so
a node needs minilmx but neither a shared file system nor the artifact.
"""

import importlib
import os
import secrets
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from minilmx.embedding.corpus.pool import WorkerDied
from minilmx.embedding.corpus.worker import Embedded, Job, ShardEmbedder, Task
from minilmx.errors import ArtifactError, MinilmxError, RunnerFailed, RunnerUnavailable
from minilmx.files.atomic import FolderKind, atomic_folder
from minilmx.files.scratch import make_scratch, remove_private, remove_scratch
from minilmx.models.artifact import Artifact, read_artifact
from minilmx.models.manifest import MANIFEST_NAME
from minilmx.models.verification import find_problems
from minilmx.runners.groq.machine import find_cards

_MOST_CHARACTERS = 18  # of TMPDIR: the path of a socket may have 107, and Ray adds up to 89
_CLOSING_SECONDS = 10.0
_ENDING_SECONDS = 5.0  # in which a killed process ends
_PREFIX = "minilmx-ray-"
# Of any content: its name is ours, and what cleans up /tmp may have left a part of it.
_SENT = FolderKind("an artifact that was sent here", ())
CARD_RESOURCE = "groq_card"  # what a node of a cluster states: how many GroqCards it has


class RayWorker:
    """An actor and its pending answer. If it has a card, it closes its program before Ray kills it."""

    def __init__(self, ray: Any, actor: Any, has_card: bool) -> None:
        self._ray = ray
        self._actor = actor
        self._has_card = has_card
        self._closed: Any = None
        self.answer = actor.ready.remote()

    def send(self, task: Task) -> None:
        """Send it a task. If it is dead, `receive` raises WorkerDied."""
        self.answer = self._actor.embed.remote(task)

    def receive(self) -> Embedded | None:
        """Receive its answer. Raises WorkerDied, and what the worker raised."""
        try:
            answer: Embedded | None = self._ray.get(self.answer)
        except self._ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, MinilmxError):
                raise error.cause from error
            raise RunnerFailed(f"a worker failed: {error.cause!r}") from error
        except self._ray.exceptions.RayError as error:
            raise WorkerDied(str(error).strip().split("\n")[0]) from error
        return answer

    def end(self) -> None:
        """Ask it to close its program, if it has a card: Ray itself can only kill an actor."""
        if self._has_card:
            self._closed = self._actor.close.remote()

    def stop(self) -> None:
        """Kill it, after it has closed its program or had 10 s for it."""
        if self._closed is not None:
            self._ray.wait([self._closed], timeout=_CLOSING_SECONDS)
        self._ray.kill(self._actor)


@dataclass(frozen=True, slots=True)
class RayEngine:
    """Runs `workers` actors at a time on a cluster to which it stays connected until it is closed."""

    ray: Any
    actor: Any
    job: Any
    files: Any
    workers: int
    has_cards: bool  # each worker has a GroqCard
    folder: Path | None  # of a cluster on this machine

    @classmethod
    def open(cls, job: Job, address: str | None, workers: int | None, cpus_per_worker: int) -> "RayEngine":
        """Connect to a cluster, or start one on this machine if no address is given.

        Without `workers` there are as many as the cluster has CPUs for, and GroqCards for the runner groq,
        of which each worker has one. Raises RunnerUnavailable if Ray is not installed, or the cluster cannot
        be reached or is too small for one worker.
        """
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        address = address or os.environ.get("RAY_ADDRESS", "local")
        if address == "local":
            _close_to_others()
        try:
            ray = importlib.import_module("ray")
        except ImportError as error:
            raise RunnerUnavailable(
                "the Ray engine needs ray, which is not installed", "Run pip install 'minilmx[ray]'."
            ) from error
        with ExitStack() as undo:
            folder, local = None, {}
            needed = {CARD_RESOURCE: 1} if job.runner == "groq" else {}
            try:
                _require_answer(address)
                if address == "local":
                    # Ray opens its own to all.
                    folder = make_scratch(_parent(), _PREFIX, before=_end_cluster)
                    undo.callback(remove_scratch, folder)
                    local = {"_temp_dir": str(folder / "ray"), "include_dashboard": False}
                    if needed:
                        local["resources"] = {CARD_RESOURCE: find_cards().listed or 1}
                undo.callback(_shut_down, ray)
                _init(ray, address, local)
            except MinilmxError:
                raise
            except Exception as error:  # Ray has no class for a cluster that does not start
                if address == "local":
                    raise RunnerUnavailable(f"no Ray cluster can be started here: {error}") from error
                raise RunnerUnavailable(
                    f"the Ray cluster at {address} cannot be reached: {error}",
                    "If it needs a token, set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN.",
                ) from error
            room = _room(ray.cluster_resources(), cpus_per_worker, needed)
            names = (MANIFEST_NAME, *(file.path for file in job.artifact.manifest.files))
            files = {name: (job.artifact.path / name).read_bytes() for name in names}
            # Two calls at a time: a program is closed while a card still computes.
            concurrency = {"max_concurrency": 2} if needed else {}
            options = {"num_cpus": cpus_per_worker, "resources": needed, "max_restarts": 0, **concurrency}
            actor = ray.remote(**options)(_Actor)
            engine = cls(ray, actor, ray.put(job), ray.put(files), workers or room, bool(needed), folder)
            undo.pop_all()
            return engine

    def start(self) -> RayWorker:
        """Start an actor, which opens the runner once the cluster has room for it."""
        return RayWorker(self.ray, self.actor.remote(self.job, self.files), self.has_cards)

    def wait(self, workers: Collection[RayWorker]) -> RayWorker:
        """Wait until one of these has an answer or has died."""
        (ready, *_), _ = self.ray.wait([worker.answer for worker in workers])
        return next(worker for worker in workers if worker.answer == ready)

    def close(self) -> None:
        """Disconnect from the cluster; end it if it was started here."""
        try:
            _shut_down(self.ray)
        finally:
            if self.folder is not None:
                remove_scratch(self.folder)


def remove_left_clusters() -> None:
    """Remove what a killed run left of its cluster on this machine."""
    remove_private(_parent(), _PREFIX, _end_cluster)


def _end_cluster(folder: Path) -> None:
    """Kill what is left of the cluster in this folder: Ray's agents outlive it, and write there again."""
    deadline = time.monotonic() + _ENDING_SECONDS
    while (processes := _cluster(folder)) and time.monotonic() < deadline:
        for process in processes:
            with suppress(OSError):  # it has ended
                os.kill(process, signal.SIGKILL)
        time.sleep(0.02)


def _cluster(folder: Path) -> list[int]:
    """The processes, but this one, of the cluster in a folder.

    They have it in their command lines, until Ray gives them a title, and then a log in it open.
    """
    processes = []
    own = Path("/proc/self/exe")
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended, or is another user's
            program = (process / "exe").readlink()
            is_ray = "ray" in program.parts or program == own.readlink()
            if (
                is_ray
                and int(process.name) != os.getpid()
                and any(str(folder) in name for name in _names(process))
            ):
                processes.append(int(process.name))
    return processes


def _names(process: Path) -> Iterator[str]:
    """The command line of a process, and the files that it has open. Raises OSError."""
    yield os.fsdecode((process / "cmdline").read_bytes())
    for file in (process / "fd").iterdir():
        with suppress(FileNotFoundError):  # it was closed
            yield str(file.readlink())


def _parent() -> Path:
    parent = Path(tempfile.gettempdir()).resolve()
    return parent if len(str(parent)) <= _MOST_CHARACTERS else Path("/tmp")


def _init(ray: Any, address: str, local: Mapping[str, Any]) -> None:
    """Connect to a cluster, without Ray's handler of SIGTERM, which ends the process with exit code 15."""
    handler = signal.getsignal(signal.SIGTERM)
    try:
        try:
            ray.init(address, log_to_driver=False, logging_level="CRITICAL", **local)
        finally:
            if threading.current_thread() is threading.main_thread() and handler is not None:
                signal.signal(signal.SIGTERM, handler)
    except SystemExit:  # a signal came before
        if callable(handler):
            handler(signal.SIGTERM, None)
        raise


def _shut_down(ray: Any) -> None:
    """Disconnect; a signal waits until then, as an interrupted shutdown ends the process with exit code 1."""
    with ThreadPoolExecutor(1) as thread:
        thread.submit(ray.shutdown).result()


def _room(resources: Mapping[str, float], cpus_per_worker: int, needed: Mapping[str, int]) -> int:
    """The number of workers for which a cluster has room. Raises RunnerUnavailable if there is none."""
    cpus = int(resources.get("CPU", 0))
    room = min([cpus // cpus_per_worker, *(int(resources.get(name, 0)) for name in needed)])
    if room:
        return room
    if cpus >= cpus_per_worker:
        raise RunnerUnavailable(
            f"the Ray cluster states no resource {CARD_RESOURCE}; expected one per GroqCard",
            f"Start Ray on a node with 8 cards with --resources='{{\"{CARD_RESOURCE}\": 8}}'.",
        )
    raise RunnerUnavailable(
        f"the Ray cluster has {cpus} CPUs; expected at least the {cpus_per_worker} of one worker",
        "Give each worker fewer CPUs.",
    )


class _Actor:
    def __init__(self, job: Job, files: Mapping[str, bytes]) -> None:
        self._embedder = ShardEmbedder(replace(job, artifact=_artifact_here(job.artifact, files)))

    def ready(self) -> None:
        """Return when the runner is open."""

    def embed(self, task: Task) -> Embedded:
        return self._embedder.embed(task)

    def close(self) -> None:
        self._embedder.close()


def _close_to_others() -> None:
    """Let a cluster that Ray starts here listen on the loopback interface alone, and ask for a token.

    Ray reads the first setting when it is imported; on Linux it would listen on every interface.
    """
    os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    if "RAY_AUTH_MODE" not in os.environ:
        os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}


def _require_answer(address: str) -> None:
    """Raise OSError if nothing answers at host:port; Ray itself would try for minutes."""
    host, _, port = address.rpartition("/")[2].rpartition(":")
    if port.isdecimal():
        socket.create_connection((host, int(port)), timeout=10).close()


def _artifact_here(artifact: Artifact, files: Mapping[str, bytes]) -> Artifact:
    """The artifact on this node: at the driver's path if it exists there, otherwise written from `files`."""
    sent = Path(tempfile.gettempdir()) / f"minilmx-{artifact.digest}"
    for path in (artifact.path, sent):
        try:
            if read_artifact(path).digest == artifact.digest:
                here = replace(artifact, path=path)
                if not find_problems(here):
                    return here
        except ArtifactError:
            pass
    with atomic_folder(sent, replace=_SENT) as folder:
        for name, content in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    return replace(artifact, path=sent)
