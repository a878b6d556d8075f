"""Graded sentence pairs: the bundled ones, a hub data set or a file."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from itertools import compress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from minilmx.errors import DatasetError
from minilmx.eval.datasets.hub import STSB, STSB_LANGUAGES, read_hub
from minilmx.eval.datasets.mteb_task import PREFIX, read_task
from minilmx.files.formats import BY_NAME, DELIMITED, EXTENSIONS, TextFormat, file_kind, place
from minilmx.files.opening import is_read_once
from minilmx.files.tables import Table, read_table
from minilmx.models.hub_names import is_hub_id
from minilmx.progress import SILENT, Progress
from minilmx.wording import counted

BUNDLED = "bundled"

_SENTENCE1, _SENTENCE2 = "sentence1", "sentence2"
_SPLIT = "split"
_SCORES = ("similarity_score", "score", "label")
_ANY_SCORE = f"one of {', '.join(_SCORES)}"


@dataclass(frozen=True, slots=True)
class PairColumns:
    """Which columns hold the two texts and the score of a pair.

    None: sentence1 and sentence2, and the first of similarity_score, score and label.
    """

    texts: tuple[str, str] | None = None
    score: str | None = None


BY_DEFAULT = PairColumns()


@dataclass(frozen=True, slots=True)
class SentencePairs:
    """N sentence pairs with gold similarity, float64 [N]: on any scale, higher means more alike.

    `revision` is the commit of a hub data set; None for other data, and offline if it is not pinned.
    """

    name: str
    revision: str | None
    language: str | None
    split: str | None
    sentences1: list[str]
    sentences2: list[str]
    gold: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.gold)

    @property
    def texts(self) -> list[str]:
        """2N texts: all first sentences, then all second sentences."""
        return self.sentences1 + self.sentences2

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """The N pairs, each with its first sentence before its second."""
        return list(zip(self.sentences1, self.sentences2, strict=True))


def load_pairs(
    dataset: str,
    language: str | None = None,
    split: str | None = None,
    limit: int | None = None,
    text_format: TextFormat = BY_NAME,
    columns: PairColumns = BY_DEFAULT,
    progress: Progress = SILENT,
) -> SentencePairs:
    """Load pairs by name ("bundled", "stsb", "mteb:TASK" or a hub id "org/name") or from a file.

    `language` is for hub data sets and tasks of mteb; stsb's default is English. `split` chooses a split of
    these, by default test, or the rows of a file whose column "split" has this value; a
    file with several splits needs it. `limit` keeps only the first pairs, and `text_format` is for files. How
    many rows were read is reported to `progress`. Raises DatasetError if the data set does not exist, if its
    rows are not pairs with a score, or if their scores cannot be ranked.
    """
    revision = None
    is_task = dataset.startswith(PREFIX)
    is_file = dataset not in (BUNDLED, STSB) and not is_task and not _is_hub_id(dataset)
    text_format.require_used([dataset] if is_file else [])
    if dataset == BUNDLED:
        _refuse(dataset, "it is in English and has one split", language not in (None, "en"), split)
        path = str(resources.files(__package__) / "pairs.csv")
        table, language = read_table(path), "en"
    elif is_task:
        table, revision, split = read_task(dataset, language, split)
    elif not is_file:
        if dataset == STSB:
            language = language or "en"
        split = split or "test"
        table, revision = read_hub(dataset, language, split)
    else:
        if not Path(dataset).suffix:
            raise DatasetError(
                f"unknown data set {dataset!r}; expected {BUNDLED}, {STSB}, a hub id (org/name), mteb:TASK "
                "or a CSV, TSV, JSONL or Parquet file"
            )
        _refuse(dataset, "it is a file", language, None)
        table = _read_file(dataset, text_format, columns)
    rows = len(table.lines)
    if is_file:
        table, split = _choose_split(table, split)
    pairs = _as_pairs(dataset, revision, language, split, table, limit, columns)
    chosen = f", {len(table.lines)} of them with the split {split}" if len(table.lines) < rows else ""
    used = f"; the first {len(pairs)} are used" if len(pairs) < len(table.lines) else ""
    progress.message(f"{pairs.name}: {counted(rows, 'row')} read{chosen}{used}")
    return pairs


def require_limit(pairs: SentencePairs, limit: int | None) -> None:
    """Refuse a limit that keeps every pair, because it changes nothing. Raises DatasetError."""
    if limit is not None and len(pairs) < limit:
        raise DatasetError(
            f"{pairs.name}: {counted(len(pairs), 'pair')}, fewer than the limit of {limit}; expected at "
            "least as many",
            unused=True,
        )


def expand_languages(dataset: str, languages: Sequence[str]) -> Sequence[str | None]:
    """The languages to load: those given, all of stsb's for "all", or the data set's default."""
    if "all" in languages:
        if dataset != STSB:
            raise DatasetError(f'the language "all" is only for {STSB}', f"Name the languages of {dataset}.")
        return STSB_LANGUAGES
    return list(dict.fromkeys(languages)) or [None]


def _is_hub_id(dataset: str) -> bool:
    """Whether this is org/name, and not a path, not even a mistyped one."""
    return (
        is_hub_id(dataset)
        and not dataset.endswith("/")
        and file_kind(dataset) not in EXTENSIONS
        and not Path(dataset).exists()
    )


def _refuse(dataset: str, reason: str, language: object, split: object) -> None:
    if language or split:
        option = "language" if language else "split"
        raise DatasetError(f"a {option} cannot be chosen for {dataset}: {reason}", unused=True)


def _read_file(path: str, text_format: TextFormat, columns: PairColumns) -> Table:
    """A file of pairs. Like STSb's, a CSV or TSV file with three columns may lack a header."""
    if is_read_once(path):
        raise DatasetError(f"a data set cannot come from {path}, which can be read only once", "Use a file.")
    table = read_table(path, text_format)
    if columns != BY_DEFAULT:
        return table
    if len(table.names) == 3 and text_format.kind_of(path) in DELIMITED and _is_number(table.names[2]):
        values = [[first, *rest] for first, rest in zip(table.names, table.columns, strict=True)]
        return Table(path, [1, *table.lines], (_SENTENCE1, _SENTENCE2, _SCORES[0]), values)
    return table


def _choose_split(table: Table, split: str | None) -> tuple[Table, str | None]:
    """The rows of one split, and its name. Raises DatasetError for several splits if none is chosen."""
    if _SPLIT not in table.names:
        _refuse(table.path, f"it has no column {_SPLIT!r}", None, split)
        return table, None
    values = [str(value) for value in table.column(_SPLIT)]
    splits = list(dict.fromkeys(values))
    if split is None and len(splits) > 1:
        raise DatasetError(
            f"{table.path} has the splits {', '.join(splits)}; expected one", "Choose one of them."
        )
    split = split or splits[0]
    if split not in splits:
        raise DatasetError(f"{table.path} has no split {split!r}; its splits are {', '.join(splits)}")
    kept = [value == split for value in values]
    columns = [list(compress(column, kept)) for column in table.columns]
    return Table(table.path, list(compress(table.lines, kept)), table.names, columns), split


def _as_pairs(
    dataset: str,
    revision: str | None,
    language: str | None,
    split: str | None,
    table: Table,
    limit: int | None,
    columns: PairColumns,
) -> SentencePairs:
    one, other = columns.texts or (_SENTENCE1, _SENTENCE2)
    score = columns.score or next((name for name in _SCORES if name in table.names), None)
    if one == other:
        raise DatasetError(f"both texts of a pair come from the column {one!r}; expected two columns")
    if score is None or (columns.texts is None and not {one, other} <= set(table.names)):
        raise DatasetError(
            f"{table.path}: the columns {', '.join(map(repr, table.names))}; expected "
            f"{one}, {other} and {columns.score or _ANY_SCORE}",
            "Name the columns of the texts and of the score.",
        )
    first, second = table.texts(one), table.texts(other)
    gold = np.array(
        [
            _score(table.path, line, value)
            for line, value in zip(table.lines, table.column(score), strict=True)
        ],
        dtype=np.float64,
    )
    pairs = SentencePairs(
        Path(dataset).name if Path(dataset).suffix else dataset,
        revision,
        language,
        split,
        first[:limit],
        second[:limit],
        gold[:limit],
    )
    if len(pairs) < 2:
        raise DatasetError(f"{dataset}: one pair; expected at least two, for a Spearman correlation")
    if np.ptp(pairs.gold) == 0:
        raise DatasetError(
            f"{dataset}: all {len(pairs)} pairs have the score {pairs.gold[0]:g}; expected different scores, "
            "for a Spearman correlation"
        )
    return pairs


def _score(path: str, line: int, value: object) -> float:
    if not _is_number(value):
        raise DatasetError(f"{place(path, line)}: the score is {value!r}; expected a number")
    return float(value)  # type: ignore[arg-type] # checked just above


def _is_number(value: object) -> bool:
    try:
        # True and False are numbers in Python, but not scores.
        return not isinstance(value, bool) and math.isfinite(float(value))  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return False
