"""What the public functions are given: names, and checks before they work (TypeError and ValueError)."""

from collections.abc import Collection, Mapping, Sequence, Set, Sized
from enum import Enum


class StrEnum(str, Enum):
    """Names that are strings: enum.StrEnum, which Python 3.10 does not have."""

    __str__ = str.__str__


def require_strings(what: str, values: Sequence[str]) -> None:
    """Raise TypeError unless `values` is a sequence of strings, which one string and a set are not.

    Raises ValueError for a string that is not Unicode text.
    """
    if isinstance(values, str | bytes):
        raise TypeError(f"{what}: one {type(values).__name__}; expected a sequence of strings")
    if isinstance(values, Set | Mapping) or not isinstance(values, Sized):
        raise TypeError(f"{what}: {type(values).__name__}; expected a sequence of strings")
    for number, value in enumerate(values):
        if not isinstance(value, str):
            raise TypeError(f"{what}[{number}]: {type(value).__name__}; expected str")
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise ValueError(f"{what}[{number}]: half of a surrogate pair; expected Unicode text") from error


def require_pairs(what: str, values: Sequence[Sequence[str]]) -> None:
    """Raise TypeError unless `values` is a sequence of pairs of strings, each a tuple or a list.

    Raises ValueError for a string that is not Unicode text.
    """
    if isinstance(values, str | bytes | Set | Mapping) or not isinstance(values, Sized):
        raise TypeError(f"{what}: {type(values).__name__}; expected a sequence of pairs of strings")
    for number, value in enumerate(values):
        if not isinstance(value, tuple | list) or len(value) != 2:
            raise TypeError(f"{what}[{number}]: {type(value).__name__}; expected a pair of strings")
        require_strings(f"{what}[{number}]", value)


def require_count(what: str, value: int | None) -> None:
    """Raise TypeError unless `value` is an int or None, and ValueError for one below 1."""
    if value is None:
        return
    require_int(what, value)
    if value < 1:
        raise ValueError(f"{what}: {value}; expected a whole number from 1")


def require_int(what: str, value: int | None) -> None:
    """Raise TypeError unless `value` is an int or None."""
    if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
        raise TypeError(f"{what}: {type(value).__name__}; expected int")


def require_choice(what: str, value: str, choices: Collection[str]) -> None:
    """Raise ValueError unless `value` is one of `choices`."""
    if value not in choices:
        raise ValueError(f"{what}: {value!r}; expected one of {', '.join(choices)}")
