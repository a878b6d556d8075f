"""Messages and progress bars on standard error."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from minilmx.cli.console import echo, one_line, visible
from minilmx.progress import Advance, Progress

if TYPE_CHECKING:
    from rich.progress import Progress as Bars


class ConsoleProgress(Progress):
    """Messages as lines; counts as bars, if standard error is a terminal."""

    def __init__(self, bars: "Bars | None") -> None:
        self._bars = bars

    def message(self, text: str) -> None:
        """Print one line."""
        echo(one_line(text), err=True)

    def start(self, label: str, total: int | None) -> Advance:
        """Start a bar."""
        bars = self._bars
        if bars is None:
            return lambda count: None
        task = bars.add_task(visible(label), total=total)
        return lambda count: bars.advance(task, count)


@contextmanager
def console_progress() -> Iterator[Progress]:
    """Yield the progress of a command; its bars disappear at the end."""
    if not sys.stderr.isatty():
        yield ConsoleProgress(None)
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        ProgressColumn,
        Task,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Progress as Bars
    from rich.text import Text

    class RateColumn(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text(f"{task.speed:,.0f}/s" if task.speed else "")

    label = TextColumn("{task.description}", markup=False)
    columns = (label, BarColumn(), MofNCompleteColumn(), RateColumn())
    # Over ten minutes: what comes one shard at a time has no rate within seconds.
    with Bars(
        *columns,
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
        speed_estimate_period=600,
    ) as bars:
        yield ConsoleProgress(bars)
