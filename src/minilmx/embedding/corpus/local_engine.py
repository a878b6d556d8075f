"""Workers as processes of this machine."""

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Collection
from contextlib import closing, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import FrameType
from typing import Any

from minilmx.embedding.corpus.pool import WorkerDied
from minilmx.embedding.corpus.worker import Embedded, Job, ShardEmbedder, Task
from minilmx.errors import MinilmxError
from minilmx.signals import postpone

# A fresh interpreter: a copy of this one would share what threads of libraries hold.
_CONTEXT = multiprocessing.get_context("spawn")
_ENDED = 128 + signal.SIGTERM  # the exit code of a worker that was asked to end
_CLOSING_SECONDS = 8  # what a runner holds is closed: a killed process can lock a GroqCard


@dataclass(frozen=True, slots=True, eq=False)
class ProcessWorker:
    """A process at the other end of a pipe."""

    process: BaseProcess
    pipe: "Connection[Task, Embedded | MinilmxError | None]"

    def send(self, task: Task) -> None:
        """Send it a task. If it is dead or that fails, `receive` raises WorkerDied."""
        try:
            self.pipe.send(task)
        except OSError:
            self.process.kill()  # it would wait for the task for ever

    def receive(self) -> Embedded | None:
        """Receive its answer. Raises WorkerDied, and what the worker raised."""
        try:
            answer = self.pipe.recv()
        except (EOFError, OSError) as error:
            self.process.join(5)
            raise WorkerDied(_exit(self.process.exitcode)) from error
        if isinstance(answer, MinilmxError):
            raise answer
        return answer

    def end(self) -> None:
        """Ask it to close its runner and to end."""
        self.process.terminate()

    def stop(self) -> None:
        """Wait for its end, and kill it if that takes too long."""
        self.end()
        self.process.join(_CLOSING_SECONDS)
        self.process.kill()
        self.process.join()
        self.pipe.close()


@dataclass(frozen=True, slots=True)
class ProcessEngine:
    """Runs `workers` processes at a time."""

    job: Job
    workers: int

    def start(self) -> ProcessWorker:
        """Start a process, which opens the runner."""
        ours, theirs = _CONTEXT.Pipe()
        process = _CONTEXT.Process(target=_serve, args=(self.job, theirs), daemon=True)
        process.start()
        theirs.close()  # so that its end closes when the process ends
        return ProcessWorker(process, ours)

    def wait(self, workers: Collection[ProcessWorker]) -> ProcessWorker:
        """Wait until one of these has an answer or has died."""
        ready = wait([worker.pipe for worker in workers])
        return next(worker for worker in workers if worker.pipe in ready)


def _serve(job: Job, pipe: "Connection[Embedded | MinilmxError | None, Task]") -> None:
    """Run in a worker: open the runner, then answer each task until the pipe is closed or SIGTERM comes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    signal.signal(signal.SIGTERM, _end)
    threading.Thread(target=_die_with_parent, daemon=True).start()
    with suppress(EOFError, ConnectionError):
        try:
            with closing(ShardEmbedder(job)) as embedder:
                _answer(pipe, None)
                while True:
                    _answer(pipe, embedder.embed(pipe.recv()))
        except MinilmxError as error:
            _answer(pipe, error)
        except Exception:  # any type: if SIGTERM ends Python that native code runs, that code raises its own
            if signal.getsignal(signal.SIGTERM) is _end:  # there was no SIGTERM
                raise
            sys.exit(_ENDED)
        finally:
            _ignore_sigterm()  # the process ends in any case


def _answer(pipe: "Connection[Embedded | MinilmxError | None, Task]", answer: Any) -> None:
    """Send an answer, or end this process if that fails: the parent starts another one."""
    try:
        pipe.send(answer)
    except OSError:
        sys.exit(1)


def _end(number: int, frame: FrameType | None) -> None:
    if not postpone(number, frame):
        _ignore_sigterm()
        sys.exit(_ENDED)


def _ignore_sigterm() -> None:
    # Not SIG_IGN: Python reports a signal that came before it as "ignored due to race condition".
    signal.signal(signal.SIGTERM, lambda *_: None)


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
    os._exit(1)


def _exit(code: int | None) -> str:
    if code is None or code >= 0:
        return f"it ended with exit code {code}"
    return f"it was killed by {signal.Signals(-code).name}" + (
        " (perhaps because memory ran out)" if code == -signal.SIGKILL else ""
    )
