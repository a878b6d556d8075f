"""A dataclass as a JSON document on disk: unrounded, versioned, and read back strictly."""

import json
import types
from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from minilmx.errors import EvalError
from minilmx.files.atomic import atomic_file

SCHEMA_VERSION = 1
D = TypeVar("D")


def to_json(value: Any) -> str:
    """The document of a dataclass: unrounded, and null for what is not defined."""
    document = {"schema_version": SCHEMA_VERSION, **asdict(value)}
    return json.dumps(document, indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def save_document(value: Any, path: Path, *, replace: bool) -> None:
    """Write a dataclass as JSON. Raises OutputError."""
    with atomic_file(path, replace=replace) as temporary:
        temporary.write_text(to_json(value), encoding="utf-8")


def load_document(path: Path, *kinds: type[D]) -> D:
    """Read back one of several dataclasses: the one that shares most fields with the document.

    Raises EvalError where it is none of them, or of another schema version.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        version = document.pop("schema_version")
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise EvalError(f"{path} cannot be read as a result: {error}") from error
    if version != SCHEMA_VERSION:
        raise EvalError(f"{path} has schema version {version!r}, and this minilmx reads {SCHEMA_VERSION}")
    kind = max(kinds, key=lambda kind: len(document.keys() & _names(kind)))
    try:
        value: D = _decode(kind, document)
    except (TypeError, ValueError, KeyError) as error:
        raise EvalError(f"{path} does not follow schema version {SCHEMA_VERSION}: {error}") from error
    return value


def _names(kind: Any) -> list[str]:
    return [field.name for field in fields(kind)]


def _decode(kind: Any, value: Any) -> Any:
    """JSON back to frozen dataclasses, tuples and numbers. Raises TypeError for anything else."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        chosen = [each for each in arguments if each is not type(None)]
        return _decode(chosen[0], value) if len(chosen) == 1 else value
    if origin is tuple:
        if not isinstance(value, list):
            raise TypeError(f"{value!r} is no list")
        if arguments[-1] is Ellipsis:
            return tuple(_decode(arguments[0], each) for each in value)
        return tuple(_decode(each, part) for each, part in zip(arguments, value, strict=True))
    if is_dataclass(kind) and isinstance(kind, type):
        hints, names = get_type_hints(kind), _names(kind)
        if not isinstance(value, dict) or set(value) != set(names):
            raise TypeError(f"{kind.__name__} needs {', '.join(names)}")
        return kind(**{name: _decode(hints[name], value[name]) for name in names})
    if kind is float and type(value) is int:
        return float(value)
    expected = Mapping if origin is not None else kind
    if not isinstance(value, expected) or (isinstance(value, bool) and kind is not bool):
        raise TypeError(f"{value!r} is no {getattr(kind, '__name__', kind)}")
    return value
