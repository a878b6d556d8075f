"""JSON objects as a stream: one per line, or those of one array."""

import json
import re
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from minilmx.errors import DatasetError
from minilmx.files.formats import MAX_CHARACTERS, place, too_long

Record = tuple[int, dict[str, Any]]
_SPACE = re.compile(r"[ \t\n\r]*")
# An error so near to the end of what was read may be only that the rest is missing.
_NEAR_THE_END = 16


def read_jsonl(path: str, lines: Iterable[str]) -> Iterator[Record]:
    """The line and the fields of each object; blank lines are none. Raises DatasetError."""
    for number, line in enumerate(lines, start=1):
        if not line.isspace():
            try:
                record = json.loads(line.rstrip("\r\n"))
            except (ValueError, RecursionError) as error:
                raise _not_json(path, number, error) from error
            yield _object(path, number, record)


def read_json(path: str, pieces: Iterator[str]) -> Iterator[Record]:
    """The line and the fields of each object of an array, or of objects one after another.

    `pieces` are consecutive parts of the text, cut anywhere. Raises DatasetError.
    """
    text = _Text(path, pieces)
    is_array = text.next_is("[")
    closed = is_array and text.next_is("]")
    more = not closed and text.skip_space()
    while more:
        text.skip_space()
        number = text.line
        try:
            record = text.decode()
        except (ValueError, RecursionError) as error:
            raise _not_json(path, number, error) from error
        yield _object(path, number, record)
        closed = is_array and text.next_is("]")
        more = not closed and (text.next_is(",") if is_array else text.skip_space())
    if is_array and not closed:
        raise _not_json(path, text.line, "expected a comma or the end of the array")
    if closed and text.skip_space():
        raise _not_json(path, text.line, "something follows the array")


class _Text:
    """A text that is read piece by piece, and where reading has come to."""

    def __init__(self, path: str, pieces: Iterator[str]) -> None:
        self._path, self._pieces = path, pieces
        self._decoder = json.JSONDecoder()
        self.text, self.at, self.line = "", 0, 1

    def skip_space(self) -> bool:
        """Go to the next character that is not white space; whether there is one."""
        while True:
            self._go_to(_SPACE.match(self.text, self.at).end())  # type: ignore[union-attr] # it matches ""
            if self.at < len(self.text):
                return True
            if not self._read(1):
                return False

    def next_is(self, character: str) -> bool:
        """Whether the next character that is not white space is this one, which is then passed."""
        if self.skip_space() and self.text[self.at] == character:
            self.at += 1
            return True
        return False

    def decode(self) -> Any:
        """The value that starts here, which is then passed.

        Raises ValueError, RecursionError and, for a value that is too long, DatasetError.
        """
        count = 1
        while True:
            try:
                value, end = self._decoder.raw_decode(self.text, self.at)
            except json.JSONDecodeError as error:
                cut = error.msg.startswith("Unterminated") or error.pos > len(self.text) - _NEAR_THE_END
                if cut and len(self.text) - self.at > MAX_CHARACTERS:
                    raise too_long(self._path, self.line) from error
                if not cut or not self._read(count):
                    raise
                count *= 2  # so that a long value is not decoded too often
            else:
                self._go_to(end)
                return value

    def _go_to(self, end: int) -> None:
        self.line += self.text.count("\n", self.at, end)
        self.at = end

    def _read(self, count: int) -> bool:
        more = "".join(islice(self._pieces, count))
        self.text, self.at = self.text[self.at :] + more, 0
        return bool(more)


def _object(path: str, line: int, record: Any) -> Record:
    if not isinstance(record, dict):
        raise DatasetError(f"{place(path, line)}: {type(record).__name__}; expected a JSON object")
    return line, record


def _not_json(path: str, line: int, reason: object) -> DatasetError:
    return DatasetError(f"{place(path, line)}: not JSON: {reason}")
