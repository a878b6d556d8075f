"""SHA-256 digests of files."""

import hashlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from io import FileIO
from pathlib import Path
from typing import IO, Any

from minilmx.files.documents import open_regular

Digest = Any  # a hash object of hashlib, whose type has no public name
_PIECE_BYTES = 1 << 18


def sha256_of_file(path: Path) -> str:
    """The SHA-256 of a regular file, as 64 hex digits. Raises OSError, also for anything else."""
    with open_regular(path) as stream:
        digest = hashlib.sha256()
        add_stream(digest, stream)
    return digest.hexdigest()


def add_stream(digest: Digest, stream: IO[bytes] | FileIO) -> None:
    """Add the rest of a stream to a digest: hashlib.file_digest, which Python 3.10 does not have."""
    while piece := stream.read(_PIECE_BYTES):
        digest.update(piece)


def sha256_of_files(paths: Iterable[Path]) -> list[str]:
    """The digests of several files in order, two at a time: hashing releases the GIL."""
    with ThreadPoolExecutor(max_workers=2) as pool:
        return list(pool.map(sha256_of_file, paths))
