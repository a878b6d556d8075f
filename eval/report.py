"""An evaluation as JSON on disk and as a table in the terminal."""

import json
from collections.abc import Callable
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from minilmx.atomic import atomic_file
from minilmx.eval.evaluation import Evaluation, RunnerResult
from minilmx.runners.emulator import FLOAT16_MAX


def to_json(evaluation: Evaluation) -> str:
    """The result document: unrounded, and null for what is not defined."""
    return json.dumps(evaluation.to_document(), indent=2, allow_nan=False) + "\n"


def default_result_path(evaluation: Evaluation) -> Path:
    """results/ARTIFACT/DATA-SET-TIME.json, so that no evaluation overwrites another."""
    parts = (evaluation.dataset.replace("/", "--"), evaluation.language, evaluation.split)
    time = evaluation.provenance.created.replace("-", "").replace(":", "")[:15]
    name = "-".join(part for part in (*parts, f"{time}Z") if part)
    return Path("results") / evaluation.artifact / f"{name}.json"


def save_result(evaluation: Evaluation, path: Path, *, replace: bool) -> None:
    """Write the result as JSON. Raises OutputError."""
    with atomic_file(path, replace=replace) as temporary:
        temporary.write_text(to_json(evaluation), encoding="utf-8")


def print_table(evaluation: Evaluation, console: Console) -> None:
    """Print each runner's correlation with gold and its drift from the first: a column each."""
    data = " ".join(
        part for part in (evaluation.dataset, evaluation.language, evaluation.split) if part
    )
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
    if others:
        table.add_section()
        table.add_row(f"drift from {reference.runner}")
        for name, metric, digits in _DRIFT_ROWS:
            cells = [_drift_cell(result, metric, digits) for result in others]
            table.add_row(f"  {name}", "reference", *cells)
    console.print(table)
    for result in evaluation.runners:
        for note in _notes(result):
            console.print(note, highlight=False, soft_wrap=True)


_SCORE_ROWS: dict[str, Callable[[RunnerResult], str]] = {
    "Spearman x100": lambda result: _hundredfold(result.scores.spearman),
    "Pearson x100": lambda result: _hundredfold(result.scores.pearson),
    "sentences/s": lambda result: f"{result.sentences_per_second:,.1f}",
}

_DRIFT_ROWS = (
    ("max abs", "max_abs", ".2e"),
    ("mean abs", "mean_abs", ".2e"),
    ("RMS", "rms_abs", ".2e"),
    ("p99 abs", "p99_abs", ".2e"),
    ("min cosine", "min_cosine", ".8f"),
    ("mean cosine", "mean_cosine", ".8f"),
)


def _drift_cell(result: RunnerResult, metric: str, digits: str) -> str:
    if result.drift is None or not result.drift.finite:
        return "not finite"
    value = getattr(result.drift, metric)
    return "undefined" if value is None else format(value, digits)


def _notes(result: RunnerResult) -> list[str]:
    """What must be said beside a runner's numbers."""
    details = result.details
    if "emulation" not in details:
        return []
    largest = float(details["largest_magnitude"])
    return [
        f"{result.runner} is an emulation ({details['emulation']}).",
        f"Its largest intermediate magnitude was {largest:,.0f}, {FLOAT16_MAX / largest:.2f} times "
        f"below float16's limit of {FLOAT16_MAX:,.0f}."
        if 0 < largest <= FLOAT16_MAX
        else f"An intermediate value of {largest:,.0f} is past float16's limit of "
        f"{FLOAT16_MAX:,.0f}: it is infinite on hardware that computes in float16.",
    ]


def _hundredfold(value: float | None) -> str:
    return "undefined" if value is None else f"{100 * value:.4f}"
