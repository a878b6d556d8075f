"""Copies of files that nobody else can change: what was hashed is what a library then reads."""

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from minilmx.files.documents import open_regular

_PIECE_BYTES = 1 << 18
# Linux has files that exist only in memory and can be sealed against changes.
CAN_SEAL = hasattr(os, "memfd_create")


@contextmanager
def private_copy(path: Path, size_bytes: int) -> Iterator[tuple[Path, str]]:
    """A sealed copy in memory of the first `size_bytes` of a file, while the context lasts, and its SHA-256.

    Its path is valid in this process. Raises OSError, also for what is not a regular file.
    """
    handle = os.memfd_create("minilmx", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        digest, piece = hashlib.sha256(), memoryview(bytearray(_PIECE_BYTES))
        with open_regular(path) as stream:
            while size_bytes and (count := stream.readinto(piece[:size_bytes])):
                size_bytes -= count
                digest.update(piece[:count])
                os.write(handle, piece[:count])
        seals = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
        fcntl.fcntl(handle, fcntl.F_ADD_SEALS, seals)
        yield Path(f"/proc/self/fd/{handle}"), digest.hexdigest()
    finally:
        os.close(handle)
