"""mlx bench"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

import minilmx
from minilmx.cli.console import show_result
from minilmx.cli.options import (
    ARTIFACT,
    GRAPHS,
    given_settings,
    require_writable,
    result_options,
    runner_settings,
)
from minilmx.cli.progress import console_progress


@click.command(short_help="Measure the speed of runners side by side.")
@ARTIFACT
@click.argument("texts", required=False)
@click.option("--column", help="CSV, TSV or Parquet column, or JSONL field, with the texts.")
@click.option(
    "--runner",
    "runners",
    multiple=True,
    default=["onnxruntime"],
    show_default=True,
    help="Repeatable; the first, with its first graph, is the baseline.",
)
@click.option(
    "--graph",
    "graphs",
    multiple=True,
    type=GRAPHS,
    help="Graph for every runner; repeatable. [default: every graph that the runner supports]",
)
@click.option(
    "--rounds", type=click.IntRange(min=1), default=5, show_default=True, help="Rounds after the warm-up."
)
@result_options
@runner_settings
def bench(
    artifact: Path,
    texts: str | None,
    column: str | None,
    runners: Sequence[str],
    graphs: Sequence[str],
    rounds: int,
    output: Path | None,
    replace: bool,
    as_json: bool,
    **settings: Any,
) -> None:
    """Measure runners of ARTIFACT side by side on TEXTS, in interleaved rounds.

    TEXTS is any input that `mlx run` takes. [default: the bundled sentences] `mlx report RESULT.json --output
    RESULT.html` draws the result as a page with a plot.
    """
    from minilmx.eval.reports.benchmark import print_benchmark

    require_writable(output, replace)
    settings = given_settings(runners, settings) | {"column": column, "graphs": graphs, "rounds": rounds}
    with console_progress() as progress:
        result = minilmx.benchmark(artifact, texts, runners=runners, progress=progress, **settings)
    show_result(result, output, replace, as_json, print_benchmark)
