"""mlx eval"""

from pathlib import Path
from typing import Any

import click

from minilmx.cli.options import ARTIFACT, as_runner_options, runner_settings


@click.command("eval")
@ARTIFACT
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
    "--output",
    "-o",
    type=click.Path(path_type=Path),
    help="JSON file for the result. [default: results/ARTIFACT/DATASET-TIME.json]",
)
@click.option("--force", is_flag=True, help="Replace the output where it exists.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON, not as a table.")
@runner_settings
def evaluate(
    artifact: Path,
    runners: tuple[str, ...],
    dataset: str,
    language: str | None,
    split: str | None,
    limit: int | None,
    output: Path | None,
    force: bool,
    as_json: bool,
    **settings: Any,
) -> None:
    """Run ARTIFACT on several runners over identical inputs and compare the embeddings.

    Prints each runner's Spearman and Pearson correlation (x100) of cosine similarity with the
    gold scores, and its element-wise embedding drift from the first runner.
    """
    from rich.console import Console

    from minilmx.atomic import check_writable
    from minilmx.cli.progress import progress_bars
    from minilmx.eval.evaluation import evaluate as evaluate_artifact
    from minilmx.eval.pairs import load_pairs
    from minilmx.eval.report import default_result_path, print_table, save_result, to_json
    from minilmx.models.artifact import open_artifact
    from minilmx.runners.registry import default_runners, find_runner

    if output is not None:
        check_writable(output, replace=force)
    names = list(runners)
    if not names:
        names, note = default_runners()
        click.echo(note, err=True)
    for name in names:
        find_runner(name)
    opened = open_artifact(artifact)
    pairs = load_pairs(dataset, language, split, limit)
    with progress_bars() as track:
        result = evaluate_artifact(opened, names, pairs, as_runner_options(**settings), track)
    path = output or default_result_path(result)
    save_result(result, path, replace=force or output is None)
    if as_json:
        click.echo(to_json(result), nl=False)
    else:
        print_table(result, Console())
    click.echo(f"result: {path}", err=True)
