"""Ends the process soon after a signal or its time limit, even if native code does not return."""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import NoReturn

from minilmx.files.scratch import remove_all_scratch
from minilmx.signals import forget_postponed, postpone

EXIT_ERROR = 3
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_SECONDS = 1.5  # in which Python handles a signal, unless native code does not return
_CLEANUP_SECONDS = 10  # for what has a session of its own: a killed process can lock a GroqCard


class _Interrupted(KeyboardInterrupt):
    """A class of its own: after a KeyboardInterrupt in exec(), as in an import, Python ends by SIGINT."""


class Interruption:
    """What is known of a signal: whether Python handles it, and whether the user has been told."""

    is_handled = is_told = False
    message = "interrupted"
    _limit: float | None = None  # in seconds

    def __init__(self, code: int) -> None:
        self.code = code

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal, when native code returns and has started. Raises KeyboardInterrupt."""
        self.note(number)
        if not postpone(number, frame):
            self.is_handled = True
            raise _Interrupted

    def note(self, number: int) -> None:
        """Remember what a signal means: that of the time limit is an error."""
        if number == signal.SIGALRM:
            self.code, self.message = EXIT_ERROR, f"not finished within the time limit of {self._limit:g} s"

    def limit(self, seconds: float) -> None:
        """Send SIGALRM to this process after so many seconds."""
        self._limit = seconds
        signal.signal(signal.SIGALRM, self.handle)
        signal.setitimer(signal.ITIMER_REAL, seconds)

    def end_limit(self) -> None:
        """Forget the time limit, if there is one."""
        if self._limit is not None:
            signal.setitimer(signal.ITIMER_REAL, 0)


@contextmanager
def watched(code: int) -> Iterator[Interruption]:
    """End this process and its children with an exit code 1.5 s after a signal, unless it ended by then.

    If Python runs, it raises KeyboardInterrupt, and there are 10 s more if a child has a session of its own,
    as the process that holds a GroqCard has. Python handles a signal when native code returns, but writes the
    signal's number to a pipe at once, for which a thread waits. Outputs are written so that they may end at
    any point.
    """
    interruption = Interruption(code)
    handled = [number for number in _SIGNALS if signal.getsignal(number) != signal.SIG_IGN]  # as `nohup` does
    for number in handled:
        signal.signal(number, interruption.handle)
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    with suppress(RuntimeError):  # a process that may not have one more thread does without
        threading.Thread(target=_watch, args=(reading, interruption), name="watchdog", daemon=True).start()
    hooks = sys.unraisablehook, sys.excepthook
    sys.unraisablehook = lambda lost: None if _is_signal(lost.exc_value) else hooks[0](lost)
    # Native code that is interrupted while it imports a module prints the exception, and raises its own.
    sys.excepthook = lambda kind, error, trace: None if _is_signal(error) else hooks[1](kind, error, trace)
    try:
        yield interruption
    finally:
        interruption.end_limit()
        forget_postponed()
        for number in handled:  # all is written: a signal only ends the process, without a traceback
            signal.signal(number, signal.SIG_DFL)
        sys.unraisablehook, sys.excepthook = hooks
        signal.set_wakeup_fd(before)
        os.close(writing)  # the thread ends, unless a signal came: threads of native code may still run


def _is_signal(error: BaseException | None) -> bool:
    """Whether an exception is a signal that came while none could be raised, or while its handler changed."""
    return isinstance(error, _Interrupted) or "ignored due to race condition" in str(error)


def _watch(reading: int, interruption: Interruption) -> None:
    with os.fdopen(reading, "rb", buffering=0) as numbers:
        while number := numbers.read(1):
            handler = signal.getsignal(number[0])
            if handler == interruption.handle or (number[0] in _SIGNALS and handler != signal.SIG_IGN):
                interruption.note(number[0])
                time.sleep(_SECONDS)
                deadline = time.monotonic() + _CLEANUP_SECONDS
                while interruption.is_handled and _has_session() and time.monotonic() < deadline:
                    time.sleep(0.1)
                end(interruption)


def end(interruption: Interruption) -> NoReturn:
    """End this process and its children at once: what libraries do at their end cannot change the code."""
    for child in _descendants():
        with suppress(OSError):
            os.kill(child, signal.SIGKILL)
    remove_all_scratch()
    if not interruption.is_told:
        with suppress(OSError):
            message = f"Error: {interruption.message}\n".encode()
            os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, message)
    os._exit(interruption.code)


def _has_session() -> bool:
    own = os.getsid(0)
    return any(session != own for session in _descendants().values())


def _descendants() -> dict[int, int]:
    """The processes that this one started, and those that they started, with their sessions."""
    started: dict[int, dict[int, int]] = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, ValueError, IndexError):  # it has ended
            _, parent, _, session = status.read_text().rpartition(")")[2].split()[:4]
            started.setdefault(int(parent), {})[int(status.parent.name)] = int(session)
    descendants: dict[int, int] = {}
    parents = [os.getpid()]
    for process in parents:
        descendants |= started.get(process, {})
        parents += started.get(process, {})
    return descendants
