"""Sends shards to workers of any kind and survives the death of a worker."""

from collections.abc import Collection, Generator, Iterator
from typing import Protocol, TypeVar

from minilmx.embedding.corpus.source import Shard
from minilmx.embedding.corpus.worker import Embedded, Task
from minilmx.errors import RunnerFailed
from minilmx.progress import Progress
from minilmx.wording import counted


class WorkerDied(Exception):
    """A worker died before it finished its task. The message says what is known of the cause."""


class Worker(Protocol):
    """A process that embeds one task at a time, with a runner of its own."""

    def send(self, task: Task) -> None:
        """Send it a task. If it is dead, `receive` raises WorkerDied."""

    def receive(self) -> Embedded | None:
        """Wait for its answer: None when it is ready for its first task.

        Raises WorkerDied, and what the worker raised.
        """

    def end(self) -> None:
        """Ask it to close its runner and to end."""

    def stop(self) -> None:
        """Wait for its end, and kill it if that takes too long."""


W = TypeVar("W", bound=Worker)


class Engine(Protocol[W]):
    """Starts workers, and says how many there should be."""

    @property
    def workers(self) -> int:
        """The number of workers."""

    def start(self) -> W:
        """Start a worker. Its first answer, None, means that it is ready."""

    def wait(self, workers: Collection[W]) -> W:
        """Wait until one of these has an answer or has died."""


def embed_shards(
    engine: Engine[W], shards: Iterator[Shard], progress: Progress
) -> Generator[tuple[Shard, Embedded]]:
    """Yield the shards' embeddings in the order in which they are finished.

    At most one shard more than there are workers is read ahead. If a worker dies, another one is started;
    if its runner fails, as a card may, the others continue without it. Its shard is tried once more. Raises
    RunnerFailed if the same shard fails a second time or no worker is left, and what else the workers raise.
    """
    busy: dict[W, Shard | None] = {}  # None while a worker opens its runner
    idle: list[W] = []
    again: list[Shard] = []
    died: set[int | None] = set()
    failed: set[int] = set()
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
                    what = f"shard {index}, from row {shard.first_row + 1}" if shard else "the start"
                    raise RunnerFailed(f"two workers died at {what}: {error}") from error
                died.add(index)
                again += [shard] if shard else []
                if not idle:
                    busy[engine.start()] = None
            except RunnerFailed as error:
                worker.stop()
                left = len(busy) + len(idle)
                if not left or (shard and shard.index in failed):
                    raise
                if shard:
                    failed.add(shard.index)
                    again.append(shard)
                rest = f"the run continues on {counted(left, 'worker')}"
                progress.message(f"a worker failed: {error.message}; {rest}. {error.hint or ''}".rstrip())
            if idle and (following := again.pop() if again else upcoming):
                worker = idle.pop()
                worker.send(Task(following.first_row, following.texts))
                busy[worker] = following
                if following is upcoming:
                    upcoming = next(shards, None)
            if shard is not None and embedded is not None:
                yield shard, embedded
    finally:
        workers = [*busy, *idle]
        for worker in workers:  # all at the same time
            worker.end()
        for worker in workers:
            worker.stop()
