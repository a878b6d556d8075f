"""mlx eval"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import minilmx
from minilmx.cli.console import echo, show_result
from minilmx.cli.options import (
    ARTIFACT,
    DATASET,
    FORCE,
    GRAPH,
    JSON,
    PROMPT,
    TIME_LIMIT,
    flag,
    given_settings,
    pair_options,
    pair_settings,
    require_output,
    runner_settings,
    together,
)
from minilmx.cli.progress import console_progress
from minilmx.eval.metrics.table import LIMIT_OPTIONS, LIMITED
from minilmx.files.atomic import check_writable

if TYPE_CHECKING:
    from minilmx.eval.limits import LimitRules, Limits
    from minilmx.eval.results import Result


PRESET = click.option(
    "--preset",
    type=click.Choice(["float32", "float16", "bfloat16", "int8"]),
    help="Precision whose rounding counts as SAME. [default: the coarsest of those that are compared]",
)
judgement_options = together(
    PRESET,
    *(click.option(flag(name), type=float, help=f"Limit: {text}") for name, text in LIMIT_OPTIONS),
    click.option(
        "--limits",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="A limits.toml with limits by runner and by language. Options override it.",
    ),
)


def given_limits(settings: dict[str, Any]) -> "tuple[Limits, LimitRules]":
    """The limits that are options, and those of --limits, overridden by them; all leave `settings`."""
    from minilmx.eval.limits import Limits, limit_rules

    stated = Limits({name: settings.pop(name) for name, _ in LIMIT_OPTIONS})
    return stated, limit_rules(settings.pop("limits")).under(stated)


def require_comparison(preset: str | None, stated: "Limits", runners: int) -> None:
    """Refuse a preset, and limits that compare, with one runner. Raises UsageError."""
    relative = ["preset"] if preset else [name for name in stated if not LIMITED[name].absolute]
    if runners == 1 and relative:
        raise click.UsageError(f"{flag(relative[0])} compares runners: one runner; expected at least two.")


def _moved(ctx: click.Context, parameter: click.Parameter, value: tuple[str, ...]) -> None:
    if value:
        raise click.UsageError(
            "--from has moved: use `mlx compare FILE FILE` for saved embeddings, or `mlx report RESULT "
            "--limits limits.toml` to check limits against a saved result"
        )


@click.command("eval", short_help="Compare runners of an artifact on graded sentence pairs.")
@ARTIFACT
@click.option(
    "--runner",
    "runners",
    multiple=True,
    help="Repeatable; the first is the reference. [default: onnxruntime, and groq if a "
    "GroqCard is found, otherwise groq-emulator]",
)
@DATASET
@click.option(
    "--language",
    "languages",
    multiple=True,
    help="Language of a hub data set, such as de; repeatable. all: every language of stsb. "
    "[default for stsb: en]",
)
@pair_options
@click.option("--limit", type=click.IntRange(min=2), help="Use only the first pairs.")
@click.option(
    "--ladder", is_flag=True, help="Also show which step between PyTorch and the runner causes the drift."
)
@judgement_options
@click.option(
    "--from",
    multiple=True,
    hidden=True,
    expose_value=False,
    is_eager=True,
    callback=_moved,
    help="Moved to `mlx compare` and `mlx report`.",
)
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path),
    help="JSON file for the result. [default: results/ARTIFACT/DATASET-TIME.json]",
)
@FORCE
@JSON
@PROMPT
@GRAPH
@TIME_LIMIT
@runner_settings
def evaluate(
    artifact: Path,
    runners: tuple[str, ...],
    preset: str | None,
    output: Path | None,
    replace: bool,
    as_json: bool,
    **settings: Any,
) -> None:
    """Run ARTIFACT on several runners over identical inputs and compare the embeddings.

    Prints each runner's Spearman and Pearson correlation (x100) of the model's similarity (cosine by
    default) with the gold scores, and the drift of its embeddings from the first runner's: number by
    number, in the order of the pairs, and in search results. The first line is the answer: SAME, DRIFTED
    (the numbers differ by more than rounding, but a search returns the same) or DIFFERENT. For
    a cross-encoder, it compares the scores of the pairs and their order. Exits with 0 only for SAME or, if
    you set limits, only if all of them hold.
    """
    from minilmx.eval.results import RESULTS, default_result_path
    from minilmx.runners.registry import default_runners

    stated, rules = given_limits(settings)
    data = pair_settings(settings)
    names = ("dataset", "languages", "limit", "ladder", "prompt", "graph")
    data |= {name: settings.pop(name) for name in names}
    require_output(output, replace)
    check_writable(output or RESULTS / "any.json", replace=replace)
    with console_progress() as progress:
        opened = minilmx.open_artifact(artifact)
        if not runners:
            defaults, note = default_runners(opened)
            progress.message(note)
            runners = tuple(defaults)
        require_comparison(preset, stated, len(runners))
        result = minilmx.evaluate(
            opened,
            runners,
            limits=rules,
            preset=preset,
            progress=progress,
            **data,
            **given_settings(runners, settings),
        )
    finish(result, output or default_result_path(result), replace, as_json)


def finish(
    result: "Result", path: Path | None, replace: bool, as_json: bool, notes: Sequence[str] = ()
) -> None:
    """Save and print a result, then the notes, and exit with 1 if it did not pass."""
    from minilmx.eval.reports.terminal import print_result

    show_result(result, path, replace, as_json, print_result)
    for note in notes:
        echo(note)
    if path is not None:
        echo(f"result: {path}", err=True)
    if result.passed is False:
        raise click.exceptions.Exit(1)
