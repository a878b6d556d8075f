"""A bisection as a table in the terminal."""

from collections.abc import Callable

from rich import box
from rich.console import Console
from rich.table import Table

from minilmx.eval.bisect.bisect import Bisection
from minilmx.eval.bisect.steps import Step
from minilmx.runners.base import FLOAT16_MAX
from minilmx.wording import counted


def print_bisection(bisection: Bisection, console: Console) -> None:
    """Print the verdict, a row for each boundary, and conclusions below the table."""
    data = " ".join(p for p in (bisection.dataset, bisection.language, bisection.split) if p)
    reference, candidate = bisection.reference, bisection.candidate
    console.print(bisection.verdict.sentence, style="bold", soft_wrap=True)
    lines = [
        f"{bisection.model}, batch size {bisection.batch_size}, sequence length {bisection.sequence_length}",
        f"reference {reference.runner} on {reference.artifact}, "
        f"candidate {candidate.runner} on {candidate.artifact}",
        f"{data}: {2 * bisection.pairs} sentences, {bisection.attended_tokens} tokens without padding, "
        f"{counted(bisection.truncated_sentences, 'sentence')} truncated",
    ]
    for line in lines:
        console.print(line, soft_wrap=True)
    # As narrow as possible: it fits 80 columns.
    table = Table(box=box.SIMPLE_HEAD, padding=0)
    table.add_column("boundary", overflow="fold")
    for name in _COLUMNS:
        table.add_column(name, justify="right", overflow="fold")
    for step in bisection.steps:
        table.add_row(step.boundary, *(cell(step) for cell in _COLUMNS.values()))
    console.print(table)
    for line in _conclusions(bisection):
        console.print(line, soft_wrap=True)


def _conclusions(bisection: Bisection) -> list[str]:
    past, largest = bisection.first_past_threshold, bisection.largest_share
    shares = {step.boundary: step.share for step in bisection.steps}
    drift = _number(bisection.final_drift, ".3g")
    lines = [
        f"Final drift: {drift} (relative L2 norm over all sentence embeddings).",
        f"First boundary past a relative error of {bisection.threshold:g}: {past or 'none'}.",
    ]
    if largest is not None:
        lines.append(f"Largest own share of the final drift: {largest}, {_number(shares[largest], '.1%')}.")
    tight = [step for step in bisection.steps if step.float16_headroom is not None]
    if tight:
        worst = min(tight, key=lambda step: step.float16_headroom or 0.0)
        lines.append(
            f"Least float16 headroom: {worst.boundary}; the reference's largest magnitude is "
            f"{_number(worst.largest_magnitude, ',.0f')}, and float16's limit is {FLOAT16_MAX:,.0f}."
        )
    emulations = {s.runner: s.emulation for s in (bisection.reference, bisection.candidate) if s.emulation}
    lines += [f"{runner} is an emulation ({about})." for runner, about in emulations.items()]
    return lines


def _number(value: float | None, digits: str) -> str:
    return "undefined" if value is None else format(value, digits)


_COLUMNS: dict[str, Callable[[Step], str]] = {
    "mean\ncosine": lambda step: _number(step.mean_cosine, ".8f"),
    "min\ncosine": lambda step: _number(step.min_cosine, ".8f"),
    "relative\nerror": lambda step: _number(step.relative_error, ".2e"),
    "increase": lambda step: _number(step.increase, "+.2e"),
    "share": lambda step: _number(step.share, ".1%"),
    "float16\nheadroom": lambda step: _number(step.float16_headroom, ",.2f"),
}
