"""A result: evaluations, the limits that they were checked against, and the verdict.

docs/result.md describes its document. Every report is made from that alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING

from minilmx.errors import EvalError
from minilmx.eval.document import save_document
from minilmx.eval.evaluation import Evaluation
from minilmx.eval.limits import Check, LimitRules, apply_limits
from minilmx.eval.metrics.table import METRICS
from minilmx.eval.verdict import Verdict, judge
from minilmx.files.atomic import atomic_file
from minilmx.runners.registry import runner_names

if TYPE_CHECKING:
    from pandas import DataFrame

RESULTS = Path("results")


@dataclass(frozen=True, slots=True)
class Result:
    """Evaluations of one artifact, one per language, the limits that they were checked against, and the
    verdict: `verdict.sentence` says whether the embeddings are still the same.

    Raises ValueError if it holds no evaluation.
    """

    evaluations: tuple[Evaluation, ...]
    checks: tuple[Check, ...]
    verdict: Verdict

    def __post_init__(self) -> None:
        if not self.evaluations or not all(evaluation.runners for evaluation in self.evaluations):
            raise ValueError("it holds no evaluation")

    @property
    def passed(self) -> bool | None:
        """Whether every limit was kept, and every comparison without a limit is SAME.

        False if an embedding is not finite; None for one runner without limits.
        """
        return self.verdict.passed

    def to_dataframe(self) -> "DataFrame":
        """A pandas DataFrame, one row per language and runner, with every metric of the table.

        Raises ImportError if pandas is not installed.

        Example:
            >>> result = minilmx.load_result("result.json")
            >>> result.to_dataframe()["runner"].to_list()
            ['1: cpu.npy', '2: card.npy']
        """
        from pandas import DataFrame

        return DataFrame(
            {
                "language": one.language,
                "runner": each.runner,
                **{metric.name: metric.value(each, one.runners[0]) for metric in METRICS},
            }
            for one in self.evaluations
            for each in one.runners
        )

    def render(self, form: str) -> str:
        """The result as a table, html, markdown, junit or mteb text. Raises EvalError for another."""
        from minilmx.eval.reports.render import render

        return render(form, [self])

    def save(self, path: str | Path, *, replace: bool = False) -> None:
        """Write the result document, see docs/result.md. Raises OutputError.

        Example:
            >>> minilmx.compare("cpu.npy", "card.npy").save("comparison.json")
        """
        save_document(self, Path(path), replace=replace)

    def save_html(self, path: str | Path, *, replace: bool = False) -> None:
        """Write the result as one HTML page. Raises OutputError.

        Example:
            >>> minilmx.load_result("result.json").save_html("report.html")
        """
        with atomic_file(Path(path), replace=replace) as temporary:
            temporary.write_text(self.render("html"), encoding="utf-8")

    def _repr_html_(self) -> str:
        """The page in a frame, for notebooks: its style must not reach theirs."""
        return f'<iframe srcdoc="{escape(self.render("html"))}" width="100%" height="800"></iframe>'


def check_limits(evaluations: Sequence[Evaluation], rules: LimitRules, preset: str | None) -> Result:
    """A result: the evaluations, every limit that applies to them, and the verdict by a preset.

    Without a preset, the precision of what is compared chooses it. Raises EvalError for a preset that
    does not exist or has nothing to compare, for limits of which none applies, and for limits of a
    runner that neither is in an evaluation nor exists.
    """
    compared = dict.fromkeys(each.runner for one in evaluations for each in one.runners)
    known = (*compared, *(name for name in runner_names() if name not in compared))
    unknown = next((name for name in rules.runners if name not in known), None)
    if unknown is not None:
        raise EvalError(f"limits for the runner {unknown!r}; expected one of {', '.join(known)}", unused=True)
    checks = tuple(check for each in evaluations for check in apply_limits(each, rules))
    if rules and not checks:
        raise EvalError(
            f"limits: none applies to {', '.join(compared)}; expected one that does",
            "Most limits compare a runner with the reference, so at least two runners are needed.",
            unused=True,
        )
    return Result(tuple(evaluations), checks, judge(evaluations, checks, preset))


def default_result_path(result: Result) -> Path:
    """results/ARTIFACT/DATASET-TIME.json, with a number if two are of the same second."""
    first = result.evaluations[0]
    languages = "-".join(each.language for each in result.evaluations if each.language)
    parts = (first.dataset.replace("/", "--"), languages, first.split)
    time = first.provenance.created.replace("-", "").replace(":", "")[:15]
    name = "-".join(part for part in (*parts, f"{time}Z") if part)
    folder = RESULTS / first.artifact.removeprefix("hf://").replace("/", "--")
    names = chain([f"{name}.json"], (f"{name}-{number}.json" for number in count(2)))
    return next(folder / name for name in names if not (folder / name).exists())
