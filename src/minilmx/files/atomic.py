"""Files and folders that appear whole or not at all.

Each is written under a hidden temporary name in the same folder, so on the same file system, and takes
its place when it is complete and on the disk. If an error or a signal interrupts the writing, the old
state remains. What a killed process left is removed when the same output is written again.
"""

import ctypes
import errno
import logging
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

from minilmx.errors import OutputError
from minilmx.files.opening import is_url
from minilmx.files.scratch import make_scratch, remove_left, remove_scratch

_ENDING = ".mlx-partial"
_OLD = "old"  # in the scratch folder: what stood at the target
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # linux/fcntl.h and linux/fs.h

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FolderKind:
    """A kind of folder that may be replaced: what it is called, and the files that each one has."""

    name: str
    marks: tuple[str, ...]


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


def check_folder_writable(path: Path, *, replace: FolderKind | None) -> None:
    """Raise OutputError unless a folder can be written at `path`, before long work.

    With `replace`, nothing may be there, an empty folder, or one of that kind: whatever else a folder holds
    is not ours to remove.
    """
    check_writable(path, replace=replace is not None, folder=True)
    with _no_os_errors(path):
        if replace is None or all((path / name).is_file() for name in replace.marks):
            return
        if path.exists() and any(path.iterdir()):
            raise OutputError(
                f"{path}: not {replace.name}, so it is not replaced; "
                f"expected {replace.name} or an empty folder",
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
def atomic_folder(path: Path, *, replace: FolderKind | None = None) -> Iterator[Path]:
    """Yield a temporary folder that becomes `path` if the block ends without an error.

    Raises OutputError if `path` exists, unless it is of the kind to `replace`, or cannot be written.
    """
    check_folder_writable(path, replace=replace)
    with _no_os_errors(path):
        target = _resolved(path)
        with _scratch(target) as scratch:
            new, old = scratch / "new", scratch / _OLD
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
    """A scratch folder beside `target`, removed at the end."""
    target.parent.mkdir(parents=True, exist_ok=True)
    _recover(target)
    scratch = make_scratch(target.parent, _prefix(target), _ENDING, before=partial(_restore, target))
    try:
        yield scratch
    finally:
        remove_scratch(scratch)


def _recover(target: Path) -> None:
    """Complete what a process that no longer lives began for this target, and remove what it left."""
    name = re.compile(re.escape(_prefix(target)) + "[a-z0-9_]{8}" + re.escape(_ENDING))
    with os.scandir(target.parent) as entries:
        left = [Path(entry.path) for entry in entries if name.fullmatch(entry.name)]
    for scratch in left:
        if remove_left(scratch, partial(_restore, target)):
            _log.warning("removed %s, which an earlier run left", scratch)


def _restore(target: Path, scratch: Path) -> None:
    """Never remove the only copy of what stood at the target."""
    if (scratch / _OLD).exists() and not target.exists():
        (scratch / _OLD).rename(target)


def _prefix(target: Path) -> str:
    return f".{target.name[:50]}."  # shorter than any limit on names


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
