"""Tables on standard output."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.console import Console


def show(write: Callable[["Console"], None]) -> None:
    """Print through click: rich itself ends with 1, a broken limit's code, where a pipe is closed."""
    from rich.console import Console

    console = Console(markup=False, emoji=False, highlight=False)
    with console.capture() as shown:
        write(console)
    click.echo(shown.get(), nl=False)
