"""Options that several commands share."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from minilmx.runners.base import RunnerOptions

PACKED = click.option(
    "--packed",
    is_flag=True,
    help="Use the artifact's packed graph: several texts a row (see `mlx export --pack`).",
)
ARTIFACT = click.argument("artifact", type=click.Path(path_type=Path))


def runner_settings(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that runners take; `as_runner_options` reads them."""
    for option in (
        click.option(
            "--groq-execution",
            type=click.Choice(["held", "groqflow"]),
            default="held",
            show_default=True,
            help="held: the program is loaded once; groqflow: GroqFlow's own path, once a batch.",
        ),
        click.option(
            "--bundle",
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
            help="Run this build of the artifact on the card (see `mlx groq build --bundle`).",
        ),
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
            "--precision",
            type=click.Choice(["f32", "bf16", "int8"]),
            default="f32",
            show_default=True,
            help="Precision in which the openvino runner computes.",
        ),
        click.option(
            "--threads",
            type=click.IntRange(min=1),
            help="Threads that compute. [default: the runner's own choice, one a CPU]",
        ),
    ):
        command = option(command)
    return command


def as_runner_options(**settings: Any) -> RunnerOptions:
    """The values of `runner_settings` as one record; what takes long is said on standard error."""
    return RunnerOptions(**settings, say=lambda message: click.echo(message, err=True))
