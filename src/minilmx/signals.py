"""Signals whose handlers raise an exception, and native code that an exception would end."""

import signal
import threading
from contextlib import suppress
from importlib.machinery import ExtensionFileLoader
from types import FrameType

_AGAIN_SECONDS = 0.05


def postpone(number: int, frame: FrameType | None) -> bool:
    """Whether a module of native code is being loaded; if so, the signal comes again in 50 ms.

    `number` and `frame` are what a signal's handler gets. While such a module starts, it may run Python, and
    what that raises aborts the process (nanobind) or becomes an ImportError (pybind11).
    """
    while frame is not None:
        is_loading = frame.f_code.co_name in ("create_module", "exec_module")
        if is_loading and isinstance(frame.f_locals.get("self"), ExtensionFileLoader):
            main = threading.main_thread().ident
            again = threading.Timer(_AGAIN_SECONDS, signal.pthread_kill, (main, number))
            again.daemon = True
            with suppress(RuntimeError):  # a process that may not have one more thread
                again.start()
            return True
        frame = frame.f_back
    return False
