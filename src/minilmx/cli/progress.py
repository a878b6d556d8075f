"""Progress on standard error, where that is a terminal."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from minilmx.runners.feeding import Advance

Track = Callable[[str, int], Advance]


@contextmanager
def progress_bars() -> Iterator[Track]:
    """Yield a function that starts a bar: given a label and a total, it returns its advance."""
    if not sys.stderr.isatty():
        yield lambda label, total: lambda done: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True) as progress:

        def track(label: str, total: int) -> Advance:
            task = progress.add_task(label, total=total)
            return lambda done: progress.advance(task, done)

        yield track
