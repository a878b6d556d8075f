"""Limits, and whether a result keeps them."""

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from minilmx.errors import EvalError
from minilmx.eval.evaluation import Evaluation, RunnerResult


@dataclass(frozen=True, slots=True)
class Limits:
    """What a runner must keep; None is no limit. Spearman is x100, in points.

    `max_spearman_drop` is how far the runner may be below the reference. `max_rank_swaps` is a
    number of two-pair comparisons in another order.
    """

    max_abs: float | None = None
    min_cosine: float | None = None
    max_spearman_drop: float | None = None
    min_spearman: float | None = None
    min_recall_at_10: float | None = None
    max_rank_swaps: float | None = None

    def over(self, other: "Limits") -> "Limits":
        """These limits, and the other's where these have none."""
        stated = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(other, **{name: value for name, value in stated.items() if value is not None})


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
    """Limits by runner and language. The more special ones go first:

    runner and language, then language, then runner, then default.
    """

    default: Limits
    runner: Mapping[str, Limits]
    language: Mapping[str, Limits]
    both: Mapping[tuple[str, str], Limits]

    def of(self, runner: str, language: str | None) -> Limits:
        """The limits of one runner on one language."""
        none = Limits()
        chosen = self.runner.get(runner, none).over(self.default)
        chosen = self.language.get(language or "", none).over(chosen)
        return self.both.get((runner, language or ""), none).over(chosen)

    def under(self, stated: Limits) -> "LimitRules":
        """These rules with some limits that hold everywhere, before all others."""
        return LimitRules(
            stated.over(self.default),
            {name: stated.over(limits) for name, limits in self.runner.items()},
            {name: stated.over(limits) for name, limits in self.language.items()},
            {name: stated.over(limits) for name, limits in self.both.items()},
        )


def read_limits(path: Path) -> LimitRules:
    """Read a limits.toml. Raises EvalError, naming the fault.

    Tables: [default], [runner.NAME], [language.CODE], [runner.NAME.language.CODE].
    """
    try:
        with path.open("rb") as stream:
            document = tomllib.load(stream)
    except OSError as error:
        raise EvalError(f"{path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise EvalError(f"{path} is no TOML: {error}") from error
    unknown = set(document) - {"default", "runner", "language"}
    if unknown:
        raise EvalError(f"{path}: unknown table {sorted(unknown)[0]!r}; expected default, runner, language")
    runner, both = {}, {}
    for name, table in _tables(path, "runner", document).items():
        for language, inner in _tables(path, "language", table).items():
            both[name, language] = _limits(path, f"runner.{name}.language.{language}", inner)
        own = {key: value for key, value in table.items() if key != "language"}
        runner[name] = _limits(path, f"runner.{name}", own)
    return LimitRules(
        _limits(path, "default", document.get("default", {})),
        runner,
        {
            name: _limits(path, f"language.{name}", table)
            for name, table in _tables(path, "language", document).items()
        },
        both,
    )


LimitsLike = Mapping[str, float] | Path | str | LimitRules | None


def limit_rules(limits: LimitsLike) -> LimitRules:
    """Limits as rules: numbers by name hold everywhere, a path is a limits.toml.

    Raises EvalError, naming the fault.
    """
    if isinstance(limits, LimitRules):
        return limits
    if isinstance(limits, Path | str):
        return read_limits(Path(limits))
    return LimitRules(_limits(Path("limits"), "default", dict(limits or {})), {}, {}, {})


def apply_limits(evaluation: Evaluation, rules: LimitRules) -> tuple[Check, ...]:
    """Check every runner but the reference; the reference keeps `min_spearman` alone."""
    checks = []
    reference = evaluation.runners[0]
    for result in evaluation.runners:
        limits = rules.of(result.runner, evaluation.language)
        for name, value in _METRICS.items():
            allowed = getattr(limits, name)
            if allowed is None or (result is reference and name != "min_spearman"):
                continue
            found = value(result, reference)
            kept = found is not None and (found <= allowed if name.startswith("max") else found >= allowed)
            checks.append(Check(evaluation.language, result.runner, name, allowed, found, kept))
    return tuple(checks)


def _spearman(result: RunnerResult, reference: RunnerResult) -> float | None:
    value = result.scores.spearman
    return None if value is None else 100 * value


def _drop(result: RunnerResult, reference: RunnerResult) -> float | None:
    before, after = _spearman(reference, reference), _spearman(result, reference)
    return None if before is None or after is None else before - after


def _of_comparison(*path: str) -> Callable[[RunnerResult, RunnerResult], float | None]:
    def find(result: RunnerResult, reference: RunnerResult) -> float | None:
        value: Any = result.comparison
        for name in path:
            value = None if value is None else getattr(value, name)
        return None if value is None else float(value)

    return find


_METRICS: dict[str, Callable[[RunnerResult, RunnerResult], float | None]] = {
    "max_abs": _of_comparison("drift", "max_abs"),
    "min_cosine": _of_comparison("drift", "min_cosine"),
    "max_spearman_drop": _drop,
    "min_spearman": _spearman,
    "min_recall_at_10": _of_comparison("retrieval", "recall_at_10"),
    "max_rank_swaps": _of_comparison("ranks", "swaps"),
}


def _tables(path: Path, key: str, document: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    tables = document.get(key, {})
    if not isinstance(tables, dict) or not all(isinstance(table, dict) for table in tables.values()):
        raise EvalError(f"{path}: expected tables [{key}.NAME]")
    return tables


def _limits(path: Path, table: str, values: Any) -> Limits:
    names = [field.name for field in fields(Limits)]
    if not isinstance(values, dict):
        raise EvalError(f"{path}: [{table}] is no table")
    for name, value in values.items():
        if name not in names:
            raise EvalError(f"{path}, [{table}]: unknown limit {name!r}; expected one of {', '.join(names)}")
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise EvalError(f"{path}, [{table}]: {name} is {value!r}, expected a number")
    return Limits(**values)
