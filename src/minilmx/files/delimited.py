"""The rows of CSV and TSV files."""

import csv
import re
from collections.abc import Iterator
from itertools import chain

from minilmx.errors import DatasetError
from minilmx.files.formats import MAX_CHARACTERS, TextFormat, place


def read_delimited(
    path: str, lines: Iterator[str], kind: str, text_format: TextFormat
) -> Iterator[tuple[int, list[str]]]:
    """The line and the values of each row of a CSV or TSV file, the header's first."""
    csv.field_size_limit(MAX_CHARACTERS)  # the default is 128 KiB
    blank, header = 0, next(lines, "")
    while header.isspace():
        blank, header = blank + 1, next(lines, "")
    delimiter = text_format.delimiter or ("\t" if kind == ".tsv" else _delimiter_in(header))
    unquoted = text_format.quoting == "none" or (
        text_format.quoting is None and delimiter == "\t" and not _is_quoted(header, delimiter)
    )
    is_doubtful = unquoted and text_format.quoting is None
    reader = csv.reader(
        chain([header], lines),
        delimiter=delimiter,
        quoting=csv.QUOTE_NONE if unquoted else csv.QUOTE_MINIMAL,
        strict=True,
    )
    line, fields = blank + 1, None
    try:
        for values in reader:
            fields = len(values) if fields is None else fields
            if len(values) != fields:
                if not values or (len(values) == 1 and not values[0].strip()):
                    line = blank + reader.line_num + 1  # a blank line is not a row
                    continue
                raise DatasetError(
                    f"{place(path, line)}: {len(values)} fields; expected {fields}, as in the first row",
                    "Fix it, or set the file's delimiter and quoting.",
                )
            if is_doubtful and '"' in "".join(values):
                _refuse_quotes(path, line, values)
            yield line, values
            line = blank + reader.line_num + 1
    except csv.Error as error:
        raise DatasetError(
            f"{place(path, line)}: not valid CSV: {error}", "Fix it, or set the file's delimiter and quoting."
        ) from error


def _delimiter_in(header: str) -> str:
    """What delimits the names in the first line of a CSV file."""
    names = re.sub('"[^"]*"', "", header)
    return next((each for each in ",;\t" if each in names), ",")


def _is_quoted(header: str, delimiter: str) -> bool:
    """Whether all names in the first line are in double quotes."""
    names = header.rstrip("\r\n").split(delimiter)
    return all(len(name) > 1 and name[0] == name[-1] == '"' for name in names)


def _refuse_quotes(path: str, line: int, values: list[str]) -> None:
    """Raise DatasetError for a value that only a writer of quoted fields makes: "say ""no\""."""
    for value in values:
        if value[:1] == value[-1:] == '"' and (
            value == '""' or ('""' in value[1:-1] and '"' not in value[1:-1].replace('""', ""))
        ):
            raise DatasetError(
                f"{place(path, line)}: the field {value[:80]!r} is in double quotes; expected a TSV file "
                "without quoting",
                "Set the file's quoting: csv, or none if the quotes belong to the text.",
            )
