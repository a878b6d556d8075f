"""A result: evaluations and the limits they were checked against.

docs/result.md describes its document. Every report is made from that alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from minilmx.eval.evaluation import Evaluation
from minilmx.eval.limits import Check, LimitRules, apply_limits

RESULTS = Path("results")


@dataclass(frozen=True, slots=True)
class Result:
    """Evaluations of one artifact, one a language, and the limits they were checked against.

    Raises ValueError where there is nothing in it.
    """

    evaluations: tuple[Evaluation, ...]
    checks: tuple[Check, ...]

    def __post_init__(self) -> None:
        if not self.evaluations or not all(evaluation.runners for evaluation in self.evaluations):
            raise ValueError("it holds no evaluation")

    @property
    def passed(self) -> bool | None:
        """Whether every limit was kept; None where there were none."""
        return all(check.passed for check in self.checks) if self.checks else None


def check_limits(evaluations: Sequence[Evaluation], rules: LimitRules) -> Result:
    """A result: the evaluations, and every limit that applies to them."""
    checks = tuple(check for each in evaluations for check in apply_limits(each, rules))
    return Result(tuple(evaluations), checks)


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
