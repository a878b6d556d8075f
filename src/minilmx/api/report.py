"""Saved results."""

from pathlib import Path
from typing import cast

from minilmx.errors import EvalError, boundary
from minilmx.eval.benchmark import Benchmark
from minilmx.eval.document import load_document
from minilmx.eval.limits import LimitsLike, limit_rules
from minilmx.eval.results import Result, check_limits


def load_result(path: Path | str) -> Result | Benchmark:
    """Read a saved result of `evaluate`, `compare` or `benchmark`. Raises EvalError.

    Example:
        >>> minilmx.load_result("result.json").passed
        True
    """
    return cast(Result | Benchmark, load_document(Path(path), Result, Benchmark))


def limits_of(result: Result, limits: LimitsLike = None, preset: str | None = None) -> Result:
    """A saved result with other limits or another preset; see `evaluate`. Raises EvalError.

    Example:
        >>> limits_of(minilmx.load_result("result.json"), {"max_abs": 1e-9}).passed
        False
    """
    rules = limit_rules(limits)
    with boundary(EvalError, "the result cannot be judged"):
        return check_limits(result.evaluations, rules, preset)
