"""Ends the process soon after a signal, even if native code does not return."""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from minilmx.files.atomic import remove_scratch

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_SECONDS = 1.5  # in which Python handles a signal, unless native code does not return
_CLEANUP_SECONDS = 10  # then: a runner closes what it holds, because a killed process can lock a GroqCard


@contextmanager
def watched(code: int, handled: threading.Event) -> Iterator[threading.Event]:
    """End this process and its children with an exit code 1.5 s after a signal, unless it ended by then.

    The signal's handler sets `handled`: then Python runs, and there are 10 s more to end in good order.
    Python runs its handler of a signal when native code returns, but writes the signal's number to a pipe at
    once: a thread waits for that. Outputs are written so that they may end at any point. The event that is
    yielded is to be set when the user has been told of the interruption.
    """
    told = threading.Event()
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(reading, code, handled, told), name="watchdog", daemon=True).start()
    try:
        yield told
    finally:
        signal.set_wakeup_fd(before)
        os.close(writing)  # the thread ends, unless a signal came: threads of native code may still run


def _watch(reading: int, code: int, handled: threading.Event, told: threading.Event) -> None:
    with os.fdopen(reading, "rb", buffering=0) as numbers:
        while number := numbers.read(1):
            if number[0] in SIGNALS and signal.getsignal(number[0]) != signal.SIG_IGN:
                time.sleep(_SECONDS)
                if handled.is_set():
                    time.sleep(_CLEANUP_SECONDS)
                _end(code, told)


def _end(code: int, told: threading.Event) -> None:
    for child in _descendants():
        with suppress(OSError):
            os.kill(child, signal.SIGKILL)
    remove_scratch()
    if not told.is_set():
        with suppress(OSError):
            os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, b"Error: interrupted\n")
    os._exit(code)


def _descendants() -> list[int]:
    """The processes that this one started, and those that they started."""
    parents: dict[int, int] = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, ValueError, IndexError):  # it has ended
            parents[int(status.parent.name)] = int(status.read_text().rpartition(")")[2].split()[1])
    found = [os.getpid()]
    for process in found:
        found += [child for child, parent in parents.items() if parent == process]
    return found[1:]
