"""The formats of a report, by name."""

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table

from minilmx.errors import EvalError
from minilmx.eval.reports.history import HISTORY_COLUMNS, history_rows, trace_history
from minilmx.eval.reports.html import render_html
from minilmx.eval.reports.junit import render_junit
from minilmx.eval.reports.markdown import render_markdown
from minilmx.eval.reports.mteb import render_mteb
from minilmx.eval.reports.terminal import print_result, print_wide, to_text
from minilmx.eval.results import Result

FORMATS = ("table", "html", "markdown", "junit", "mteb")
_OF_ONE = ("junit", "mteb")


def render(form: str, results: Sequence[Result], runner: str | None = None) -> str:
    """The results in one of FORMATS; several as their history. `runner` is the runner of an mteb result.

    Raises EvalError for another format, for several results in a format of one, and for results that have
    no common history.
    """
    if form not in FORMATS:
        raise EvalError(f"the format {form!r}; expected one of {', '.join(FORMATS)}")
    if form in _OF_ONE and len(results) > 1:
        raise EvalError(f"the format {form}: {len(results)} results; expected one")
    if form == "mteb":
        text = render_mteb(results[0], runner)
    elif form == "junit":
        text = render_junit(results[0])
    else:
        text = {"table": render_table, "html": render_html, "markdown": render_markdown}[form](results)
    # Half of a surrogate pair, which JSON can contain, is not a character and cannot be written.
    return text.encode("utf-8", "replace").decode("utf-8")


def render_table(results: Sequence[Result]) -> str:
    """One result as `mlx eval` prints it, or a history as a table, as wide as the terminal."""
    if len(results) == 1:
        return to_text(lambda console: print_result(results[0], console))
    return to_text(lambda console: _print_history(results, console))


def _print_history(results: Sequence[Result], console: Console) -> None:
    history = trace_history(results)
    table = Table(*HISTORY_COLUMNS, box=box.SIMPLE_HEAD)
    for cells in history_rows(history):
        table.add_row(*cells)
    for line in history.first_lines:
        console.print(line, style="bold", soft_wrap=True)
    console.print(f"{history.model}, {history.dataset}, drift from {history.reference}", soft_wrap=True)
    print_wide(table, console)
    for note in history.cautions:
        console.print(note, soft_wrap=True)
