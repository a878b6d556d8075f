"""A corpus: the rows of many files in one fixed order, cut into shards."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from minilmx.embedding.corpus.columns import as_array, widen
from minilmx.errors import DatasetError
from minilmx.files.formats import BY_NAME, TextFormat
from minilmx.files.opening import import_pyarrow, state_of
from minilmx.files.readers import Block, read_blocks
from minilmx.files.texts import ERROR, SKIP, is_empty, no_rows, require_on_empty, scan


@dataclass(frozen=True, slots=True)
class Reading:
    """How the rows of a corpus are read.

    `text` is the column with the texts (None: the only one), `id` the one with the ids (None: the rows
    are numbered). All other columns are carried over; the texts too if `keep_text`. `on_empty` says what
    becomes of a row without a text: "error", "skip" or "null".
    """

    text: str | None = None
    id: str | None = None
    keep_text: bool = False
    text_format: TextFormat = BY_NAME
    on_empty: str = ERROR


@dataclass(frozen=True, slots=True)
class CorpusFile:
    """A file that was read through without a problem.

    `column` holds its texts. `rows` counts the rows that are embedded; its first row of all has the number
    `first_number` in the corpus. `empty_rows` and `empty_lines` are as in Scan.
    """

    path: str
    size_bytes: int
    state: int
    sha256: str
    column: str
    rows: int
    first_number: int
    empty_rows: tuple[int, ...]
    empty_lines: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Shard:
    """The rows from `first_row` on: their texts, and a pyarrow Table of the other columns.

    A text is "" if the row has none and its embedding is null.
    """

    index: int
    first_row: int
    texts: list[str]
    carried: Any


@dataclass(frozen=True, slots=True)
class Corpus:
    """Checked files in order, and the pyarrow Schema of the columns that are carried over."""

    files: tuple[CorpusFile, ...]
    reading: Reading
    schema: Any
    shard_rows: int

    @property
    def rows(self) -> int:
        """The number of rows to embed in all files."""
        return sum(file.rows for file in self.files)

    @property
    def shard_count(self) -> int:
        """The number of shards; each has `shard_rows` rows, except perhaps the last."""
        return -(-self.rows // self.shard_rows)

    def shards(self, numbers: Collection[int]) -> Iterator[Shard]:
        """The shards with these numbers, in order. Raises DatasetError.

        Rows that none of them needs are skipped. A shard does not depend on which others are asked for.
        """
        size, total = self.shard_rows, self.rows
        pieces: list[Any] = []
        row = 0
        for file in filter(lambda file: file.rows, self.files):
            start, end = row, row + file.rows
            needed = (shard for shard in range(start // size, (end - 1) // size + 1) if shard in numbers)
            first = next(needed, None)
            if first is None:
                row = end
                continue
            row = max(start, first * size)
            for table in self._read(file, row - start):
                while len(table):
                    shard = row // size
                    count = min(len(table), (shard + 1) * size - row)
                    if shard in numbers:
                        pieces.append(table.slice(0, count))
                    table = table.slice(count)
                    row += count
                    if pieces and (row % size == 0 or row == total):
                        yield self._shard(shard, pieces)
                        pieces = []
            if row != end:
                raise _changed(file)

    def _read(self, file: CorpusFile, skip: int) -> Iterator[Any]:
        """Tables of the texts and the rows' numbers, then the columns of the corpus's schema.

        Without the first `skip` rows of those that are embedded.
        """
        import pyarrow

        _require_unchanged(file)
        names = ["", "", *self.schema.names]
        left_out = set(file.empty_rows) if self.reading.on_empty == SKIP else set()
        row = skip
        for empty in sorted(left_out):
            row += empty <= row
        for block in read_blocks(file.path, row, text_format=self.reading.text_format):
            rows = range(row, row + len(block))
            first = file.first_number + row
            numbers = pyarrow.array(range(first, first + len(block)), pyarrow.int64())
            columns = [as_array(block, file.column, pyarrow.string()), numbers]
            columns += [as_array(block, field.name, field.type) for field in self.schema]
            table = pyarrow.table(columns, names)
            if left_out and not left_out.isdisjoint(rows):
                table = table.filter(pyarrow.array([each not in left_out for each in rows]))
            yield table
            row += len(block)
        _require_unchanged(file)

    def _shard(self, index: int, pieces: list[Any]) -> Shard:
        import pyarrow

        # In one piece: a Parquet file's bytes depend on how its table is divided.
        table = pyarrow.concat_tables(pieces).combine_chunks()
        first_row = index * self.shard_rows
        texts, numbers = table.column(0), table.column(1)
        carried = table.remove_column(1).remove_column(0)
        if self.reading.id is None:
            carried = carried.add_column(0, "id", numbers)
        else:
            at = carried.schema.get_field_index(self.reading.id)
            ids = carried.column(at)
            carried = carried.remove_column(at).add_column(0, self.reading.id, ids)
        if self.reading.keep_text:
            carried = carried.add_column(1, "text", texts)
        return Shard(
            index, first_row, ["" if is_empty(text) else text for text in texts.to_pylist()], carried
        )


def scan_corpus(paths: Sequence[str], reading: Reading, shard_rows: int) -> Corpus:
    """Read through all files once: their digests, columns, types and texts.

    Raises DatasetError for the first problem, naming the file and the line.
    """
    pyarrow = import_pyarrow("a folder of embeddings")
    require_on_empty(reading.on_empty)
    reading.text_format.require_used(paths)
    schema = pyarrow.schema([])

    def add_columns(block: Block, texts: str) -> None:
        nonlocal schema
        schema = widen(schema, block, [name for name in block.names if name != texts])

    files: list[CorpusFile] = []
    number = 0
    for path in paths:
        before = state_of(path)
        scanned = scan(path, reading.text, reading.id, add_columns, reading.text_format, reading.on_empty)
        rows = scanned.rows - (len(scanned.empty_rows) if reading.on_empty == SKIP else 0)
        empty = scanned.empty_rows, scanned.empty_lines
        files.append(CorpusFile(path, *before, scanned.sha256, scanned.column, rows, number, *empty))
        number += scanned.rows
    if not any(file.rows for file in files):
        raise no_rows(", ".join(paths[:3]) + ", ..." * (len(paths) > 3))
    _require_distinct_names(reading, schema)
    return Corpus(tuple(files), reading, schema, shard_rows)


def _require_distinct_names(reading: Reading, schema: Any) -> None:
    """Raise DatasetError if the output would have two columns of one name.

    Upper and lower case do not make two names: DuckDB and Spark take them for one.
    """
    if reading.id is not None and reading.id not in schema.names:
        raise DatasetError(
            f"the column {reading.id} holds the texts; expected another column for the ids",
            "Name another column.",
        )
    added = {"id": reading.id is None, "embedding": True, "text": reading.keep_text}
    clashes = [name for name in schema.names if added.get(name.casefold())]
    if clashes:
        columns = "a column" if len(clashes) == 1 else "the columns"
        hint = "Rename it." if len(clashes) == 1 else "Rename them."
        if any(name.casefold() == "id" for name in clashes):
            hint = f"{hint[:-1]}, or choose the column of the ids."
        raise DatasetError(
            f"the input has {columns} {', '.join(map(repr, clashes))}; expected no column with a name that "
            "the output adds",
            hint,
        )


def _require_unchanged(file: CorpusFile) -> None:
    if state_of(file.path) != (file.size_bytes, file.state):
        raise _changed(file)


def _changed(file: CorpusFile) -> DatasetError:
    return DatasetError(f"{file.path} was changed while it was read", "Start over.")
