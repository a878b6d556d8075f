"""The ledger of an output folder: its settings and inputs, and which of its shards are complete.

FOLDER.ledger.jsonl, beside the folder, starts with a header that binds the folder to its settings and
inputs; each further line is a shard. A shard is complete when both its file and its line, with the file's
digest, have been flushed to disk. It is not in the folder because some readers of Parquet folders refuse
any other file there, even a hidden one, unless it is empty.
"""

import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import msgspec
from filelock import Timeout

from minilmx.errors import OutputError, boundary
from minilmx.files.atomic import atomic_file, check_writable, flush
from minilmx.files.digest import sha256_of_files
from minilmx.files.documents import LARGE_BYTES, dump_json, parse_json, read_document
from minilmx.files.locking import hold_lock
from minilmx.progress import Progress

LEDGER_SUFFIX = ".ledger.jsonl"
_SHARD_PREFIX = "shard-"
LANCE_DATA, LANCE_VERSIONS, LANCE_TRANSACTIONS = "data", "_versions", "_transactions"
_LOCK_NAME = ".lock"
_TEMPORARY = tuple(f".{name}" for name in (_SHARD_PREFIX, LANCE_VERSIONS, LANCE_TRANSACTIONS))


@dataclass(frozen=True, slots=True)
class Entry:
    """A complete shard: the rows from `first_row` on, in a file with this digest."""

    shard: int
    file: str
    first_row: int
    rows: int
    size_bytes: int
    sha256: str


def shard_file(shard: int, kind: str) -> str:
    """The path of a shard in its folder, if `kind` is the format "parquet" or "lance"."""
    return f"{LANCE_DATA}/" * (kind == "lance") + f"{_SHARD_PREFIX}{shard:06d}.{kind}"


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
        self._write()

    def add(self, entry: Entry) -> None:
        """Record a shard whose file is in the folder. Raises OutputError."""
        line = _line(asdict(entry))
        with boundary(OutputError, f"{self._path} cannot be written"):
            for folder in {(self.folder / entry.file).parent, self.folder}:
                flush(folder)
            with self._path.open("ab") as stream:
                stream.write(line)
                stream.flush()
                os.fsync(stream.fileno())
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


@contextmanager
def locked(folder: Path, progress: Progress) -> Iterator[None]:
    """Create the folder if needed and keep all other runs out of it.

    Raises OutputError if another run is using it or it cannot be written. If no ledger is
    written in the meantime, nothing is left behind.
    """
    check_writable(folder, replace=True, folder=True)
    check_writable(ledger_path(folder), replace=True)
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
    """Remove a ledger, its shards and a Lance dataset's manifest. Raises OutputError.

    If the folder holds anything else, nothing is removed.
    """
    ledger = ledger_path(folder)
    if not ledger.exists():
        return
    with boundary(OutputError, f"{folder} cannot be cleared"):
        data = folder / LANCE_DATA
        visible = [folder / name for name in _visible(folder) if name != LANCE_DATA or not data.is_dir()]
        visible += [data / name for name in _visible(data)] if data.is_dir() else []
        shards = [path for path in visible if _is_shard(path)]
        dataset = [path for path in visible if path.name in (LANCE_VERSIONS, LANCE_TRANSACTIONS)]
        foreign = [path for path in visible if path not in (*shards, *dataset)]
        if foreign:
            raise OutputError(
                f"{foreign[0]}: not a file that minilmx wrote; expected none beside the shards",
                "Move it away, or choose another folder.",
            )
        for each in shards:
            each.unlink()
        for each in dataset:
            shutil.rmtree(each)
        with suppress(OSError):  # it does not exist, or a hidden file is in it
            data.rmdir()
        ledger.unlink()


def _is_shard(path: Path) -> bool:
    return bool(re.fullmatch(_SHARD_PREFIX + r"[0-9]{6,}\.(parquet|lance)", path.name)) and path.is_file()


def _visible(folder: Path) -> list[str]:
    """The names in a folder that do not start with a dot."""
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def _line(document: Mapping[str, Any]) -> bytes:
    return dump_json(document).encode() + b"\n"


def _parse(path: Path) -> tuple[dict[str, Any], list[Entry]]:
    """The header and the shards; a truncated last line is ignored."""
    with boundary(OutputError, f"{path} is damaged", "Choose another folder, or start over."):
        *lines, _ = read_document(path, LARGE_BYTES).split(b"\n")
        header: dict[str, Any] = {**parse_json(lines[0], names_files=True)}
        entries = [msgspec.convert(parse_json(line, names_files=True), Entry) for line in lines[1:]]
        for entry in entries:
            first_row = entry.shard * header["rows_per_shard"]
            rows = min(header["rows_per_shard"], header["rows"] - first_row)
            expected = (shard_file(entry.shard, header["format"]), first_row, rows)
            if (entry.file, entry.first_row, entry.rows) != expected:
                stated = f"{entry.file!r:.80}, {entry.rows} rows from {entry.first_row}"
                raise ValueError(
                    f"shard {entry.shard} is {stated}; expected {expected[0]}, {rows} from {first_row}"
                )
        return header, entries


def _require_same(folder: Path, written: Mapping[str, Any], header: Mapping[str, Any]) -> None:
    """Raise OutputError, naming the first difference, unless two headers are equal."""
    for name in {**header, **written}:
        recorded, here = _parts(written.get(name)), _parts(header.get(name))
        pairs = list(zip_longest(recorded, here, fillvalue="nothing"))
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
    present = [entry for entry in entries if (folder / entry.file).is_file()]
    with boundary(OutputError, f"{folder} cannot be read"):
        digests = sha256_of_files(folder / entry.file for entry in present)
    pairs = zip(present, digests, strict=True)
    return {entry.shard: entry for entry, digest in pairs if digest == entry.sha256}
