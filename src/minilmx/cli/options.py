"""Options that several commands share."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from minilmx.runners.protocol import RunnerOptions

ARTIFACT = click.argument("artifact", type=click.Path(path_type=Path))


def runner_settings(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that runners take; `as_runner_options` reads them."""
    for option in (
        click.option(
            "--model",
            type=click.Path(exists=True, file_okay=False, path_type=Path),
            help="Folder with the PyTorch weights, for the torch runner. [default: where the "
            "artifact's manifest says]",
        ),
        click.option(
            "--graph-optimization",
            type=click.Choice(["disable", "basic", "extended", "all"]),
            default="all",
            show_default=True,
            help="onnxruntime's graph optimization level.",
        ),
        click.option(
            "--threads",
            type=click.IntRange(min=1),
            help="Threads inside an operator. [default: the runner's own choice]",
        ),
    ):
        command = option(command)
    return command


def as_runner_options(
    threads: int | None, graph_optimization: str, model: Path | None
) -> RunnerOptions:
    """The values of `runner_settings` as one record."""
    return RunnerOptions(threads, graph_optimization, model)
