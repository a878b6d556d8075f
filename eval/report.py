"""An evaluation as JSON on disk and as a table in the terminal."""

import json
from collections.abc import Callable
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from minilmx.atomic import atomic_file
from minilmx.eval.drift import Drift
from minilmx.eval.evaluation import Evaluation, RunnerResult
from minilmx.eval.saved import RunComparison
from minilmx.runners.emulator import FLOAT16_MAX
from minilmx.runners.protocol import Details

RESULTS = Path("results")


def to_json(evaluation: Evaluation | RunComparison) -> str:
    """The result document: unrounded, and null for what is not defined."""
    return json.dumps(evaluation.to_document(), indent=2, allow_nan=False) + "\n"


def default_result_path(evaluation: Evaluation) -> Path:
    """results/ARTIFACT/DATA-SET-TIME.json, and a number where two fall in one second."""
    parts = (evaluation.dataset.replace("/", "--"), evaluation.language, evaluation.split)
    time = evaluation.provenance.created.replace("-", "").replace(":", "")[:15]
    name = "-".join(part for part in (*parts, f"{time}Z") if part)
    folder = RESULTS / evaluation.artifact
    names = (f"{name}.json", *(f"{name}-{number}.json" for number in range(2, 1000)))
    return next(folder / name for name in names if not (folder / name).exists())


def save_result(evaluation: Evaluation | RunComparison, path: Path, *, replace: bool) -> None:
    """Write the result as JSON. Raises OutputError."""
    with atomic_file(path, replace=replace) as temporary:
        temporary.write_text(to_json(evaluation), encoding="utf-8")


def print_comparison(comparison: RunComparison, console: Console) -> None:
    """Print the drift of saved runs from the first: a column each."""
    reference = comparison.runs[0]
    table = Table("", box=box.SIMPLE_HEAD)
    for run in comparison.runs:
        table.add_column(run.path.name, justify="right")
    table.add_row("runner", *(str(run.record["runner"]) for run in comparison.runs))
    table.add_row(f"drift from {reference.path.name}")
    for name, metric, digits in _DRIFT_ROWS:
        cells = [_drift_cell(drift, metric, digits) for drift in comparison.drifts]
        table.add_row(f"  {name}", "reference", *cells)
    console.print(
        f"{reference.record['model']}, {reference.record['rows']} identical inputs, "
        f"{len(comparison.runs)} saved runs",
        soft_wrap=True,
    )
    console.print(table)
    for run in comparison.runs:
        for note in _notes(run.path.name, run.record["details"]):
            console.print(note, soft_wrap=True)


def print_table(evaluation: Evaluation, console: Console) -> None:
    """Print each runner's correlation with gold and its drift from the first: a column each."""
    data = " ".join(part for part in (evaluation.dataset, evaluation.language, evaluation.split) if part)
    reference, *others = evaluation.runners
    table = Table(
        "",
        box=box.SIMPLE_HEAD,
    )
    console.print(
        f"{evaluation.model}, batch size {evaluation.batch_size}, sequence length "
        f"{evaluation.sequence_length}\n{data}: {evaluation.pairs} pairs, "
        f"{evaluation.truncated_sentences} of {2 * evaluation.pairs} sentences truncated",
        highlight=False,
        soft_wrap=True,
    )
    for result in evaluation.runners:
        table.add_column(result.runner, justify="right")
    for name, value in _SCORE_ROWS.items():
        table.add_row(name, *map(value, evaluation.runners))
    on_chip = [result.estimated_on_chip_seconds for result in evaluation.runners]
    if any(on_chip):
        for name, shown in _ON_CHIP_ROWS.items():
            table.add_row(name, *(shown(seconds) if seconds else "" for seconds in on_chip))
    if others:
        table.add_section()
        table.add_row(f"drift from {reference.runner}")
        for name, metric, digits in _DRIFT_ROWS:
            cells = [_drift_cell(result.drift, metric, digits) for result in others]
            table.add_row(f"  {name}", "reference", *cells)
    console.print(table)
    for result in evaluation.runners:
        for note in _notes(result.runner, result.details):
            console.print(note, highlight=False, soft_wrap=True)


_SCORE_ROWS: dict[str, Callable[[RunnerResult], str]] = {
    "Spearman x100": lambda result: _hundredfold(result.scores.spearman),
    "Pearson x100": lambda result: _hundredfold(result.scores.pearson),
    "sentences/s": lambda result: f"{result.sentences_per_second:,.1f}",
    "latency ms (measured)": lambda result: f"{1000 * result.latency_seconds:,.2f}",
    "inferences/s (measured)": lambda result: f"{1 / result.latency_seconds:,.1f}",
}

# For runners whose chip has an estimate; an inference is one batch.
_ON_CHIP_ROWS: dict[str, Callable[[float], str]] = {
    "on-chip latency ms (estimated)": lambda seconds: f"{1000 * seconds:,.3f}",
    "on-chip inferences/s (estimated)": lambda seconds: f"{1 / seconds:,.1f}",
}

_DRIFT_ROWS = (
    ("max abs", "max_abs", ".2e"),
    ("mean abs", "mean_abs", ".2e"),
    ("RMS", "rms_abs", ".2e"),
    ("p99 abs", "p99_abs", ".2e"),
    ("min cosine", "min_cosine", ".8f"),
    ("mean cosine", "mean_cosine", ".8f"),
)


def _drift_cell(drift: Drift | None, metric: str, digits: str) -> str:
    if drift is None or not drift.finite:
        return "not finite"
    value = getattr(drift, metric)
    return "undefined" if value is None else format(value, digits)


def _notes(name: str, details: Details) -> list[str]:
    """What must be said beside a runner's numbers."""
    if "caution" in details:
        return [f"{name}: {details['caution']}."]
    if "emulation" not in details:
        return []
    largest = details["largest_magnitude"]
    return [
        f"{name} is an emulation ({details['emulation']}).",
        f"Its largest intermediate magnitude was {largest:,.0f}, {FLOAT16_MAX / largest:.2f} times "
        f"below float16's limit of {FLOAT16_MAX:,.0f}."
        if isinstance(largest, float) and 0 < largest <= FLOAT16_MAX
        else f"An intermediate value is past float16's limit of {FLOAT16_MAX:,.0f}: it is infinite "
        "on hardware that computes in float16.",
    ]


def _hundredfold(value: float | None) -> str:
    return "undefined" if value is None else f"{100 * value:.4f}"
