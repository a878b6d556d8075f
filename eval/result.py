"""A result on disk: one JSON document with everything, unrounded, and read back strictly.

docs/result.md describes it. Every report is made from it alone.
"""

import json
import types
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

from minilmx.atomic import atomic_file
from minilmx.errors import EvalError
from minilmx.eval.evaluation import Evaluation
from minilmx.eval.limits import Check

SCHEMA_VERSION = 1
RESULTS = Path("results")


@dataclass(frozen=True, slots=True)
class Result:
    """Evaluations of one artifact, one a language, and the limits they were checked against."""

    evaluations: tuple[Evaluation, ...]
    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool | None:
        """Whether every limit was kept; None where there were none."""
        return all(check.passed for check in self.checks) if self.checks else None


def to_json(result: Result) -> str:
    """The result document: unrounded, and null for what is not defined."""
    document = {"schema_version": SCHEMA_VERSION, **asdict(result)}
    return json.dumps(document, indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def save_result(result: Result, path: Path, *, replace: bool) -> None:
    """Write the result as JSON. Raises OutputError."""
    with atomic_file(path, replace=replace) as temporary:
        temporary.write_text(to_json(result), encoding="utf-8")


def default_result_path(result: Result) -> Path:
    """results/ARTIFACT/DATA-SET-TIME.json, and a number where two fall in one second."""
    first = result.evaluations[0]
    languages = "-".join(each.language for each in result.evaluations if each.language)
    parts = (first.dataset.replace("/", "--"), languages, first.split)
    time = first.provenance.created.replace("-", "").replace(":", "")[:15]
    name = "-".join(part for part in (*parts, f"{time}Z") if part)
    folder = RESULTS / first.artifact
    names = (f"{name}.json", *(f"{name}-{number}.json" for number in range(2, 1000)))
    return next(folder / name for name in names if not (folder / name).exists())


def load_result(path: Path) -> Result:
    """Read a result back. Raises EvalError where it is none, or of another schema."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        version = document.pop("schema_version")
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise EvalError(f"{path} cannot be read as a result: {error}") from error
    if version != SCHEMA_VERSION:
        raise EvalError(f"{path} has schema version {version!r}, and this minilmx reads {SCHEMA_VERSION}")
    try:
        result: Result = decode(Result, document)
    except (TypeError, ValueError, KeyError) as error:
        raise EvalError(f"{path} does not follow schema version {SCHEMA_VERSION}: {error}") from error
    if not result.evaluations or not all(evaluation.runners for evaluation in result.evaluations):
        raise EvalError(f"{path} holds no evaluation")
    return result


def decode(kind: Any, value: Any) -> Any:
    """JSON back to frozen dataclasses, tuples and numbers. Raises TypeError for anything else."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        chosen = [each for each in arguments if each is not type(None)]
        return decode(chosen[0], value) if len(chosen) == 1 else value
    if origin is tuple:
        if not isinstance(value, list):
            raise TypeError(f"{value!r} is no list")
        if arguments[-1] is Ellipsis:
            return tuple(decode(arguments[0], each) for each in value)
        return tuple(decode(each, part) for each, part in zip(arguments, value, strict=True))
    if is_dataclass(kind) and isinstance(kind, type):
        hints = get_type_hints(kind)
        names = [field.name for field in fields(kind)]
        if not isinstance(value, dict) or set(value) != set(names):
            raise TypeError(f"{kind.__name__} needs {', '.join(names)}")
        return kind(**{name: decode(hints[name], value[name]) for name in names})
    if kind is float and type(value) is int:
        return float(value)
    expected = Mapping if origin is not None else kind
    if not isinstance(value, expected) or (isinstance(value, bool) and kind is not bool):
        raise TypeError(f"{value!r} is no {getattr(kind, '__name__', kind)}")
    return value
