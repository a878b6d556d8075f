"""mlx bisect"""

from pathlib import Path
from typing import Any

import click

import minilmx
from minilmx.cli.console import echo, show_result
from minilmx.cli.options import (
    ARTIFACT,
    DATASET,
    GRAPHS,
    pair_options,
    pair_settings,
    require_writable,
    result_options,
)
from minilmx.cli.progress import console_progress


@click.command(short_help="Find the step of a graph that causes the drift.")
@ARTIFACT
@click.option("--reference", default="onnxruntime", show_default=True, help="onnxruntime or groq-emulator.")
@click.option(
    "--candidate", help="onnxruntime or groq-emulator. [default with --candidate-artifact: the reference]"
)
@click.option(
    "--candidate-artifact",
    type=click.Path(path_type=Path),
    help="Another artifact of the same model, shape and tokenizer, for the candidate to run.",
)
@click.option(
    "--threshold",
    type=click.FloatRange(min=0),
    default=0.01,
    show_default=True,
    help="Report the first boundary with a greater relative error. Not a limit.",
)
@DATASET
@click.option("--language", help="Language of a hub data set, such as de. [default for stsb: en]")
@pair_options
@click.option(
    "--limit",
    type=click.IntRange(min=2),
    help="Use only the first pairs. [default: 64] All tensors are kept in memory: about 1 MB per pair.",
)
@click.option(
    "--graph",
    type=GRAPHS,
    default="auto",
    show_default=True,
    help="Graph of the artifact to bisect. auto: the fixed one. The packed one cannot be bisected.",
)
@result_options
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    help="Threads inside an operator. [default: onnxruntime's own choice]",
)
def bisect(artifact: Path, output: Path | None, replace: bool, as_json: bool, **settings: Any) -> None:
    """Find the step of ARTIFACT's graph that causes the drift between two runners or artifacts.

    Compares the tensors after the embeddings, after the attention and the MLP of each layer, after
    the pooling, and the sentence embeddings. For each boundary it prints the cosine, the relative error,
    the step's own share of the final drift, and the float16 headroom. The first line says whether the
    sentence embeddings are still the same, and the exit code follows it, as in `mlx eval`.
    """
    from minilmx.eval.reports.bisection import print_bisection

    require_writable(output, replace)
    data = pair_settings(settings)
    with console_progress() as progress:
        result = minilmx.bisect(artifact, progress=progress, **data, **settings)
    show_result(result, output, replace, as_json, print_bisection)
    if output is not None:
        echo(f"result: {output}", err=True)
    if not result.verdict.passed:
        raise click.exceptions.Exit(1)
