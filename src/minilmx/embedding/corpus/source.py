"""A corpus: the rows of many files in one fixed order, cut into shards."""

import glob
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minilmx.errors import DatasetError
from minilmx.files.blocks import read_blocks
from minilmx.files.digest import sha256_of_files
from minilmx.files.rows import EXTENSIONS, STANDARD_INPUT, file_kind, read_rows
from minilmx.files.texts import choose_column, empty, find_problem, no_such_column

RESERVED = ("id", "embedding", "text")


@dataclass(frozen=True, slots=True)
class Columns:
    """Which columns hold the texts (None: the only one) and the ids (None: rows are numbered).

    All others are carried through, and the texts themselves where `keep_text` says so.
    """

    text: str | None = None
    id: str | None = None
    keep_text: bool = False


@dataclass(frozen=True, slots=True)
class CorpusFile:
    """A file that was read through and found good. `column` is that of its texts."""

    path: str
    size_bytes: int
    modified_ns: int
    sha256: str
    column: str
    rows: int


@dataclass(frozen=True, slots=True)
class Shard:
    """Rows `first_row` and following: their texts, and a pyarrow Table of the columns beside them."""

    index: int
    first_row: int
    texts: list[str]
    carried: Any


@dataclass(frozen=True, slots=True)
class Corpus:
    """Files in order, all good, and the pyarrow Schema of the columns that are carried through."""

    files: tuple[CorpusFile, ...]
    columns: Columns
    schema: Any
    shard_rows: int

    @property
    def rows(self) -> int:
        """The rows of all files together."""
        return sum(file.rows for file in self.files)

    @property
    def shard_count(self) -> int:
        """How many shards the rows make: all of `shard_rows`, but for the last."""
        return -(-self.rows // self.shard_rows)

    def shards(self, wanted: Collection[int]) -> Iterator[Shard]:
        """Those shards in order; what none of them needs is skipped. Raises DatasetError.

        A shard is the same whichever others are wanted.
        """
        size, total = self.shard_rows, self.rows
        pieces: list[Any] = []
        row = 0
        for file in self.files:
            start, end = row, row + file.rows
            needed = (shard for shard in range(start // size, (end - 1) // size + 1) if shard in wanted)
            first = next(needed, None)
            if first is None:
                row = end
                continue
            row = max(start, first * size)
            for table in self._read(file, row - start):
                while len(table):
                    shard = row // size
                    taken = min(len(table), (shard + 1) * size - row)
                    if shard in wanted:
                        pieces.append(table.slice(0, taken))
                    table = table.slice(taken)
                    row += taken
                    if pieces and (row % size == 0 or row == total):
                        yield self._shard(shard, pieces)
                        pieces = []
            if row != end:
                raise _changed(file)

    def _read(self, file: CorpusFile, skip: int) -> Iterator[Any]:
        """Tables of the corpus's schema, and before it the texts."""
        import pyarrow

        _require_unchanged(file)
        names = ["", *self.schema.names]
        for block in read_blocks(file.path, skip):
            columns = [block.array(file.column, pyarrow.string())]
            columns += [block.array(field.name, field.type) for field in self.schema]
            yield pyarrow.table(columns, names)
        _require_unchanged(file)

    def _shard(self, index: int, pieces: list[Any]) -> Shard:
        import pyarrow

        # In one piece: how a table is divided would show in the bytes of its Parquet file.
        table = pyarrow.concat_tables(pieces).combine_chunks()
        first_row = index * self.shard_rows
        texts, carried = table.column(0), table.remove_column(0)
        at = 0
        if self.columns.id is None:
            numbers = pyarrow.array(range(first_row, first_row + len(table)), pyarrow.int64())
            carried = carried.add_column(0, "id", numbers)
        else:
            at = carried.schema.get_field_index(self.columns.id)
            ids = carried.column(at)
            carried = carried.remove_column(at).add_column(0, "id", ids)
        if self.columns.keep_text:
            carried = carried.add_column(1, "text", texts)
        return Shard(index, first_row, texts.to_pylist(), carried)


def find_files(inputs: Sequence[str], leave_out: Path) -> list[str]:
    """The files of a corpus in natural order: a2 before a10. Each once.

    An input is a file, a folder (its files of a known kind, however deep, but for names that start
    with "." or "_", and nothing in the folder `leave_out`), or a pattern of these. Raises
    DatasetError where an input leads to no file.
    """
    found: dict[Path, str] = {}
    for given in inputs:
        if given == STANDARD_INPUT:
            raise DatasetError("a corpus cannot come from standard input, which is read once: give files")
        # Path.glob takes no absolute pattern.
        names = [given] if _exists(given) else glob.glob(given, recursive=True)  # noqa: PTH207
        files = [file for name in names for file in (_within(Path(name)) if Path(name).is_dir() else [name])]
        if not files:
            kinds = f"{', '.join(EXTENSIONS)}, also with .gz"
            none = f"no file of a known kind ({kinds}) in {given}" if names else f"there is no file {given}"
            raise DatasetError(none)
        for file in files:
            resolved = Path(file).resolve()
            if leave_out.resolve() not in resolved.parents:
                found.setdefault(resolved, file)
    return sorted(found.values(), key=_natural)


def scan_corpus(paths: Iterable[str], columns: Columns, shard_rows: int) -> Corpus:
    """Read all files through: digests, columns and their types, and each text.

    Raises DatasetError for the first thing that is wrong, naming the file and the line.
    """
    try:
        import pyarrow
    except ImportError as error:
        raise DatasetError(
            "a folder of embeddings needs pyarrow, which is not installed: pip install 'minilmx[datasets]'"
        ) from error
    schema = pyarrow.schema([])
    files = []
    for path in paths:
        file, schema = _scan(path, columns, schema)
        files.append(file)
    if columns.id is not None and columns.id not in schema.names:
        raise DatasetError(f"the column {columns.id} is that of the texts: choose another with --id")
    clashes = [name for name in RESERVED[: 3 if columns.keep_text else 2] if name in schema.names]
    if clashes and clashes[0] != columns.id:
        advice = "give --id id, or rename it" if clashes[0] == "id" else "rename it"
        raise DatasetError(
            f"the input has a column {clashes[0]!r}, as the output has one of its own: {advice}"
        )
    return Corpus(tuple(files), columns, schema, shard_rows)


def _scan(path: str, columns: Columns, schema: Any) -> tuple[CorpusFile, Any]:
    if file_kind(path) not in EXTENSIONS:
        next(read_rows(path))  # which says what is wrong
    try:
        status, digest = Path(path).stat(), sha256_of_files([Path(path)])[0]
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror or error}") from error
    names: dict[str, None] = {}
    bad: tuple[int, object] | None = None
    count, column = 0, columns.text or ""
    for block in read_blocks(path):
        count += len(block)
        names.update(dict.fromkeys(block.columns))
        column = column or next((name for name in names if name != columns.id), "")
        for line, value in zip(block.lines, block.values(column), strict=True) if bad is None else ():
            if find_problem(path, line, column, value):
                bad = line, value
                break
        schema = block.widen(schema, [name for name in block.columns if name != column])
    if not count:
        raise empty(path)
    column = choose_column(path, tuple(n for n in names if columns.text or n != columns.id), columns.text)
    if columns.id is not None and columns.id not in names:
        raise no_such_column(path, columns.id, tuple(names))
    if bad and (problem := find_problem(path, bad[0], column, bad[1])):
        raise problem
    return CorpusFile(path, status.st_size, status.st_mtime_ns, digest, column, count), schema


def _require_unchanged(file: CorpusFile) -> None:
    try:
        status = Path(file.path).stat()
    except OSError as error:
        raise DatasetError(f"{file.path} cannot be read: {error.strerror or error}") from error
    if (status.st_size, status.st_mtime_ns) != (file.size_bytes, file.modified_ns):
        raise _changed(file)


def _changed(file: CorpusFile) -> DatasetError:
    return DatasetError(f"{file.path} was changed while it was read: start again with --force")


def _exists(path: str) -> bool:
    try:
        return Path(path).exists()
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror or error}") from error


def _within(folder: Path) -> list[str]:
    """The files of a known kind in a folder, however deep."""
    return [
        str(path)
        for path in folder.rglob("*")
        if path.is_file()
        and file_kind(str(path)) in EXTENSIONS
        and not any(part.startswith((".", "_")) for part in path.relative_to(folder).parts)
    ]


def _natural(path: str) -> tuple[list[int | str], str]:
    """Numbers in names by their value."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", path)], path
