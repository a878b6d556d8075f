"""The ledger of an output folder: its settings and inputs, and which of its shards are complete.

FOLDER.ledger.jsonl, beside the folder, starts with a header that binds the folder to its settings and
inputs; each further line is a shard. A shard is complete when both its file and its line, with the file's
digest, have been flushed to disk. It is not in the folder because some readers of Parquet folders refuse
any other file there, even a hidden one, unless it is empty.
"""

import glob
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from filelock import Timeout

from minilmx.errors import OutputError
from minilmx.files.atomic import atomic_file, check_writable
from minilmx.files.digest import sha256_of_files
from minilmx.files.locking import hold_lock
from minilmx.progress import SILENT, Progress

LEDGER_SUFFIX = ".ledger.jsonl"
SHARD_PREFIX = "shard-"
LANCE_DATA, LANCE_VERSIONS, LANCE_TRANSACTIONS = "data", "_versions", "_transactions"
_LOCK_NAME = ".lock"
_TEMPORARY = tuple(f".{name}" for name in (SHARD_PREFIX, LANCE_VERSIONS, LANCE_TRANSACTIONS))


@dataclass(frozen=True, slots=True)
class Entry:
    """A complete shard: the rows from `first_row` on, in a file with this digest."""

    shard: int
    file: str
    first_row: int
    rows: int
    size_bytes: int
    sha256: str


def ledger_path(folder: Path) -> Path:
    """The path of the ledger of an output folder: FOLDER.ledger.jsonl."""
    named = folder if folder.name not in ("", "..") else folder.resolve()
    return named.with_name(named.name + LEDGER_SUFFIX)


class Ledger:
    """The ledger of a locked folder. `entries` are the complete shards."""

    def __init__(self, folder: Path, header: Mapping[str, Any]) -> None:
        """Open the ledger or create it. Shards whose files do not match it are dropped.

        A ledger whose folder is empty binds nothing. Raises OutputError if the folder was created with
        another header or holds other files.
        """
        self.folder = folder
        self._header = dict(header)
        self._path = ledger_path(folder)
        self.entries: dict[int, Entry] = {}
        contents = _visible(folder)
        if self._path.exists():
            written, entries = _parse(self._path)
            if contents:
                _require_same(folder, written, self._header)
                self.entries = _intact(folder, entries)
        elif contents:
            raise OutputError(
                f"{folder} contains {contents[0]} but there is no {self._path}; expected an output folder",
                "Choose a new or empty folder.",
            )
        unfinished = [*folder.iterdir(), *folder.glob(f"{LANCE_DATA}/.*")]  # left by a killed run
        for path in unfinished:
            if path.name.startswith(_TEMPORARY):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        for path in self._path.parent.glob(f".{glob.escape(self._path.name)}.*"):
            path.unlink()
        self._write()

    def add(self, entry: Entry) -> None:
        """Record a shard whose file is in the folder. Raises OutputError."""
        try:
            for folder in {(self.folder / entry.file).parent, self.folder}:
                _flush_folder(folder)
            with self._path.open("ab") as stream:
                stream.write(_line(asdict(entry)))
                stream.flush()
                os.fsync(stream.fileno())
        except OSError as error:
            raise OutputError(f"{self._path} cannot be written: {error.strerror or error}") from error
        self.entries[entry.shard] = entry

    def finish(self) -> None:
        """Sort the shards, which are recorded as they complete. Raises OutputError."""
        if list(self.entries) != sorted(self.entries):
            self.entries = dict(sorted(self.entries.items()))
            self._write()

    def _write(self) -> None:
        with atomic_file(self._path, replace=True) as temporary:
            lines = [_line(self._header), *(_line(asdict(entry)) for entry in self.entries.values())]
            temporary.write_bytes(b"".join(lines))
        _flush_folder(self._path.parent)


@contextmanager
def locked(folder: Path, progress: Progress = SILENT) -> Iterator[None]:
    """Create the folder if needed and keep all other runs out of it.

    Raises OutputError if another run is using it or it cannot be written. If no ledger is
    written in the meantime, nothing is left behind.
    """
    check_writable(folder, replace=True, folder=True)
    check_writable(ledger_path(folder), replace=True)
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder} cannot be written: it is a file; expected a folder")
    is_new = not folder.exists()
    with ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            stack.enter_context(hold_lock(folder / _LOCK_NAME, progress))
        except (Timeout, FileNotFoundError) as error:  # the other run may remove the folder as it ends
            raise OutputError(
                f"{folder}: another run is writing to it", "Wait until it ends, or choose another folder."
            ) from error
        except OSError as error:
            raise OutputError(f"{folder} cannot be written: {error.strerror or error}") from error
        try:
            yield
        finally:
            if not ledger_path(folder).exists() or (is_new and not _visible(folder)):
                with suppress(OSError):
                    (folder / _LOCK_NAME).unlink()
                    if is_new:
                        folder.rmdir()


def clear(folder: Path) -> None:
    """Remove a ledger, its shards and a Lance dataset's manifest, nothing else. Raises OutputError."""
    try:
        if ledger_path(folder).exists():
            lance = list(folder.glob(f"{LANCE_DATA}/{SHARD_PREFIX}[0-9]*.lance"))
            for name in (LANCE_VERSIONS, LANCE_TRANSACTIONS) if lance else ():
                if (folder / name).exists():
                    shutil.rmtree(folder / name)
            for path in (*lance, *folder.glob(f"{SHARD_PREFIX}[0-9]*.parquet")):
                path.unlink()
            with suppress(OSError):  # it does not exist, or is not empty
                (folder / LANCE_DATA).rmdir()
            ledger_path(folder).unlink()
    except OSError as error:
        raise OutputError(f"{folder} cannot be cleared: {error.strerror or error}") from error


def _visible(folder: Path) -> list[str]:
    """The names in a folder that do not start with a dot."""
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def _line(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, ensure_ascii=False).encode() + b"\n"


def _parse(path: Path) -> tuple[dict[str, Any], list[Entry]]:
    """The header and the shards; a truncated last line is ignored."""
    try:
        *lines, _ = path.read_bytes().split(b"\n")
        header: dict[str, Any] = {"format": "parquet", **json.loads(lines[0])}  # older ledgers do not say
        return header, [Entry(**json.loads(line)) for line in lines[1:]]
    except (OSError, ValueError, TypeError, IndexError) as error:
        raise OutputError(f"{path} is damaged: {error}", "Choose another folder, or start over.") from error


def _require_same(folder: Path, written: Mapping[str, Any], header: Mapping[str, Any]) -> None:
    """Raise OutputError, naming the first difference, unless two headers are equal."""
    for name in {**header, **written}:
        there, here = _parts(written.get(name)), _parts(header.get(name))
        pairs = list(zip_longest(there, here, fillvalue="nothing"))
        differ = [pair for pair in pairs if _content(pair[0]) != _content(pair[1])]
        if differ:
            was, now = differ[0]
            raise OutputError(
                f"{folder} was created with other settings: its {name} is {was}; expected {now}",
                "Choose another folder, or start over.",
            )


def _parts(value: object) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _content(value: object) -> object:
    """An input file is identified by its content, not its path."""
    return {key: part for key, part in value.items() if key != "path"} if isinstance(value, dict) else value


def _intact(folder: Path, entries: list[Entry]) -> dict[int, Entry]:
    """The shards whose files match their digests."""
    there = [entry for entry in entries if (folder / entry.file).is_file()]
    try:
        digests = sha256_of_files(folder / entry.file for entry in there)
    except OSError as error:
        raise OutputError(f"{folder} cannot be read: {error.strerror or error}") from error
    pairs = zip(there, digests, strict=True)
    return {entry.shard: entry for entry, digest in pairs if digest == entry.sha256}


def _flush_folder(folder: Path) -> None:
    """Flush the names in a folder to disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
