"""A result as tables in the terminal."""

from collections.abc import Callable, Sequence
from io import StringIO

from rich import box
from rich.console import Console
from rich.table import Table

from minilmx.eval.evaluation import Evaluation
from minilmx.eval.ladder import Ladder
from minilmx.eval.reports.cells import (
    LANGUAGE_COLUMNS,
    check_line,
    describe_data,
    describe_settings,
    describe_shape,
    first_lines,
    language_rows,
    runner_rows,
    verdict_cells,
)
from minilmx.eval.reports.notes import caution, explanations
from minilmx.eval.results import Result
from minilmx.wording import counted

_WIDEST = 1000


def to_text(write: Callable[[Console], None]) -> str:
    """The printed text, as wide as the terminal."""
    stream = StringIO()
    write(Console(file=stream, markup=False, emoji=False, highlight=False, color_system=None))
    return stream.getvalue()


def print_wide(table: Table, console: Console) -> None:
    """Print a table in its full width: cells that are cut would lose their numbers.

    Rows that are wider than the terminal wrap there.
    """
    console.width = max(console.width, Console(width=_WIDEST).measure(table).maximum)
    console.print(table)


def print_result(result: Result, console: Console) -> None:
    """Print the verdict, one evaluation in full or one row for each of several, then the limits."""
    for line in first_lines([result]):
        console.print(line, style="bold", soft_wrap=True)
    if len(result.evaluations) == 1:
        _print_evaluation(result.evaluations[0], console)
    else:
        _print_languages(result.evaluations, console)
    for check in result.checks:
        console.print(check_line(check), soft_wrap=True)
    if len(result.verdict.comparisons) > 1:
        for each in result.verdict.comparisons:
            answer, runner, reason, preset = verdict_cells(each)
            console.print(f"{answer}  {runner}  {reason} (preset {preset})", soft_wrap=True)


def _print_evaluation(evaluation: Evaluation, console: Console) -> None:
    """A column for each runner: its correlation with gold, and its drift from the first one."""
    console.print(
        f"{evaluation.model}, {describe_shape(evaluation)}\n{describe_data(evaluation)}",
        soft_wrap=True,
    )
    table = Table("", box=box.SIMPLE_HEAD)
    for result in evaluation.runners:
        table.add_column(result.runner, justify="right")
    for group in runner_rows(evaluation):
        table.add_row(group.heading)
        for name, *cells in group.rows:
            table.add_row(f"  {name}", *cells)
    print_wide(table, console)
    for result in evaluation.runners:
        for note in (*caution(result), *explanations(result)):
            console.print(note, soft_wrap=True)
    if evaluation.ladder:
        _print_ladder(evaluation.ladder, console)


def _print_languages(evaluations: Sequence[Evaluation], console: Console) -> None:
    """A row for each language and runner."""
    first = evaluations[0]
    settings = describe_settings(first)
    console.print(f"{first.model}, {first.dataset}, {first.split}{settings}", soft_wrap=True)
    table = Table(*LANGUAGE_COLUMNS[:2], box=box.SIMPLE_HEAD)
    for name in LANGUAGE_COLUMNS[2:]:
        table.add_column(name, justify="right")
    for row in language_rows(evaluations):
        table.add_row(*row)
    console.print(table)
    for result in first.runners:
        for note in caution(result):
            console.print(note, soft_wrap=True)


def _print_ladder(ladder: Ladder, console: Console) -> None:
    table = Table("step", "runner", box=box.SIMPLE_HEAD, title_justify="left")
    for name in ("max abs", "RMS", "share of final drift"):
        table.add_column(name, justify="right")
    for index, step in enumerate(ladder.steps):
        cells = (f"{step.max_abs:.2e}", f"{step.rms_abs:.2e}", f"{step.share:.1%}") if index else ("",) * 3
        table.add_row(step.name, step.runner, *cells)
    console.print(f"ladder, the first {counted(ladder.sentences, 'sentence')}", soft_wrap=True)
    console.print(table)
    if ladder.missing:
        console.print(f"not run here: {', '.join(ladder.missing)}", soft_wrap=True)
