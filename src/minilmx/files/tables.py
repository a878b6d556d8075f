"""Whole files as tables: a list for each column."""

from dataclasses import dataclass
from itertools import chain
from typing import Any

from minilmx.files.formats import BY_NAME, TextFormat
from minilmx.files.readers import read_blocks
from minilmx.files.texts import bad_text, is_empty, is_text, no_id, no_rows, no_such_column


@dataclass(frozen=True, slots=True)
class Table:
    """A file as a list for each of its columns. `lines` is where each row starts in the file."""

    path: str
    lines: list[int]
    names: tuple[str, ...]
    columns: list[list[Any]]

    def column(self, name: str) -> list[Any]:
        """The values of one column. Raises DatasetError if it does not exist."""
        if name not in self.names:
            raise no_such_column(self.path, name, self.names)
        return self.columns[self.names.index(name)]

    def ids(self, name: str) -> list[str]:
        """One column as text. Raises DatasetError, naming the line, for null."""
        values = self.column(name)
        for line, value in zip(self.lines, values, strict=True):
            if value is None:
                raise no_id(self.path, line, name)
        return list(map(str, values))

    def texts(self, name: str) -> list[str]:
        """One column as non-empty texts. Raises DatasetError, naming the line."""
        values = self.column(name)
        for line, value in zip(self.lines, values, strict=True):
            if not is_text(value):
                count = sum(map(is_empty, values)) if is_empty(value) else 1
                raise bad_text(self.path, line, name, value, count)
        return values


def read_table(path: str, text_format: TextFormat = BY_NAME) -> Table:
    """Read a whole file. Raises DatasetError if it cannot be read or is empty."""
    blocks = list(read_blocks(path, text_format=text_format))
    if not blocks:
        raise no_rows(path)
    names = tuple(blocks[0].names)
    if all(tuple(block.names) == names for block in blocks):  # by position: names may occur twice
        parts = [[block.listed(column) for column in block.columns] for block in blocks]
    else:
        names = tuple(dict.fromkeys(name for block in blocks for name in block.names))
        parts = [[block.values(name) for name in names] for block in blocks]
    columns = [list(chain(*column)) for column in zip(*parts, strict=True)]
    return Table(path, [line for block in blocks for line in block.lines], names, columns)
