"""Handing shards to workers, whatever these are, and getting over a worker that dies."""

from collections.abc import Collection, Generator, Iterator
from typing import Protocol, TypeVar

from minilmx.embedding.corpus.source import Shard
from minilmx.embedding.corpus.worker import Embedded, Task
from minilmx.errors import RunnerFailed


class WorkerDied(Exception):
    """A worker ended with its task undone. The message says what is known of its end."""


class Worker(Protocol):
    """A process that embeds one task at a time, with a runner of its own."""

    def send(self, task: Task) -> None:
        """Hand it a task; where it is dead, `receive` will say so."""

    def receive(self) -> Embedded | None:
        """Its answer, once there is one: None when it is ready for its first task.

        Raises WorkerDied, and what the worker raised.
        """

    def stop(self) -> None:
        """End it, whatever it does."""


W = TypeVar("W", bound=Worker)


class Engine(Protocol[W]):
    """Where workers come from, and how many of them there shall be."""

    @property
    def workers(self) -> int:
        """How many workers."""

    def start(self) -> W:
        """A new worker, which says when it is ready."""

    def wait(self, workers: Collection[W]) -> W:
        """Wait until one of these has an answer, or is dead."""


def embed_shards(engine: Engine[W], shards: Iterator[Shard]) -> Generator[tuple[Shard, Embedded]]:
    """The shards' embeddings in the order in which they are done.

    No more shards are taken than there are workers, and one. A worker that dies costs its shard, which is
    tried once more. Raises RunnerFailed where a worker dies at the same shard again, and what
    the workers raise.
    """
    busy: dict[W, Shard | None] = {}  # None: it is opening its runner
    idle: list[W] = []
    again: list[Shard] = []
    died: set[int | None] = set()
    try:
        for _ in range(engine.workers):
            busy[engine.start()] = None
        upcoming = next(shards, None)
        while upcoming or again or any(busy.values()):
            worker = engine.wait(list(busy))
            shard, embedded = busy.pop(worker), None
            try:
                embedded = worker.receive()
                idle.append(worker)
            except WorkerDied as error:
                worker.stop()
                index = shard.index if shard else None
                if index in died:
                    what = f"shard {index}, rows from {shard.first_row + 1} on" if shard else "its start"
                    raise RunnerFailed(f"a worker died twice at {what}: {error}") from error
                died.add(index)
                again += [shard] if shard else []
                if not idle:
                    busy[engine.start()] = None
            if idle and (following := again.pop() if again else upcoming):
                worker = idle.pop()
                worker.send(Task(following.first_row, following.texts))
                busy[worker] = following
                if following is upcoming:
                    upcoming = next(shards, None)
            if shard is not None and embedded is not None:
                yield shard, embedded
    finally:
        for worker in [*busy, *idle]:
            worker.stop()
