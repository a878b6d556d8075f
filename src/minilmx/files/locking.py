"""Locks of folders, also on file systems that have none, as some shared homes."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from minilmx.files.scratch import UNSUPPORTED
from minilmx.progress import Progress


@contextmanager
def hold_lock(path: Path, progress: Progress, waiting: str | None = None) -> Iterator[None]:
    """Hold the lock of a file, which the system releases when the process ends.

    If another process holds it, sends the message `waiting` and waits; without one, raises Timeout. On a
    file system without locks, sends a message and holds nothing. Raises OSError.
    """
    lock = FileLock(path)
    try:
        try:
            lock.acquire(blocking=False)
        except Timeout:
            if waiting is None:
                raise
            progress.message(waiting)
            lock.acquire()
    except (OSError, NotImplementedError) as error:
        if isinstance(error, OSError) and error.errno not in UNSUPPORTED:
            raise
        progress.message(
            f"warning: {path.parent} is on a file system without locks: let no other process write there"
        )
    try:
        yield
    finally:
        lock.release()
