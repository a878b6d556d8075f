"""The parent's side of a worker process."""

import json
import os
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from minilmx.errors import RunnerFailed
from minilmx.runners.groq.worker import read_frame, write_frame

WORKER = Path(__file__).with_name("worker.py")
_STOP_SECONDS = 5.0

Event = dict[str, Any]
Tensors = dict[str, NDArray[Any]]


class Worker:
    """One worker process with one job; leaves no process behind, however it ends.

    It runs in a session of its own, so that Ctrl-C reaches minilmx alone and all of what the
    worker started can be ended with it. Its standard error, compiler output included, goes to
    `log`.
    """

    def __init__(
        self, python: Path, job: Event, log: Path, variables: Mapping[str, str] | None = None
    ) -> None:
        """Start the worker on a job (see worker.py). Raises RunnerFailed."""
        self.log = log
        self.timed_out = False
        log.parent.mkdir(parents=True, exist_ok=True)
        try:
            with log.open("ab") as stream:
                self._process = subprocess.Popen(
                    [str(python), "-u", str(WORKER)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=stream,
                    env=variables,
                    start_new_session=True,
                )
        except OSError as error:
            raise RunnerFailed(f"{python} cannot be started: {error.strerror}") from error
        self._timer: threading.Timer | None = None
        self._send(json.dumps(job).encode() + b"\n")

    def limit(self, seconds: float) -> None:
        """End the worker, and all it started, when so much time is over."""

        def expire() -> None:
            self.timed_out = True
            self.stop()

        self._timer = threading.Timer(seconds, expire)
        self._timer.daemon = True
        self._timer.start()

    def events(self) -> Iterator[Event]:
        """Each event up to and with the result. Raises RunnerFailed for an error event."""
        while True:
            event, _ = self._receive()
            yield event
            if event["event"] == "result":
                return

    def ready(self) -> Event:
        """Wait until the program is loaded."""
        return self._receive()[0]

    def call(self, inputs: Mapping[str, NDArray[np.int64]]) -> tuple[Event, Tensors]:
        """Run the program once. Raises RunnerFailed."""
        with suppress(OSError):  # it has ended: what it said last tells why
            write_frame(self._process.stdin, {}, inputs)
        return self._receive()

    def stop(self) -> None:
        """End the worker and every process of its session."""
        self._signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_STOP_SECONDS)
        self._signal(signal.SIGKILL)
        self._process.wait()

    def close(self) -> None:
        """Free everything; a worker that has ended by itself is left in peace."""
        if self._timer is not None:
            self._timer.cancel()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with suppress(OSError):  # what was still to be written has no reader
                    stream.close()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.stop()
        self._signal(signal.SIGKILL)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        if error is not None:
            self.stop()
        self.close()

    def _receive(self) -> tuple[Event, Tensors]:
        try:
            frame = read_frame(self._process.stdout)
        except (EOFError, ValueError) as error:
            raise RunnerFailed(f"the Groq worker's answer was cut off; log: {self.log}") from error
        if frame is None:
            raise RunnerFailed(self._ended())
        event, tensors = frame
        if event["event"] == "error":
            where = f" in {event['stage']}" if event.get("stage") else ""
            log = event.get("log") or self.log
            raise RunnerFailed(f"GroqFlow failed{where}: {event['message']} (log: {log})")
        return event, tensors

    def _ended(self) -> str:
        code = self._process.wait()
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        return f"the Groq worker {how}; log: {self.log}"

    def _send(self, data: bytes) -> None:
        assert self._process.stdin is not None
        with suppress(OSError):  # it has ended: what it said last tells why
            self._process.stdin.write(data)
            self._process.stdin.flush()

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):  # nothing is left of the session
            os.killpg(self._process.pid, number)
