"""Starting a worker process and exchanging messages with it."""

import os
import select
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minilmx.errors import RunnerFailed, boundary
from minilmx.runners.groq.worker import read_frame, write_frame

WORKER = Path(__file__).with_name("worker.py")
_STOP_SECONDS = 5.0
# How long a program may take to load, and to answer a message: hundreds of times what either was seen to
# take. GroqFlow's own path does both in each call.
LOADING_SECONDS = 180.0
CALL_SECONDS = 120.0

Event = dict[str, Any]
Tensors = dict[str, NDArray[Any]]


class Worker:
    """One worker process with one job; it leaves no process behind, however it ends.

    It runs in a session of its own, so that Ctrl-C reaches only minilmx, and everything that the worker
    started can be ended with it. A worker that holds a program gets the time to close it before any signal,
    because a card whose program ends abnormally may need an administrator. Its standard error, with the
    compiler's output, goes to `log`.
    """

    def __init__(
        self, python: Path, job: Event, log: Path, variables: Mapping[str, str] | None = None
    ) -> None:
        """Start the worker on a job (see worker.py). Raises RunnerFailed."""
        self.python = python
        self.log = log
        self.timed_out = False
        log.parent.mkdir(parents=True, exist_ok=True)
        with boundary(RunnerFailed, f"{python} cannot be started"), log.open("ab") as stream:
            self._process = subprocess.Popen(
                [str(python), "-u", str(WORKER)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stream,
                env=variables,
                start_new_session=True,
            )
        self._timer: threading.Timer | None = None
        with suppress(OSError):  # it has ended, and its last event says why
            write_frame(self._process.stdin, job)

    def limit(self, seconds: float) -> None:
        """End the worker, and everything that it started, after so many seconds."""

        def expire() -> None:
            self.timed_out = True
            self.stop()

        self._timer = threading.Timer(seconds, expire)
        self._timer.daemon = True
        self._timer.start()

    def events(self) -> Iterator[Event]:
        """Each event up to the result, inclusive. Raises RunnerFailed for an error event."""
        while True:
            event, _ = self._receive()
            yield event
            if event["event"] == "result":
                return

    def ready(self, limit_seconds: float = LOADING_SECONDS) -> Event:
        """Wait until the program is loaded. Raises RunnerFailed, also after the limit."""
        self._wait(limit_seconds, "the program was not loaded")
        return self._receive()[0]

    def call(
        self, batches: Sequence[Mapping[str, NDArray[Any]]], limit_seconds: float = CALL_SECONDS
    ) -> tuple[float, list[Tensors]]:
        """Run the program on each batch, in one message: the seconds within it, and the outputs of each.

        Raises RunnerFailed, also after the limit, which is for all of them.
        """
        stacked = {name: np.stack([batch[name] for batch in batches]) for name in batches[0]}
        with suppress(OSError):  # it has ended, and its last event says why
            write_frame(self._process.stdin, {}, stacked)
        self._wait(limit_seconds, "the program did not return")
        event, outputs = self._receive()
        answers = [{name: value[number] for name, value in outputs.items()} for number in range(len(batches))]
        return float(event["seconds"]), answers

    def stop(self) -> None:
        """End the worker and every process of its session: by closing its input, and then by signals."""
        self.close_input()
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                self._process.wait(_STOP_SECONDS)
                break
            except subprocess.TimeoutExpired:
                self._signal(number)
        self._signal(signal.SIGKILL)  # what it started and left
        self._process.wait()

    def close(self) -> None:
        """Free everything, and end the worker."""
        if self._timer is not None:
            self._timer.cancel()
        self.stop()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        self.close()

    def _wait(self, seconds: float, failure: str) -> None:
        """Wait for an answer, and end the worker without one."""
        assert self._process.stdout is not None
        poller = select.poll()
        poller.register(self._process.stdout, select.POLLIN)
        if poller.poll(1000 * seconds):
            return
        self.timed_out = True
        self.stop()
        raise RunnerFailed(
            f"{failure} within {seconds:g} seconds; another process may hold the card, or it has failed",
            f"See which process holds it with `tsp-ctl status`, and read the log {self.log}.",
        )

    def close_input(self) -> None:
        """Tell the worker to close the program and to end; `stop` waits for that."""
        if self._process.stdin is not None:
            with suppress(OSError):  # unwritten data that has no reader
                self._process.stdin.close()

    def _receive(self) -> tuple[Event, Tensors]:
        try:
            frame = read_frame(self._process.stdout)
        except (EOFError, ValueError) as error:
            raise self._failed("the Groq worker's answer was cut off") from error
        if frame is None:
            code = self._process.wait()
            how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
            raise self._failed(f"the Groq worker {how}")
        event, tensors = frame
        if event["event"] == "error":
            stage = f" in {event['stage']}" if event.get("stage") else ""
            raise self._failed(f"GroqFlow failed{stage}: {event['message'].rstrip('.')}", event.get("log"))
        return event, tensors

    def _failed(self, message: str, log: str | None = None) -> RunnerFailed:
        return RunnerFailed(message, f"Read the log {log or self.log}.")

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):  # nothing is left of the session
            os.killpg(self._process.pid, number)
