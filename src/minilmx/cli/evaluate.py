"""mlx eval"""

from pathlib import Path
from typing import Any

import click

from minilmx.cli.options import as_runner_options, runner_settings


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
@click.option("--language", help="Language of a hub data set, such as de. [default for stsb: en]")
@click.option("--split", help="Split of a hub data set. [default: test]")
@click.option("--limit", type=click.IntRange(min=2), help="Use the first pairs only.")
@click.option(
    "--from",
    "saved",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Compare embeddings that `mlx run` saved, perhaps on another machine, instead of running "
    "anything. Give it at least twice; the first is the reference.",
)
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path),
    help="JSON file for the result. [default: results/ARTIFACT/DATASET-TIME.json]",
)
@click.option("--force", is_flag=True, help="Replace the output where it exists.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON, not as a table.")
@runner_settings
def evaluate(
    artifact: Path | None,
    runners: tuple[str, ...],
    dataset: str,
    language: str | None,
    split: str | None,
    limit: int | None,
    saved: tuple[Path, ...],
    output: Path | None,
    force: bool,
    as_json: bool,
    **settings: Any,
) -> None:
    """Run ARTIFACT on several runners over identical inputs and compare the embeddings.

    Prints each runner's Spearman and Pearson correlation (x100) of cosine similarity with the
    gold scores, and its element-wise embedding drift from the first runner. With --from, the
    drift between saved runs of the same artifact over the same input.
    """
    if saved:
        if artifact or runners:
            raise click.UsageError("--from compares saved runs: leave out ARTIFACT and --runner")
        _compare_saved(saved, output, force, as_json)
        return
    if artifact is None:
        raise click.UsageError("Missing argument 'ARTIFACT'.")
    from rich.console import Console

    from minilmx.atomic import check_writable
    from minilmx.cli.progress import progress_bars
    from minilmx.eval.evaluation import evaluate as evaluate_artifact
    from minilmx.eval.pairs import load_pairs
    from minilmx.eval.report import RESULTS, default_result_path, print_table, save_result, to_json
    from minilmx.models.artifact import open_artifact
    from minilmx.runners.registry import default_runners

    check_writable(output or RESULTS / "any.json", replace=force)
    options = as_runner_options(**settings)
    names = list(runners)
    if not names:
        names, note = default_runners()
        click.echo(note, err=True)
    opened = open_artifact(artifact)
    pairs = load_pairs(dataset, language, split, limit)
    with progress_bars() as track:
        result = evaluate_artifact(opened, names, pairs, options, track)
    path = output or default_result_path(result)
    save_result(result, path, replace=force)
    if as_json:
        click.echo(to_json(result), nl=False)
    else:
        print_table(result, Console(markup=False, emoji=False, highlight=False))
    click.echo(f"result: {path}", err=True)


def _compare_saved(saved: tuple[Path, ...], output: Path | None, force: bool, as_json: bool) -> None:
    from rich.console import Console

    from minilmx.eval.report import print_comparison, save_result, to_json
    from minilmx.eval.saved import compare_runs

    comparison = compare_runs(saved)
    if output is not None:
        save_result(comparison, output, replace=force)
        click.echo(f"result: {output}", err=True)
    if as_json:
        click.echo(to_json(comparison), nl=False)
    else:
        print_comparison(comparison, Console(markup=False, emoji=False, highlight=False))
