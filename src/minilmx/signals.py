"""Signals whose handlers raise an exception, and native code that an exception would end."""

import signal
import threading
from importlib.machinery import ExtensionFileLoader
from types import FrameType

_AGAIN_SECONDS = 0.05

_postponed: list[threading.Timer] = []


def postpone(number: int, frame: FrameType | None) -> bool:
    """Whether a module of native code is being loaded; if so, the signal comes again in 50 ms.

    `number` and `frame` are what a signal's handler gets. While such a module starts, it may run Python, and
    what that raises aborts the process (nanobind) or becomes an ImportError (pybind11).
    """
    while frame is not None:
        is_loading = frame.f_code.co_name in ("create_module", "exec_module")
        if is_loading and isinstance(frame.f_locals.get("self"), ExtensionFileLoader):
            again = threading.Timer(
                _AGAIN_SECONDS, signal.pthread_kill, (threading.main_thread().ident, number)
            )
            again.daemon = True
            try:
                again.start()
            except RuntimeError:  # a process that may not have one more thread
                return False
            _postponed.append(again)
            return True
        frame = frame.f_back
    return False


def forget_postponed() -> None:
    """Let no postponed signal come any more, before its handler is removed."""
    while _postponed:
        _postponed.pop().cancel()
