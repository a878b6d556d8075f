"""Files and folders that appear whole or not at all.

Each is written under a hidden temporary name in the same folder, so on the same file system, and takes
its place when it is complete and on the disk. If an error or a signal interrupts the writing, the old
state remains. What a killed process left is removed when the same output is written again.
"""

import ctypes
import errno
import fcntl
import logging
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

from minilmx.errors import OutputError, boundary
from minilmx.files.opening import is_url

_ENDING = ".mlx-partial"
UNSUPPORTED = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}  # errors of a file system without locks
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # linux/fcntl.h and linux/fs.h

_log = logging.getLogger(__name__)
_held: dict[Path, Callable[[], None]] = {}  # what removes each scratch folder of this process


def check_writable(path: Path, *, replace: bool, folder: bool = False) -> None:
    """Raise OutputError unless a file, or a `folder`, can be written at `path`.

    Call this before long work, so that it is not lost.
    """
    require_local(path)
    with _no_os_errors(path):
        if not folder and path.is_dir():
            raise OutputError(f"{path} cannot be written: it is a folder; expected a file")
        if folder and path.is_file():
            raise OutputError(f"{path} cannot be written: it is a file; expected a folder")
        if path.exists() and not path.is_dir() and not path.is_file():
            raise OutputError(f"{path} cannot be written: it is a device or a pipe; expected a file")
        if not replace and path.exists():
            raise OutputError(f"{path} already exists", "Choose another output, or allow it to be replaced.")
        parent = _resolved(path).parent
        while not parent.exists():
            parent = parent.parent
    if not parent.is_dir():
        raise OutputError(f"{path} cannot be written: {parent} is not a folder")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise OutputError(f"{path} cannot be written: no permission to write in {parent}")


def check_replaceable(path: Path, what: str, *marks: str) -> None:
    """Raise OutputError unless nothing is at `path`, an empty folder, or `what`: a folder with these files.

    Call this before `path` is replaced: whatever else a folder holds is not ours to remove.
    """
    with _no_os_errors(path):
        ours = path.is_dir() and (all((path / name).is_file() for name in marks) or not any(path.iterdir()))
        if path.exists() and not ours:
            raise OutputError(
                f"{path}: not {what}, so it is not replaced; expected {what} or an empty folder",
                "Choose another output.",
            )


def require_local(path: Path) -> None:
    """Raise OutputError for a URL: no file at one could appear whole or not at all."""
    if is_url(str(path)):
        scheme, _, rest = str(path).partition(":/")
        slashes = "///" if scheme == "file" else "//"  # a path has only one of them
        raise OutputError(
            f"{scheme}:{slashes}{rest} cannot be written: it is a URL; expected a local path",
            "Write to a local path and upload the result.",
        )


@contextmanager
def atomic_file(path: Path, *, replace: bool = False) -> Iterator[Path]:
    """Yield a temporary file that becomes `path` if the block ends without an error.

    A file that is replaced keeps its permissions, and a link keeps its target's place. Raises
    OutputError if `path` exists, unless `replace`, or cannot be written.
    """
    check_writable(path, replace=replace)
    with _no_os_errors(path):
        target = _resolved(path)
        with _scratch(target) as scratch:
            (scratch / "new").mkdir()
            temporary = scratch / "new" / target.name
            temporary.touch()
            mode = (target if target.exists() else temporary).stat().st_mode
            yield temporary
            temporary.chmod(stat.S_IMODE(mode))
            flush(temporary)
            temporary.replace(target)
            flush(target.parent)


@contextmanager
def atomic_folder(path: Path, *, replace: bool = False) -> Iterator[Path]:
    """Yield a temporary folder that becomes `path` if the block ends without an error.

    Raises OutputError if `path` exists, unless `replace`, or cannot be written. `replace` removes whatever
    folder is there: for a path that a user names, call `check_replaceable` before.
    """
    check_writable(path, replace=replace, folder=True)
    with _no_os_errors(path):
        target = _resolved(path)
        with _scratch(target) as scratch:
            new, old = scratch / "new", scratch / "old"
            new.mkdir()
            yield new
            for file in [*new.rglob("*"), new]:
                flush(file)
            if not target.exists():
                new.rename(target)
            elif not _exchange(new, target):
                target.rename(old)  # if this is the last thing that happens, _recover moves it back
                new.rename(target)
            flush(target.parent)


def _nothing(folder: Path) -> None:
    """Before a folder is removed."""


def make_private_folder(prefix: str, parent: Path, end: Callable[[Path], None] = _nothing) -> Path:
    """A temporary folder that only this user may enter, until `remove_private_folder`. Raises OSError.

    Before it is removed, `end` ends the processes that still write to it.
    """
    lock = None
    while lock is None:
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        lock = _lock(folder)  # not if another process takes it for one that was left behind
    _held[folder] = partial(_remove_private, folder, lock, end)
    return folder


def remove_left_folders(prefix: str, parent: Path, end: Callable[[Path], None] = _nothing) -> None:
    """Remove the private folders of processes that no longer live, unless the file system has no locks."""
    for left in parent.glob(prefix + "?" * 8):
        with suppress(OSError):  # it was removed in the meantime
            lock = _lock(left) if left.lstat().st_uid == os.getuid() else None
            if lock is not None and lock.supported:
                _remove_private(left, lock, end)
            elif lock is not None:
                os.close(lock.handle)


def remove_private_folder(folder: Path) -> None:
    """Remove a folder of make_private_folder. Removing it again does nothing."""
    if folder in _held:
        _held[folder]()  # still held if a signal comes: remove_scratch then removes it
        del _held[folder]


@contextmanager
def private_folder(prefix: str) -> Iterator[Path]:
    """A folder of make_private_folder among the temporary files, removed at the end. Raises OutputError."""
    hint = "Free some space, or set TMPDIR to another folder."
    with boundary(OutputError, "a folder for temporary files cannot be created", hint):
        parent = Path(tempfile.gettempdir())
        remove_left_folders(prefix, parent)
        folder = make_private_folder(prefix, parent)
    try:
        yield folder
    finally:
        remove_private_folder(folder)


def _remove_private(folder: Path, lock: "_Lock", end: Callable[[Path], None]) -> None:
    end(folder)
    _release(lock)
    shutil.rmtree(folder, ignore_errors=True)


def remove_scratch() -> None:
    """Remove what this process has written and not completed, before it ends without cleaning up."""
    for remove in list(_held.values()):
        with suppress(OSError):
            remove()


def flush(path: Path) -> None:
    """Flush a file, or the names in a folder, to disk. Raises OSError."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _resolved(path: Path) -> Path:
    """The path without links, so that a link is kept and nothing depends on the working folder."""
    try:
        return path.resolve()
    except RuntimeError as error:  # before Python 3.13, on a loop of links
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path)) from error


@contextmanager
def _scratch(target: Path) -> Iterator[Path]:
    """A hidden folder beside `target`, locked by this process, and removed at the end."""
    target.parent.mkdir(parents=True, exist_ok=True)
    _recover(target)
    lock = None
    while lock is None:
        scratch = Path(tempfile.mkdtemp(dir=target.parent, prefix=_prefix(target), suffix=_ENDING))
        lock = _lock(scratch)  # not if another process takes it for one that was left behind
    _held[scratch] = partial(_remove, scratch, target, lock)
    try:
        yield scratch
    finally:
        _remove(scratch, target, lock)
        del _held[scratch]


def _recover(target: Path) -> None:
    """Complete what a process that no longer lives began for this target, and remove what it left.

    On a file system without locks, nothing says that the process no longer lives, and all is left.
    """
    name = re.compile(re.escape(_prefix(target)) + "[a-z0-9_]{8}" + re.escape(_ENDING))
    with os.scandir(target.parent) as entries:
        found = [Path(entry.path) for entry in entries if name.fullmatch(entry.name)]
    for scratch in found:
        lock = _lock(scratch)
        if lock is None:
            continue
        if lock.supported:
            _remove(scratch, target, lock)
            _log.warning("removed %s, which an earlier run left", scratch)
        else:
            os.close(lock.handle)


def _prefix(target: Path) -> str:
    return f".{target.name[:50]}."  # shorter than any limit on names


@dataclass(frozen=True, slots=True)
class _Lock:
    """An open descriptor; `supported` is False on a file system without locks."""

    handle: int
    supported: bool


def _lock(scratch: Path) -> _Lock | None:
    """The lock of a scratch folder; None if another process has it or has removed the folder.

    Raises OSError for any other reason why it cannot be locked.
    """
    path = scratch / "lock"
    try:
        # For writing: NFS locks nothing else.
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return None  # it was removed in the meantime, or is not one of ours
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(handle), path.stat()):
            return _Lock(handle, supported=True)
    except (BlockingIOError, FileNotFoundError):
        pass
    except OSError as error:
        if error.errno in UNSUPPORTED:
            return _Lock(handle, supported=False)
        os.close(handle)
        raise
    os.close(handle)
    return None


def _remove(scratch: Path, target: Path, lock: _Lock) -> None:
    """Remove a scratch folder, but never the only copy of what stood at the target."""
    old = scratch / "old"
    try:
        if old.exists() and not target.exists():
            old.rename(target)
    finally:
        _release(lock)
    shutil.rmtree(scratch, ignore_errors=True)


def _release(lock: _Lock) -> None:
    """Before the folder is removed: NFS keeps a file, and so its folder, as long as it is open."""
    with suppress(OSError):  # closed already, before a signal interrupted the removal
        os.close(lock.handle)


def _exchange(new: Path, target: Path) -> bool:
    """Swap two paths in one step. Returns False if the system cannot. Raises OSError."""
    function = _renameat2()
    if function is None:
        return False
    if function(_AT_FDCWD, os.fsencode(new), _AT_FDCWD, os.fsencode(target), _RENAME_EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.ENOSYS, errno.EINVAL, errno.EPERM, errno.ENOTSUP):
        return False
    raise OSError(code, os.strerror(code), str(target))


@cache
def _renameat2() -> "ctypes._NamedFuncPointer | None":
    try:
        function = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):  # not Linux, or an old C library
        return None
    function.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint]
    return function


@contextmanager
def _no_os_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror or error}") from error
