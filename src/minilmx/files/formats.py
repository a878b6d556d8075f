"""How a file is read: as its name says, unless the user says otherwise."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from minilmx.errors import DatasetError

STANDARD_INPUT = "-"
EXTENSIONS = (".txt", ".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".parquet")
COMPRESSIONS = (".gz", ".bz2", ".zst")
KINDS = ("txt", "csv", "tsv", "jsonl", "json")  # that can be stated
DELIMITED = (".csv", ".tsv")
MAX_CHARACTERS = 2**26  # of a line, a field or a JSON object


@dataclass(frozen=True, slots=True)
class TextFormat:
    """How a file of texts is read, if its name does not say so.

    `kind` is "txt", "csv", "tsv", "jsonl" or "json". `delimiter` is the character between the fields of
    a CSV or TSV file; by default a tab in TSV and, in CSV, the one in the first line: a comma, a semicolon
    or a tab. `quoting` is "csv" if fields may be in double quotes, or "none" if a double quote is a
    character like any other; by default "none" for fields that tabs delimit, unless the names in the first
    line are quoted, and otherwise "csv". Raises DatasetError for other values.

    Example:
        >>> minilmx.TextFormat(delimiter=";").delimiter
        ';'
    """

    kind: str | None = None
    delimiter: str | None = None
    quoting: str | None = None

    def __post_init__(self) -> None:
        if self.kind not in (None, *KINDS):
            raise DatasetError(f"the format is {self.kind!r}; expected one of {', '.join(KINDS)}")
        if self.delimiter is not None and (len(self.delimiter) != 1 or self.delimiter in '"\r\n'):
            raise DatasetError(f"the delimiter is {self.delimiter!r}; expected one character")
        if self.quoting not in (None, "csv", "none"):
            raise DatasetError(f"the quoting is {self.quoting!r}; expected csv or none")

    def kind_of(self, path: str) -> str:
        """The extension that decides how a file is read."""
        return f".{self.kind}" if self.kind else file_kind(path)

    def require_used(self, paths: Iterable[str]) -> None:
        """Raise DatasetError if a setting has no effect on any of these files."""
        kinds = dict.fromkeys(map(self.kind_of, paths))
        if self.kind and not kinds:
            raise DatasetError("a format is only for files", "Do not set the format.", unused=True)
        for name in ("delimiter", "quoting"):
            if getattr(self, name) is not None and not set(DELIMITED) & set(kinds):
                raise DatasetError(
                    f"a {name} is only for CSV and TSV files; the input is {', '.join(kinds) or 'no file'}",
                    f"Do not set the {name}.",
                    unused=True,
                )


BY_NAME = TextFormat()


def file_kind(path: str) -> str:
    """The extension that decides how a file is read, without that of its compression."""
    if path == STANDARD_INPUT:
        return ".txt"
    kind = Path(path).suffix.lower()
    if kind in COMPRESSIONS:
        inner = Path(path).with_suffix("").suffix.lower()
        kind = kind if inner == ".parquet" else inner
    return ".jsonl" if kind == ".ndjson" else kind


def too_long(path: str, line: int) -> DatasetError:
    """The error for a line, or a JSON object, that could fill the memory."""
    return DatasetError(
        f"{place(path, line)}: more than {MAX_CHARACTERS:,} characters; expected a shorter row", "Divide it."
    )


def place(path: str, line: int) -> str:
    """How an error names a row."""
    return f"{path}, {'row' if file_kind(path) == '.parquet' else 'line'} {line}"
