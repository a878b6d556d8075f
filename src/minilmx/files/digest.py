"""SHA-256 digests of files."""

import hashlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path


def sha256_of_file(path: Path) -> str:
    """The SHA-256 of a file's bytes, as 64 hex digits. Raises OSError."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sha256_of_files(paths: Iterable[Path]) -> list[str]:
    """The digests of several files in order, two at a time: hashing releases the GIL."""
    with ThreadPoolExecutor(max_workers=2) as pool:
        return list(pool.map(sha256_of_file, paths))
