"""What a comparison embeds: the texts of a file, or a sample of them, graded pairs, or a search."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minilmx.eval.datasets.pairs import SentencePairs
from minilmx.eval.datasets.search import SearchTexts
from minilmx.files.readers import Block
from minilmx.files.texts import no_id, no_rows, require_no_column, scan

SAMPLE_SEED = 0
_ID, _LANGUAGE = "id", "language"


@dataclass(frozen=True, slots=True)
class Sample:
    """Which texts of a file are compared, if not all: the numbers of their rows, from 0, int64 [N] in order.

    `total` is how many texts the file has.
    """

    rows: NDArray[np.int64]
    total: int
    seed: int


@dataclass(frozen=True, slots=True)
class Inputs:
    """The N texts that are embedded, with the name of their file or data set.

    `ids` and `languages` are those of the rows, if the file states them; `sample` says which of the file's
    texts these are, if not all. `pairs` are the graded pairs, or `search` the queries and documents, that the
    texts are, if they are such.
    """

    name: str
    texts: Sequence[str]
    ids: Sequence[str] | None = None
    languages: Sequence[str | None] | None = None
    sample: Sample | None = None
    pairs: SentencePairs | None = None
    search: SearchTexts | None = None

    @property
    def total(self) -> int:
        """How many texts there are, also those that a sample left out."""
        return len(self.texts) if self.sample is None else self.sample.total


def read_inputs(path: str, column: str | None = None, sample: int | None = None) -> Inputs:
    """The texts of a file, with its columns `id` and `language` if it has them. Raises DatasetError.

    `column` holds the texts; it may be omitted if there is only one beside these two. With `sample`, so many
    texts are drawn, each with the same chance, while the file is read through once: memory does not grow with
    the file.
    """
    require_no_column(path, column)
    draw = _Draw(sample)
    scanned = scan(path, column, beside=(_ID, _LANGUAGE), inspect=draw.add, hint="Fill it in or remove it.")
    if not scanned.rows:
        raise no_rows(path)
    rows = sorted(draw.kept.values(), key=lambda each: each.number)
    stated = draw.names - {scanned.column}
    for each in rows if _ID in stated else ():
        if each.id is None:
            raise no_id(path, each.line, _ID)
    numbers = np.array([each.number for each in rows], dtype=np.int64)
    return Inputs(
        name=Path(path).name,
        texts=[each.text for each in rows],
        ids=[str(each.id) for each in rows] if _ID in stated else None,
        languages=[_label(each.language) for each in rows] if _LANGUAGE in stated else None,
        sample=Sample(numbers, scanned.rows, SAMPLE_SEED) if len(rows) < scanned.rows else None,
    )


@dataclass(frozen=True, slots=True)
class _Row:
    number: int
    line: int
    text: str
    id: Any
    language: Any


class _Draw:
    """Draws `size` rows of a file while it is read, or all (Vitter's algorithm R, equal chances)."""

    def __init__(self, size: int | None) -> None:
        self.kept: dict[int, _Row] = {}  # by the place that a later row may take
        self.names: set[str] = set()
        self._size = size
        self._rows = 0
        self._random = np.random.default_rng(SAMPLE_SEED)

    def add(self, block: Block, column: str) -> None:
        """The next rows of the file, whose texts are in `column`."""
        self.names.update(block.names)
        numbers = np.arange(self._rows, self._rows + len(block))
        self._rows += len(block)
        places = numbers
        if self._size is not None:
            # Drawn for every row, so that the sample does not depend on the sizes of the blocks.
            drawn = (self._random.random(len(block)) * (numbers + 1)).astype(np.int64)
            places = np.where(numbers < self._size, numbers, drawn)
        chosen = np.flatnonzero(places < (self._size or self._rows))
        columns = (block.chosen(name, chosen) for name in (column, _ID, _LANGUAGE))
        for at, *values in zip(chosen.tolist(), *columns, strict=True):
            self.kept[int(places[at])] = _Row(int(numbers[at]), block.lines[at], *values)


def _label(language: Any) -> str | None:
    """A row's language; None if it states none."""
    return None if language is None or not str(language).strip() else str(language)
