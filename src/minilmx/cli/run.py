"""mlx run"""

import sys
from pathlib import Path
from typing import Any

import click

from minilmx.cli.options import ARTIFACT, PACKED, as_runner_options, runner_settings


@click.command()
@ARTIFACT
@click.argument("sentences", default="-")
@click.option("--runner", default="onnxruntime", show_default=True, help="See `mlx runners`.")
@click.option("--column", help="CSV, TSV or Parquet column, or JSONL field, with the sentences.")
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path),
    help="File for the embeddings: .npy, .npz, .parquet or .jsonl. [default: JSONL on standard output]",
)
@click.option("--force", is_flag=True, help="Replace the output where it exists.")
@click.option(
    "--fixed", is_flag=True, help="Use the fixed graph. [default: the dynamic twin, where the runner can]"
)
@PACKED
@runner_settings
def run(
    artifact: Path,
    sentences: str,
    runner: str,
    column: str | None,
    output: Path | None,
    force: bool,
    fixed: bool,
    packed: bool,
    **settings: Any,
) -> None:
    """Embed SENTENCES with ARTIFACT: one float32 embedding a sentence, in order.

    SENTENCES is a text file (one a line), CSV, TSV, JSONL or Parquet, or - for standard input.
    Beside an output file a record of the run is written: OUTPUT.run.json.
    """
    from minilmx.cli.progress import progress_bars
    from minilmx.models.artifact import open_artifact
    from minilmx.models.tables import read_texts
    from minilmx.runners.embedding_file import check_output, save_embeddings, write_jsonl
    from minilmx.runners.job import embed_texts
    from minilmx.runners.registry import find_runner, open_runner

    if fixed and packed:
        raise click.UsageError("--fixed and --packed name two graphs: give one of them")
    if output is not None:
        check_output(output, replace=force)
    opened = open_artifact(artifact)
    if packed:
        opened = opened.as_packed()
    elif not fixed and find_runner(runner).dynamic:
        opened = opened.as_dynamic()
    texts = read_texts(sentences, column)
    options = as_runner_options(**settings)
    with open_runner(runner, opened, options) as running, progress_bars() as track:
        values, record = embed_texts(opened, running, texts, track(runner, len(texts)))
    if output is None:
        write_jsonl(sys.stdout, texts, values)
    else:
        save_embeddings(output, texts, values, record, replace=force)
    where = f" to {output}" if output else ""
    click.echo(
        f"{record.rows} sentences{where} with {runner} ({record.graph} graph) in {record.seconds:.2f} s "
        f"({record.sentences_per_second:,.0f}/s), {record.truncated_rows} truncated",
        err=True,
    )
