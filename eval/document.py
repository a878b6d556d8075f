"""Dataclasses as JSON documents: unrounded, with a schema version, and read back strictly."""

from pathlib import Path
from typing import Any, TypeVar

import msgspec

from minilmx.errors import EvalError, boundary
from minilmx.files.atomic import atomic_file
from minilmx.files.documents import dump_json, parse_json, read_document, require_version

SCHEMA_VERSION = 4
D = TypeVar("D")


def to_json(value: Any) -> str:
    """The document of a dataclass: unrounded, and null for what is not defined.

    Raises ValueError for a number that is not finite.
    """
    return dump_json(_document(value), indent=1) + "\n"


def save_document(value: Any, path: Path, *, replace: bool) -> None:
    """Write a dataclass as JSON. Raises OutputError."""
    with atomic_file(path, replace=replace) as temporary:
        temporary.write_text(to_json(value), encoding="utf-8")


def load_document(path: Path, *kinds: type[D]) -> D:
    """Read back one of several dataclasses: the one that the document's `kind` names.

    Raises EvalError if it is none of them, of another schema version, or not exactly what would
    be written: unknown and missing fields are refused.
    """
    with boundary(EvalError, f"{path} cannot be read as a result"):
        document = parse_json(read_document(path), names_files=True)
        version, name = document["schema_version"], document["kind"]
    require_version(version, SCHEMA_VERSION, str(path), EvalError)
    named = {kind_of(kind): kind for kind in kinds}
    if not isinstance(name, str) or name not in named:
        raise EvalError(f"{path}: a document of the kind {name!r:.40}; expected {' or '.join(named)}")
    content = {key: value for key, value in document.items() if key not in ("schema_version", "kind")}
    with boundary(EvalError, f"{path} does not follow schema version {SCHEMA_VERSION}"):
        value: D = msgspec.convert(content, named[name])
        # msgspec ignores unknown fields of a dataclass and fills in missing ones that have a default.
        if fault := _difference(_document(value), document, "$"):
            raise ValueError(fault)
    return value


def kind_of(kind: type) -> str:
    """The name of a dataclass in its document."""
    return kind.__name__.lower()


def json_schema(kind: type) -> dict[str, Any]:
    """The JSON Schema of a dataclass's document."""
    (reference,), components = msgspec.json.schema_components([kind], ref_template="#/$defs/{name}")
    for component in components.values():
        if "properties" in component:
            # A field is only left out if it has neither a value nor a default: msgspec's UNSET.
            stated = component.get("required", [])
            fields = component["properties"]
            required = [name for name in fields if name in stated or "default" in fields[name]]
            fields = {name: _plain(each) for name, each in fields.items()}
            component |= {"properties": fields, "additionalProperties": False, "required": required}
    own = components.pop(reference["$ref"].rsplit("/", 1)[-1])
    head = {"schema_version": {"const": SCHEMA_VERSION}, "kind": {"const": kind_of(kind)}}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **own,
        "properties": head | own["properties"],
        "required": [*head, *own["required"]],
        "$defs": components,
    }


def _plain(field: dict[str, Any]) -> dict[str, Any]:
    """The schema of a field without its default, and with a list of types if it may have several."""
    field = {key: value for key, value in field.items() if key != "default"}
    types = [each["type"] for each in field.get("anyOf", ()) if list(each) == ["type"]]
    if types and len(types) == len(field["anyOf"]):
        del field["anyOf"]
        return field | {"type": types}
    return field


def _document(value: Any) -> dict[str, Any]:
    head = {"schema_version": SCHEMA_VERSION, "kind": kind_of(type(value))}
    return head | dict(msgspec.to_builtins(value))


def _difference(expected: Any, found: Any, place: str) -> str | None:
    """The first field or value of a document that would be written differently."""
    if isinstance(expected, dict) and isinstance(found, dict):
        if unknown := sorted(found.keys() - expected.keys()):
            return f"unknown field {unknown[0]!r} at {place}"
        if missing := sorted(expected.keys() - found.keys()):
            return f"missing field {missing[0]!r} at {place}"
        parts = ((expected[key], found[key], f"{place}.{key}") for key in expected)
    elif isinstance(expected, list | tuple) and isinstance(found, list):
        parts = ((mine, found[i], f"{place}[{i}]") for i, mine in enumerate(expected))
    else:
        return None if expected == found else f"{found!r} at {place}"
    return next((fault for part in parts if (fault := _difference(*part))), None)
