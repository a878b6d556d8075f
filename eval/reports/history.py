"""Several results of one model on one data set, in chronological order."""

from collections.abc import Sequence
from dataclasses import dataclass

from minilmx.errors import EvalError
from minilmx.eval.evaluation import Evaluation, RunnerResult
from minilmx.eval.metrics.table import METRIC, Value
from minilmx.eval.reports.cells import KEY_METRICS, cautions, first_lines, in_words, key_cells
from minilmx.eval.reports.svg import MINUS, Series
from minilmx.eval.results import Result

HISTORY_COLUMNS = (
    "result",
    "date",
    "artifact",
    "runner",
    "versions",
    *(metric.label for metric in KEY_METRICS),
    "answer",
    "limits",
)


@dataclass(frozen=True, slots=True)
class Entry:
    """One runner's numbers in one result, which is number `result`, from 1; `line` names its series.

    `answer` is empty for the reference; `limits` is PASS, FAIL, or empty without limits of its own.
    """

    result: int
    line: str
    evaluation: Evaluation
    runner: RunnerResult
    answer: str
    limits: str


@dataclass(frozen=True, slots=True)
class History:
    """Entries by date. `lines` are the runners, with the language if there are several."""

    model: str
    dataset: str
    reference: str
    dates: tuple[str, ...]
    lines: tuple[str, ...]
    entries: tuple[Entry, ...]
    first_lines: tuple[str, ...]
    cautions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Trend:
    """One number over time, one series per line; the plot covers at least `span`."""

    name: str
    unit: str
    span: float
    lines: tuple[Series, ...]


def trace_history(results: Sequence[Result]) -> History:
    """Put results in chronological order.

    Raises EvalError for results of different models, data sets, languages, sentences or
    references: their numbers are not comparable.
    """
    ordered = sorted(results, key=lambda result: result.evaluations[0].provenance.created)
    first = ordered[0]
    for other in ordered[1:]:
        _require_same(first, other)
    several = len(first.evaluations) > 1
    entries = []
    for number, result in enumerate(ordered, 1):
        for evaluation in result.evaluations:
            for runner in evaluation.runners:
                line = f"{runner.runner} {evaluation.language}" if several else runner.runner
                checks = [
                    check.passed
                    for check in result.checks
                    if (check.runner, check.language) == (runner.runner, evaluation.language)
                ]
                answers = (
                    each.answer
                    for each in result.verdict.comparisons
                    if (each.runner, each.language) == (runner.runner, evaluation.language)
                )
                limits = "" if not checks else "PASS" if all(checks) else "FAIL"
                entries.append(Entry(number, line, evaluation, runner, next(answers, ""), limits))
    one = first.evaluations[0]
    return History(
        model=one.model,
        dataset=one.dataset,
        reference=one.runners[0].runner,
        dates=tuple(result.evaluations[0].provenance.created for result in ordered),
        lines=tuple(dict.fromkeys(entry.line for entry in entries)),
        entries=tuple(entries),
        first_lines=tuple(first_lines(ordered)),
        cautions=tuple(cautions([each for result in ordered for each in result.evaluations])),
    )


def history_rows(history: History) -> list[tuple[str, ...]]:
    """A row for each result and runner; see HISTORY_COLUMNS."""
    return [
        (
            str(entry.result),
            entry.evaluation.provenance.created[:16].replace("T", " "),
            f"{entry.evaluation.artifact} ({entry.evaluation.artifact_sha256[:8]})",
            entry.line,
            in_words(entry.runner.versions),
            *key_cells(entry.runner, entry.evaluation.runners[0]),
            entry.answer,
            entry.limits,
        )
        for entry in history.entries
    ]


def history_trends(history: History) -> list[Trend]:
    """Spearman, largest difference, smallest cosine and recall over time."""
    return [
        Trend("Spearman", "x100", 0.1, _lines(history, METRIC["spearman"].value)),
        Trend("Largest difference", "difference", 0.0, _lines(history, METRIC["max_abs"].value)),
        Trend("Smallest cosine", f"1 {MINUS} cosine", 0.0, _lines(history, _turn)),
        Trend("Recall@10", "share", 0.01, _lines(history, METRIC["recall_at_10"].value)),
    ]


def _lines(history: History, number: Value) -> tuple[Series, ...]:
    lines = []
    for index, line in enumerate(history.lines):
        points = [
            (entry.result - 1.0, value)
            for entry in history.entries
            if entry.line == line and (value := number(entry.runner, entry.evaluation.runners[0])) is not None
        ]
        lines.append(Series(f"run{index % 6}", [x for x, _ in points], [y for _, y in points]))
    return tuple(lines)


def _require_same(first: Result, other: Result) -> None:
    def what(result: Result) -> dict[str, object]:
        one = result.evaluations[0]
        return {
            "model": one.model,
            "data set": " ".join(part for part in (one.dataset, one.split) if part),
            "languages": ", ".join(sorted(each.language or "none" for each in result.evaluations)),
            "number of pairs": ", ".join(str(each.pairs) for each in result.evaluations),
            "reference": one.runners[0].runner,
        }

    for (name, left), right in zip(what(first).items(), what(other).values(), strict=True):
        if left != right:
            raise EvalError(f"history: results of the {name} {left} and {right}; expected the same {name}")
    for left_one, right_one in zip(first.evaluations, other.evaluations, strict=True):
        same_tokens = left_one.inputs_sha256 == right_one.inputs_sha256
        same_length = left_one.sequence_length == right_one.sequence_length
        if left_one.gold != right_one.gold or (same_length and not same_tokens):
            raise EvalError(
                f"history: {left_one.dataset} with different sentences or scores in the results of "
                f"{left_one.provenance.created} and {right_one.provenance.created}; expected the same data "
                "set"
            )


def _turn(result: RunnerResult, reference: RunnerResult) -> float | None:
    cosine = METRIC["min_cosine"].value(result, reference)
    return None if cosine is None else 1 - cosine
