"""The standard streams, which may be closed, full or without a reader."""

import io
import os
import sys
from typing import Any, TextIO


class OutputLost(Exception):
    """Standard output took less than was written. The message is empty if its reader went away."""


def prepare_streams() -> None:
    """Make the standard streams such that nothing of a command's result can be lost without an error.

    They are UTF-8 whatever the locale, and file names pass through as bytes. Descriptors that were closed
    are taken, so that no file of a command gets one of them, with what makes reading standard input and
    writing standard output an error. What cannot be written to standard error is dropped: messages
    are not part of the result.
    """
    if sys.stdin is None:
        _take(0, os.O_WRONLY)
        sys.stdin = io.TextIOWrapper(io.BufferedReader(io.FileIO(0, "r", closefd=False)), "utf-8")
    if sys.stdout is None:
        _take(1, os.O_RDONLY)
    if sys.stderr is None:
        _take(2, os.O_WRONLY)
    sys.stdout = _wrapped(sys.stdout, 1, _Output)
    sys.stderr = _wrapped(sys.stderr, 2, _Messages)


def _take(number: int, flags: int) -> None:
    try:
        os.fstat(number)
    except OSError:
        opened = os.open(os.devnull, flags)
        if opened != number:
            os.dup2(opened, number)
            os.close(opened)
        os.set_inheritable(number, True)


def _wrapped(stream: TextIO | None, number: int, kind: type[io.FileIO]) -> TextIO:
    if stream is not None:
        try:
            is_standard = stream.fileno() == number
        except (OSError, ValueError):  # not a file, as in a test
            is_standard = False
        if not is_standard:
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(encoding="utf-8", errors="surrogateescape")
            return stream
        stream.flush()
    raw = kind(number, "w", closefd=False)
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        "utf-8",
        errors="surrogateescape",
        line_buffering=number == 2 or raw.isatty(),
        write_through=bool(getattr(stream, "write_through", False)),
    )


class _Output(io.FileIO):
    """Standard output: after an error, which is raised once, it takes everything and writes nothing."""

    _lost = False

    def write(self, content: Any) -> int:
        if self._lost:
            return memoryview(content).nbytes
        try:
            return super().write(content)
        except OSError as error:
            self._lost = True
            if isinstance(error, BrokenPipeError):
                raise OutputLost("") from error
            raise OutputLost(f"standard output cannot be written: {error.strerror}") from error


class _Messages(io.FileIO):
    """Standard error: what it does not take is dropped."""

    def write(self, content: Any) -> int:
        try:
            return super().write(content)
        except OSError:
            return memoryview(content).nbytes
