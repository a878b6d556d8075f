"""Ends the process soon after a signal, even if native code does not return."""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn

from minilmx.files.atomic import remove_scratch

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_SECONDS = 1.5  # in which Python handles a signal, unless native code does not return
_CLEANUP_SECONDS = 10  # then: a runner closes what it holds, because a killed process can lock a GroqCard


class Interruption:
    """What is known of a signal: whether Python handles it, and whether the user has been told."""

    is_handled = is_told = False

    def handle(self, *_: object) -> NoReturn:
        """Handle a signal, when native code returns."""
        self.is_handled = True
        raise KeyboardInterrupt


@contextmanager
def watched(code: int) -> Iterator[Interruption]:
    """End this process and its children with an exit code 1.5 s after a signal, unless it ended by then.

    If Python runs, it raises KeyboardInterrupt, and there are 10 s more to end in good order. It handles a
    signal when native code returns, but writes the signal's number to a pipe at once, for which a thread
    waits. Outputs are written so that they may end at any point.
    """
    interruption = Interruption()
    for number in SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:  # `nohup` ignores SIGHUP
            signal.signal(number, interruption.handle)
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(reading, code, interruption), name="watchdog", daemon=True).start()
    try:
        yield interruption
    finally:
        signal.set_wakeup_fd(before)
        os.close(writing)  # the thread ends, unless a signal came: threads of native code may still run


def _watch(reading: int, code: int, interruption: Interruption) -> None:
    with os.fdopen(reading, "rb", buffering=0) as numbers:
        while number := numbers.read(1):
            if number[0] in SIGNALS and signal.getsignal(number[0]) != signal.SIG_IGN:
                time.sleep(_SECONDS)
                if interruption.is_handled:
                    time.sleep(_CLEANUP_SECONDS)
                _end(code, is_told=interruption.is_told)


def _end(code: int, *, is_told: bool) -> None:
    for child in _descendants():
        with suppress(OSError):
            os.kill(child, signal.SIGKILL)
    remove_scratch()
    if not is_told:
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
