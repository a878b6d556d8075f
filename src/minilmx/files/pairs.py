"""Pairs of texts from files: CSV, TSV, JSON, JSONL and Parquet."""

from collections.abc import Iterator
from dataclasses import dataclass

from minilmx.errors import DatasetError
from minilmx.files.formats import BY_NAME, TextFormat
from minilmx.files.opening import is_read_once
from minilmx.files.readers import read_blocks
from minilmx.files.texts import bad_text, is_text, no_rows, no_such_column

COLUMNS = ("sentence1", "sentence2")
_NAME_THEM = "Name the columns of the two texts."
_NAME_THE_FORMAT = "Standard input is text, unless its format is named."


@dataclass(frozen=True, slots=True)
class Pairs:
    """Pairs to score, read from their file on each iteration.

    `columns` hold the two texts. `count` is how many pairs there are; None for standard input and pipes,
    which can be read only once.
    """

    path: str
    columns: tuple[str, str]
    text_format: TextFormat = BY_NAME
    count: int | None = None

    def __iter__(self) -> Iterator[tuple[str, str]]:
        """The pairs in order. Raises DatasetError, naming the line."""
        is_empty = True
        is_text_alone = self.path == "-" and self.text_format.kind_of(self.path) == ".txt"
        hint = _NAME_THE_FORMAT if is_text_alone else _NAME_THEM
        for block in read_blocks(self.path, text_format=self.text_format):
            names = tuple(block.names)
            for name in self.columns:
                if name not in names:
                    raise no_such_column(self.path, name, names, hint)
            one, other = self.columns
            for line, *texts in zip(block.lines, block.values(one), block.values(other), strict=True):
                for name, text in zip(self.columns, texts, strict=True):
                    if not is_text(text):
                        raise bad_text(self.path, line, name, text)
                is_empty = False
                yield texts[0], texts[1]
        if is_empty:
            raise no_rows(self.path)


def open_pairs(path: str, columns: tuple[str, str] | None = None, text_format: TextFormat = BY_NAME) -> Pairs:
    """Pairs of texts from a file, a URL or standard input ("-"); `columns` None is sentence1 and sentence2.

    The file is read through once here, so that a bad row is reported before any work. Raises DatasetError,
    naming the line.
    """
    one, other = columns or COLUMNS
    if one == other:
        raise DatasetError(f"both texts of a pair come from the column {one!r}; expected two columns")
    text_format.require_used([path])
    pairs = Pairs(path, (one, other), text_format)
    return pairs if is_read_once(path) else Pairs(path, (one, other), text_format, sum(1 for _ in pairs))
