"""Limits, and whether a result keeps them."""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from minilmx.errors import EvalError, boundary
from minilmx.eval.evaluation import Evaluation
from minilmx.eval.metrics.table import LIMITED
from minilmx.files.documents import read_document

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


class Limits(Mapping[str, float]):
    """The limits that a runner must keep: names in the table of metrics, and their numbers.

    `Limits(max_abs=1e-3)` or `Limits({"max_abs": 1e-3})`; None means no limit. Raises EvalError for
    an unknown name and for a value that is not a number.
    """

    def __init__(self, values: Mapping[str, float | None] = MappingProxyType({}), /, **stated: float | None):
        both = {**values, **stated}
        for name, value in both.items():
            if name not in LIMITED:
                raise EvalError(f"unknown limit {name!r}; expected one of {', '.join(LIMITED)}")
            if value is None:
                continue
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            if not is_number or not abs(value) <= sys.float_info.max:  # neither NaN nor infinite
                raise EvalError(f"{name}: {value!r:.80}; expected a number")
        self._values = {name: float(value) for name, value in both.items() if value is not None}

    def __getitem__(self, name: str) -> float:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"Limits({self._values})"

    def over(self, other: "Limits") -> "Limits":
        """These limits, and the other's for names that these lack."""
        return Limits({**other, **self})


@dataclass(frozen=True, slots=True)
class Check:
    """One limit against one number. A number that is not defined does not keep a limit."""

    language: str | None
    runner: str
    limit: str
    allowed: float
    found: float | None
    passed: bool


@dataclass(frozen=True, slots=True)
class LimitRules:
    """Limits by runner and language, each None for all. The more specific ones take precedence:

    runner and language, then language, then runner, then those for all.
    """

    tables: Mapping[tuple[str | None, str | None], Limits]

    def of(self, runner: str, language: str | None) -> Limits:
        """The limits of one runner on one language."""
        chosen = Limits()
        for key in dict.fromkeys([(None, None), (runner, None), (None, language), (runner, language)]):
            chosen = self.tables.get(key, Limits()).over(chosen)
        return chosen

    def __bool__(self) -> bool:
        """Whether there is any limit."""
        return any(self.tables.values())

    @property
    def runners(self) -> list[str]:
        """The runners that have limits of their own."""
        return [runner for runner, _ in self.tables if runner is not None]

    def under(self, stated: Limits) -> "LimitRules":
        """These rules with limits that hold everywhere and take precedence over all others."""
        tables = {(None, None): Limits(), **self.tables}
        return LimitRules({key: stated.over(limits) for key, limits in tables.items()})


def read_limits(path: Path) -> LimitRules:
    """Read a limits.toml. Raises EvalError that names the fault.

    Tables: [default], [runner.NAME], [language.CODE], [runner.NAME.language.CODE].
    """
    with boundary(EvalError, f"{path} cannot be read"):
        content = read_document(path)
    with boundary(EvalError, f"{path} is not TOML"):
        document = tomllib.loads(content.decode("utf-8"))
    unknown = set(document) - {"default", "runner", "language"}
    if unknown:
        raise EvalError(f"{path}: unknown table {sorted(unknown)[0]!r}; expected default, runner or language")
    tables: dict[tuple[str | None, str | None], Limits] = {
        (None, None): _limits(path, "default", document.get("default", {}))
    }
    for name, table in _tables(path, "runner", document).items():
        for language, inner in _tables(path, "language", table).items():
            tables[name, language] = _limits(path, f"runner.{name}.language.{language}", inner)
        own = {key: value for key, value in table.items() if key != "language"}
        tables[name, None] = _limits(path, f"runner.{name}", own)
    for language, table in _tables(path, "language", document).items():
        tables[None, language] = _limits(path, f"language.{language}", table)
    rules = LimitRules(tables)
    if not rules:
        raise EvalError(f"{path}: no limits; expected at least one", unused=True)
    return rules


LimitsLike = Mapping[str, float] | Path | str | LimitRules | None


def limit_rules(limits: LimitsLike) -> LimitRules:
    """Limits as rules: numbers by name hold everywhere, a path is a limits.toml.

    Raises EvalError that names the fault.
    """
    if isinstance(limits, LimitRules):
        return limits
    if isinstance(limits, Path | str):
        return read_limits(Path(limits))
    return LimitRules({(None, None): Limits(limits or {})})


def apply_limits(evaluation: Evaluation, rules: LimitRules) -> tuple[Check, ...]:
    """Check every runner; for the reference, only limits that are not on a comparison."""
    checks = []
    reference = evaluation.runners[0]
    for result in evaluation.runners:
        limits = rules.of(result.runner, evaluation.language)
        for name, metric in LIMITED.items():
            if name not in limits or (result is reference and not metric.absolute):
                continue
            value, allowed = metric.value(result, reference), limits[name]
            others = (metric.value(each, reference) for each in evaluation.runners)
            if metric.of_cards and value is None and any(each is not None for each in others):
                continue
            kept = metric.keeps(value, allowed)
            checks.append(Check(evaluation.language, result.runner, name, allowed, value, kept))
    return tuple(checks)


def _tables(path: Path, key: str, document: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    tables = document.get(key, {})
    if not isinstance(tables, dict) or not all(isinstance(table, dict) for table in tables.values()):
        raise EvalError(f"{path}: {key} does not contain tables; expected tables [{key}.NAME]")
    return tables


def _limits(path: Path, table: str, values: Any) -> Limits:
    if not isinstance(values, dict):
        raise EvalError(f"{path}: [{table}] is {type(values).__name__}; expected a table")
    try:
        return Limits(values)
    except EvalError as error:
        raise EvalError(f"{path}, [{table}]: {error}") from error
