"""Files and folders that appear whole or not at all.

Each is written under a hidden temporary name in the same folder, so on the same file system,
and renamed when it is complete. If an error or Ctrl-C interrupts the writing, the old state remains.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from minilmx.errors import OutputError
from minilmx.files.opening import is_url


def check_writable(path: Path, *, replace: bool, folder: bool = False) -> None:
    """Raise OutputError unless a file, or a `folder`, can be written at `path`.

    Call this before long work, so that it is not lost.
    """
    require_local(path)
    with _no_os_errors(path):
        if not folder and path.is_dir():
            raise OutputError(f"{path} cannot be written: it is a folder; expected a file")
        if not replace and path.exists():
            raise OutputError(f"{path} already exists", "Choose another output, or allow it to be replaced.")
        parent = path.absolute().parent
        while not parent.exists():
            parent = parent.parent
    if not parent.is_dir():
        raise OutputError(f"{path} cannot be written: {parent} is not a folder")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise OutputError(f"{path} cannot be written: no permission to write in {parent}")


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

    Raises OutputError if `path` exists, unless `replace`, or cannot be written.
    """
    check_writable(path, replace=replace)
    with _no_os_errors(path):
        path.absolute().parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.absolute().parent, prefix=f".{path.name}.")
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            temporary.chmod(0o666 & ~_umask())
            _flush_to_disk(temporary)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path, *, replace: bool = False) -> Iterator[Path]:
    """Yield a temporary folder that becomes `path` if the block ends without an error.

    Raises OutputError if `path` exists, unless `replace`, or cannot be written.
    """
    check_writable(path, replace=replace, folder=True)
    with _no_os_errors(path):
        path.absolute().parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(dir=path.absolute().parent, prefix=f".{path.name}."))
        try:
            new = scratch / "new"
            new.mkdir()
            yield new
            for file in new.rglob("*"):
                if file.is_file():
                    _flush_to_disk(file)
            old = scratch / "old"
            if path.exists():
                path.rename(old)
            try:
                new.rename(path)
            except BaseException:
                if old.exists():
                    old.rename(path)
                raise
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


@contextmanager
def _no_os_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror or error}") from error


def _flush_to_disk(file: Path) -> None:
    with file.open("rb") as stream:
        os.fsync(stream.fileno())


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
