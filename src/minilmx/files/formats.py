"""How a file is read: as its name says, unless the user says otherwise."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from minilmx.errors import DatasetError

STANDARD_INPUT = "-"
EXTENSIONS = (".txt", ".csv", ".tsv", ".jsonl", ".parquet")
DELIMITED = (".csv", ".tsv")


@dataclass(frozen=True, slots=True)
class TextFormat:
    """How a file of texts is read, if its name does not say it.

    `delimiter` is the character between the fields of a CSV or TSV file; by default a tab in TSV and,
    in CSV, the one in the first line: a comma, a semicolon or a tab. `quoting` is "csv" if fields may be
    in double quotes, or "none" if a double quote is a character like any other; by default "none" for
    fields that tabs delimit, unless the names in the first line are quoted, and otherwise "csv".
    Raises DatasetError for other values.

    Example:
        >>> TextFormat(delimiter=";").delimiter
        ';'
    """

    delimiter: str | None = None
    quoting: str | None = None

    def __post_init__(self) -> None:
        if self.delimiter is not None and (len(self.delimiter) != 1 or self.delimiter in '"\r\n'):
            raise DatasetError(f"the delimiter is {self.delimiter!r}; expected one character")
        if self.quoting not in (None, "csv", "none"):
            raise DatasetError(f"the quoting is {self.quoting!r}; expected csv or none")

    def kind(self, path: str) -> str:
        """The extension that decides how a file is read."""
        return file_kind(path)

    def require_used(self, paths: Iterable[str]) -> None:
        """Raise DatasetError if a setting does nothing for any of these files."""
        kinds = dict.fromkeys(map(self.kind, paths))
        for name in ("delimiter", "quoting"):
            if getattr(self, name) is not None and not set(DELIMITED) & set(kinds):
                raise DatasetError(
                    f"a {name} is only for CSV and TSV files; the input is {', '.join(kinds) or 'no file'}",
                    f"Do not set the {name}.",
                )


BY_NAME = TextFormat()


def file_kind(path: str) -> str:
    """The extension that decides how a file is read, without .gz."""
    if path == STANDARD_INPUT:
        return ".txt"
    kind = Path(path).suffix.lower()
    if kind == ".gz":
        kind = Path(path).with_suffix("").suffix.lower()
        return ".gz" if kind == ".parquet" else kind
    return kind


def place(path: str, line: int) -> str:
    """How an error names a row."""
    return f"{path}, {'row' if file_kind(path) == '.parquet' else 'line'} {line}"
