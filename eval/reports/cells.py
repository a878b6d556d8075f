"""The cells that every report's tables share, as text: rounded here and nowhere else."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from minilmx.eval.evaluation import Evaluation, RunnerResult
from minilmx.eval.limits import Check
from minilmx.eval.metrics.drift import Drift, DriftProfile, SentenceDrift
from minilmx.eval.reports.notes import caution

REFERENCE = "reference"
LANGUAGE_COLUMNS = (
    "language",
    "runner",
    "pairs",
    "Spearman x100",
    "max abs",
    "min cosine",
    "recall@10",
    "rank swaps",
)
CHECK_COLUMNS = ("", "runner", "limit", "allowed", "found")

_SCORES: dict[str, Callable[[RunnerResult], str]] = {
    "Spearman x100": lambda result: hundredfold(result.scores.spearman),
    "Pearson x100": lambda result: hundredfold(result.scores.pearson),
}
_DRIFT = (
    ("max abs", "max_abs", ".2e"),
    ("mean abs", "mean_abs", ".2e"),
    ("RMS", "rms_abs", ".2e"),
    ("median abs", "p50_abs", ".2e"),
    ("p99 abs", "p99_abs", ".2e"),
    ("p99.9 abs", "p99_9_abs", ".2e"),
    ("max float16 ulps", "max_ulps", ".1f"),
    ("mean float16 ulps", "mean_ulps", ".2f"),
    ("min cosine", "min_cosine", ".8f"),
    ("p1 cosine", "p1_cosine", ".8f"),
    ("median cosine", "median_cosine", ".8f"),
)
_ORDER = (
    ("rank swaps", "ranks", "swaps", ",d"),
    ("most places a pair moved", "ranks", "max_rank_shift", ",.1f"),
    ("Kendall tau", "ranks", "kendall_tau", ".6f"),
    ("recall@1", "retrieval", "recall_at_1", ".4f"),
    ("recall@10", "retrieval", "recall_at_10", ".4f"),
    ("recall@10 in the old index", "retrieval", "mixed_recall_at_10", ".4f"),
)
_SPEED: dict[str, Callable[[RunnerResult], str]] = {
    "sentences/s": lambda result: f"{result.sentences_per_second:,.1f}",
    "latency ms (measured)": lambda result: f"{1000 * result.latency_seconds:,.2f}",
}


@dataclass(frozen=True, slots=True)
class RowGroup:
    """Rows under one heading; each has its name and a cell for each runner."""

    heading: str
    rows: tuple[tuple[str, ...], ...]


def runner_rows(evaluation: Evaluation) -> list[RowGroup]:
    """The table of runners: scores, drift, order and search, speed."""
    results = evaluation.runners
    groups = [_group("Correlation with the gold scores", results, _SCORES)]
    if len(results) > 1:
        drift = tuple((row[0], *(drift_of(each, *row[1:]) for each in results)) for row in _DRIFT)
        noise = evaluation.noise.largest if evaluation.noise else None
        multiples = ("max abs / noise floor", *(noise_multiple(each, noise) for each in results))
        groups.append(RowGroup(f"Drift from {results[0].runner}", (*drift, multiples)))
        order = tuple((row[0], *(found(each, *row[1:]) for each in results)) for row in _ORDER)
        groups.append(RowGroup("Order and search", order))
    speed = _group("Speed, end to end", results, _SPEED)
    estimates = [each.estimated_on_chip_seconds for each in results]
    if any(estimates):
        cells = (f"{1000 * each:,.3f}" if each else "" for each in estimates)
        speed = RowGroup(speed.heading, (*speed.rows, ("on-chip latency ms (estimated)", *cells)))
    return [*groups, speed]


def language_rows(evaluations: Sequence[Evaluation]) -> list[tuple[str, ...]]:
    """A row for each language and runner; see LANGUAGE_COLUMNS."""
    return [
        (
            evaluation.language or "",
            result.runner,
            f"{evaluation.pairs:,}",
            hundredfold(result.scores.spearman),
            drift_of(result, "max_abs", ".2e") or REFERENCE,
            drift_of(result, "min_cosine", ".8f"),
            found(result, "retrieval", "recall_at_10", ".4f"),
            found(result, "ranks", "swaps", ",d"),
        )
        for evaluation in evaluations
        for result in evaluation.runners
    ]


def check_cells(check: Check) -> tuple[str, ...]:
    """One limit as cells; see CHECK_COLUMNS."""
    where = f"{check.runner} {check.language}" if check.language else check.runner
    shown = "undefined" if check.found is None else f"{check.found:.6g}"
    return "PASS" if check.passed else "FAIL", where, check.limit, f"{check.allowed:g}", shown


def cautions(evaluations: Sequence[Evaluation]) -> list[str]:
    """What must be said beside the numbers, each once."""
    every = (caution(each.runner, each.details) for one in evaluations for each in one.runners)
    return list(dict.fromkeys(note for notes in every for note in notes))


def worst_sentences(profile: DriftProfile) -> list[SentenceDrift]:
    """The sentences that moved furthest, each text once."""
    worst: dict[str, SentenceDrift] = {}
    for each in profile.worst:
        worst.setdefault(each.text, each)
    return list(worst.values())


def describe_data(evaluation: Evaluation) -> str:
    """The data set in words: name, language, split, pairs and how many sentences were cut."""
    parts = (evaluation.dataset, evaluation.language, evaluation.split)
    return (
        f"{' '.join(part for part in parts if part)}: {evaluation.pairs} pairs, "
        f"{evaluation.truncated_sentences} of {2 * evaluation.pairs} sentences truncated"
    )


def check_line(check: Check) -> str:
    """One limit as a line: PASS or FAIL, where, what was found and what was allowed."""
    state, where, limit, allowed, shown = check_cells(check)
    return f"{state}  {where}  {limit} {allowed}: {shown}"


def hundredfold(value: float | None) -> str:
    """A correlation x100, with the four digits that drift moves."""
    return "undefined" if value is None else f"{100 * value:.4f}"


def drift_cell(drift: Drift | None, metric: str, digits: str) -> str:
    """One number of a drift, or why there is none."""
    if drift is None or not drift.finite:
        return "not finite"
    value = getattr(drift, metric)
    return "undefined" if value is None else format(value, digits)


def found(result: RunnerResult, part: str, name: str, digits: str) -> str:
    """One number of a part of the comparison, or why there is none; empty for the reference."""
    if result.comparison is None:
        return ""
    value = getattr(getattr(result.comparison, part), name, None)
    return "undefined" if value is None else format(value, digits)


def noise_multiple(result: RunnerResult, noise: float | None) -> str:
    """The largest difference as a multiple of the noise floor; empty for the reference."""
    if result.comparison is None:
        return ""
    largest = result.comparison.drift.max_abs
    if noise is None or largest is None:
        return "undefined"
    return f"{largest / noise:,.0f}" if noise else "noise is 0"


def drift_of(result: RunnerResult, metric: str, digits: str) -> str:
    """One number of the drift, or why there is none; empty for the reference."""
    return drift_cell(result.comparison.drift, metric, digits) if result.comparison else ""


def _group(
    heading: str, results: Sequence[RunnerResult], rows: dict[str, Callable[[RunnerResult], str]]
) -> RowGroup:
    return RowGroup(heading, tuple((name, *map(value, results)) for name, value in rows.items()))
