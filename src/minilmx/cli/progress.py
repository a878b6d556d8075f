"""Progress on standard error, where that is a terminal."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from minilmx.embedding.feeding import Advance

Track = Callable[[str, int | None], Advance]


@contextmanager
def progress_bars() -> Iterator[Track]:
    """Yield a function that starts a bar: given a label and a total, it returns its advance.

    The total is None where nobody knows it.
    """
    if not sys.stderr.isatty():
        yield lambda label, total: lambda done: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        Task,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class RateColumn(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text(f"{task.speed:,.0f}/s" if task.speed else "")

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), RateColumn())
    # Over ten minutes: what comes a shard at a time has no rate within seconds.
    with Progress(
        *columns,
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
        speed_estimate_period=600,
    ) as progress:

        def track(label: str, total: int | None) -> Advance:
            task = progress.add_task(label, total=total)
            return lambda done: progress.advance(task, done)

        yield track
