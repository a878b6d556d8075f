"""mlx eval"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from minilmx.cli.console import show
from minilmx.cli.options import PACKED, as_runner_options, runner_settings
from minilmx.eval.metrics.table import LIMIT_OPTIONS

if TYPE_CHECKING:
    from minilmx.eval.limits import LimitRules
    from minilmx.eval.results import Result


def _limit_options(command: Any) -> Any:
    for name, text in reversed(LIMIT_OPTIONS):
        option = f"--{name.replace('_', '-')}"
        command = click.option(option, type=float, help=f"{text} Exit code 1 if it is not kept.")(command)
    return command


@click.command("eval")
@click.argument("artifact", type=click.Path(path_type=Path), required=False)
@click.option(
    "--runner",
    "runners",
    multiple=True,
    help="Repeatable; the first is the reference. [default: onnxruntime, and groq where a "
    "GroqCard is found, else groq-emulator]",
)
@click.option(
    "--dataset",
    default="bundled",
    show_default=True,
    help="bundled, stsb, a hub id, or a file of pairs (CSV, TSV, JSONL, Parquet).",
)
@click.option(
    "--language",
    "languages",
    multiple=True,
    help="Language of a hub data set, such as de; repeatable, and all for every one of stsb's. "
    "[default for stsb: en]",
)
@click.option("--split", help="Split of a hub data set. [default: test]")
@click.option("--limit", type=click.IntRange(min=2), help="Use the first pairs only.")
@click.option("--ladder", is_flag=True, help="Also show which step from PyTorch on brings the drift.")
@_limit_options
@click.option(
    "--limits",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A limits.toml: limits by runner and by language. Options given here go first.",
)
@click.option(
    "--from",
    "saved",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Run nothing. A saved result: check limits against it. Embeddings that `mlx run` saved, "
    "given at least twice: compare them; the first is the reference.",
)
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path),
    help="JSON file for the result. [default: results/ARTIFACT/DATASET-TIME.json]",
)
@click.option("--force", is_flag=True, help="Replace the output where it exists.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON, not as a table.")
@PACKED
@runner_settings
def evaluate(
    artifact: Path | None,
    runners: tuple[str, ...],
    dataset: str,
    languages: tuple[str, ...],
    split: str | None,
    limit: int | None,
    ladder: bool,
    limits: Path | None,
    saved: tuple[Path, ...],
    output: Path | None,
    force: bool,
    as_json: bool,
    packed: bool,
    **settings: Any,
) -> None:
    """Run ARTIFACT on several runners over identical inputs and compare the embeddings.

    Prints each runner's Spearman and Pearson correlation (x100) of cosine similarity with the
    gold scores, and its embedding drift from the first runner: element by element, in the order
    of the pairs, and in what a search returns. Exits with 1 where a limit is not kept.
    """
    from minilmx.eval.limits import Limits

    stated = Limits({name: settings.pop(name) for name, _ in LIMIT_OPTIONS})
    if saved:
        if artifact or runners:
            raise click.UsageError("--from runs nothing: leave out ARTIFACT and --runner")
        if all(_is_result(path) for path in saved) and len(saved) == 1:
            _check_saved(saved[0], _rules(stated, limits), output, force, as_json)
        else:
            _compare_saved(saved, output, force, as_json)
        return
    if artifact is None:
        raise click.UsageError("Missing argument 'ARTIFACT'.")

    from minilmx.cli.progress import progress_bars
    from minilmx.eval.datasets.pairs import expand_languages, load_pairs
    from minilmx.eval.evaluation import evaluate as evaluate_artifact
    from minilmx.eval.limits import apply_limits
    from minilmx.eval.results import RESULTS, Result
    from minilmx.files.atomic import check_writable
    from minilmx.models.artifact import open_artifact
    from minilmx.runners.registry import default_runners

    rules = _rules(stated, limits)
    check_writable(output or RESULTS / "any.json", replace=force)
    options = as_runner_options(**settings)
    names = list(runners)
    opened = open_artifact(artifact)
    if not names:
        names, note = default_runners(opened)
        click.echo(note, err=True)
    if packed:
        opened = opened.as_packed()
    data = [load_pairs(dataset, each, split, limit) for each in expand_languages(dataset, languages)]
    with progress_bars() as track:
        evaluations = tuple(
            evaluate_artifact(opened, names, pairs, options, track, ladder=ladder) for pairs in data
        )
    checks = tuple(check for each in evaluations for check in apply_limits(each, rules))
    _finish(Result(evaluations, checks), output, force, as_json)


def _is_result(path: Path) -> bool:
    return path.suffix == ".json" and not path.name.endswith(".run.json")


def _rules(stated: Any, file: Path | None) -> "LimitRules":
    """The limits of the file, and before them those stated as options."""
    from minilmx.eval.limits import LimitRules, Limits, read_limits

    rules = read_limits(file) if file else LimitRules(Limits(), {}, {}, {})
    return rules.under(stated)


def _check_saved(path: Path, rules: "LimitRules", output: Path | None, force: bool, as_json: bool) -> None:
    from minilmx.eval.document import load_document
    from minilmx.eval.limits import apply_limits
    from minilmx.eval.results import Result

    evaluations = load_document(path, Result).evaluations
    checks = tuple(check for each in evaluations for check in apply_limits(each, rules))
    _finish(Result(evaluations, checks), output, force, as_json, save=output is not None)


def _finish(result: "Result", output: Path | None, force: bool, as_json: bool, *, save: bool = True) -> None:
    """Save, print, and exit with 1 where a limit was not kept."""
    from minilmx.eval.document import save_document, to_json
    from minilmx.eval.reports.terminal import print_result
    from minilmx.eval.results import default_result_path

    path = output or default_result_path(result)
    if save:
        save_document(result, path, replace=force)
    if as_json:
        click.echo(to_json(result), nl=False)
    else:
        show(lambda console: print_result(result, console))
    if save:
        click.echo(f"result: {path}", err=True)
    if result.passed is False:
        sys.exit(1)


def _compare_saved(saved: tuple[Path, ...], output: Path | None, force: bool, as_json: bool) -> None:
    from minilmx.eval.reports.terminal import print_comparison
    from minilmx.eval.saved import compare_runs, save_comparison

    comparison = compare_runs(saved)
    if output is not None:
        save_comparison(comparison, output, replace=force)
        click.echo(f"result: {output}", err=True)
    if as_json:
        click.echo(comparison.to_json(), nl=False)
    else:
        show(lambda console: print_comparison(comparison, console))
