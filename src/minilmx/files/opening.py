"""The bytes of a file, of standard input or of a URL, decompressed as its name says."""

import bz2
import gzip
import io
import os
import re
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, NoReturn, TypeVar, cast

from minilmx.errors import DatasetError, MinilmxError, boundary, reason
from minilmx.files.digest import Digest
from minilmx.files.formats import EXTENSIONS, STANDARD_INPUT, file_kind

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")
Found = TypeVar("Found")


def is_url(path: str) -> bool:
    """Whether this is a URL such as s3://bucket/key, or a Path made from one, which has one slash less."""
    return _URL.match(path) is not None


def is_read_once(path: str) -> bool:
    """Whether a path is standard input or a pipe, which cannot be read a second time."""
    with suppress(OSError):  # reported when the file is opened
        return path == STANDARD_INPUT or (not is_url(path) and Path(path).is_fifo())
    return False


def open_file(path: str) -> IO[bytes]:
    """A file or a URL, open for reading, without decompression. Raises OSError and DatasetError."""
    if not is_url(path):
        return Path(path).open("rb")
    return _translated(path, lambda fsspec: cast("IO[bytes]", fsspec.open(path, "rb").open()))


@contextmanager
def open_bytes(path: str, digest: Digest) -> Iterator[IO[bytes]]:
    """The decompressed bytes of a file; those that are read are added to `digest`. Raises DatasetError."""
    try:
        if path == STANDARD_INPUT:
            yield sys.stdin.buffer
            return
        with open_file(path) as stream:
            raw = stream if digest is None else io.BufferedReader(_Hashed(stream, digest), 2**17)
            yield _decompressed(path, raw)
    except FileNotFoundError as error:
        raise DatasetError(f"{path} does not exist") from error
    except (OSError, EOFError, zlib.error) as error:
        raise DatasetError(f"{path} cannot be read: {reason(error)}") from error


def state_of(path: str) -> tuple[int, int]:
    """A file's size in bytes, and a number that changes with its content: in ns, if it is a local file.

    Raises DatasetError.
    """
    if is_url(path):

        def state(fsspec: Any) -> tuple[int, int]:
            system, name = fsspec.core.url_to_fs(path)
            return int(system.info(name).get("size") or 0), int(system.checksum(name))

        return _translated(path, state)
    with boundary(DatasetError, f"{path} cannot be read"):
        status = Path(path).stat()
    return status.st_size, status.st_mtime_ns


def files_at(url: str) -> list[str]:
    """The files of a URL: those that match a pattern, those below a folder, or the file itself.

    Raises DatasetError.
    """

    def find(fsspec: Any) -> list[str]:
        system, name = fsspec.core.url_to_fs(url)
        if set(name) & set("*?["):
            names = system.glob(name)
        else:  # a name with a known extension is a file: no request is needed to know it
            names = [name] if file_kind(url) in EXTENSIONS else system.find(name)
            if "file" in system.protocol:  # fsspec leaves out folders that it may not read
                for _ in os.walk(name, onerror=_raise):
                    pass
        if not names:
            raise FileNotFoundError(url)
        return [system.unstrip_protocol(each) for each in names]

    return _translated(url, find)


def _raise(error: OSError) -> NoReturn:
    raise error


def _translated(url: str, use: Callable[[Any], Found]) -> Found:
    """What a use of fsspec gives. Raises DatasetError for whatever goes wrong at the other end."""
    try:
        import fsspec

        return use(fsspec)
    except FileNotFoundError as error:
        raise DatasetError(f"{url} does not exist") from error
    except ImportError as error:
        raise DatasetError(
            f"{url} cannot be read: {error}", "Install the package that fsspec needs for this protocol."
        ) from error
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DatasetError(f"{url} cannot be read: {reason}") from error


def import_pyarrow(what: str, kind: type[MinilmxError] = DatasetError) -> Any:
    """The optional package pyarrow. Raises `kind`, which names what needs it, without the package."""
    try:
        import pyarrow.compute
        import pyarrow.parquet
    except ImportError as error:
        raise kind(
            f"{what} needs pyarrow, which is not installed", "Run pip install 'minilmx[datasets]'."
        ) from error
    return pyarrow


def _decompressed(path: str, raw: IO[bytes]) -> IO[bytes]:
    suffix = Path(path).suffix.lower()
    if suffix == ".gz":
        return cast("IO[bytes]", gzip.GzipFile(fileobj=raw))
    if suffix == ".bz2":
        buffered = raw if hasattr(raw, "peek") else io.BufferedReader(cast("io.RawIOBase", raw))
        return cast("IO[bytes]", bz2.BZ2File(buffered) if buffered.peek(1) else io.BytesIO())
    if suffix == ".zst":
        return cast("IO[bytes]", import_pyarrow(path).CompressedInputStream(raw, "zstd"))
    return raw


class _Hashed(io.RawIOBase):
    """A file whose bytes are added to a hash object as they are read."""

    def __init__(self, stream: IO[bytes], digest: Digest) -> None:
        self._stream, self._digest = stream, digest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        size: int = self._stream.readinto(buffer)  # type: ignore[attr-defined] # any file has it
        self._digest.update(memoryview(buffer)[:size])
        return size
