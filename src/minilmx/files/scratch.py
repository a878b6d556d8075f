"""Temporary folders, each locked by the process that made it, and removed when that process ends.

A folder whose process no longer lives is what a killed process left: whoever comes next removes it. On a
file system without locks, nothing says that the process no longer lives, and the folder is left.
"""

import errno
import fcntl
import io
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from minilmx.errors import OutputError, boundary

UNSUPPORTED = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}  # errors of a file system without locks

_held: dict[Path, Callable[[], None]] = {}  # what removes each scratch folder of this process


def _nothing(folder: Path) -> None:
    """Before a folder is removed."""


def make_scratch(
    parent: Path, prefix: str, suffix: str = "", *, before: Callable[[Path], None] = _nothing
) -> Path:
    """A new folder that only this user may enter, until `remove_scratch`. Raises OSError.

    `before` gets it right before it is removed, such as to end the processes that still write to it.
    """
    lock = None
    while lock is None:
        folder = Path(tempfile.mkdtemp(dir=parent, prefix=prefix, suffix=suffix))
        lock = _lock(folder)  # not if another process takes it for one that was left behind
    _held[folder] = partial(_remove, folder, lock, before)
    return folder


def remove_scratch(folder: Path) -> None:
    """Remove a folder of make_scratch. Removing it again does nothing."""
    if folder in _held:
        _held[folder]()  # still held if a signal comes: remove_all_scratch then removes it
        del _held[folder]


def remove_all_scratch() -> None:
    """Remove what this process has written and not completed, before it ends without cleaning up."""
    for remove in list(_held.values()):
        with suppress(OSError):
            remove()


def remove_left(folder: Path, before: Callable[[Path], None] = _nothing) -> bool:
    """Remove a folder of make_scratch if its process no longer lives: True if it was. Raises OSError."""
    lock = _lock(folder)
    if lock is None:
        return False
    if not lock.supported:
        lock.file.close()
        return False
    _remove(folder, lock, before)
    return True


@contextmanager
def private_folder(prefix: str) -> Iterator[Path]:
    """A scratch folder among the temporary files, removed at the end. Raises OutputError."""
    hint = "Free some space, or set TMPDIR to another folder."
    with boundary(OutputError, "a folder for temporary files cannot be created", hint):
        parent = Path(tempfile.gettempdir())
        remove_private(parent, prefix)
        folder = make_scratch(parent, prefix)
    try:
        yield folder
    finally:
        remove_scratch(folder)


def remove_private(parent: Path, prefix: str, before: Callable[[Path], None] = _nothing) -> None:
    """Remove this user's scratch folders of that prefix whose processes no longer live."""
    for left in parent.glob(prefix + "?" * 8):
        with suppress(OSError):  # it was removed in the meantime
            if left.lstat().st_uid == os.getuid():
                remove_left(left, before)


@dataclass(frozen=True, slots=True)
class _Lock:
    """An open file; `supported` is False on a file system without locks."""

    file: io.FileIO  # closing it again does nothing
    supported: bool


def _lock(scratch: Path) -> _Lock | None:
    """The lock of a scratch folder; None if another process has it or has removed the folder.

    Raises OSError for any other reason why it cannot be locked.
    """
    path = scratch / "lock"
    try:
        # For writing: NFS locks nothing else.
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        file = io.FileIO(handle, "r+")
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return None  # it was removed in the meantime, or is not one of ours
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(handle), path.stat()):
            return _Lock(file, supported=True)
    except (BlockingIOError, FileNotFoundError):
        pass
    except OSError as error:
        if error.errno in UNSUPPORTED:
            return _Lock(file, supported=False)
        file.close()
        raise
    file.close()
    return None


def _remove(folder: Path, lock: _Lock, before: Callable[[Path], None]) -> None:
    try:
        before(folder)
    finally:
        lock.file.close()  # NFS keeps a file, and so its folder, as long as it is open
    shutil.rmtree(folder, ignore_errors=True)
