"""mlx run"""

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import minilmx
from minilmx.cli.console import echo, print_document
from minilmx.cli.describe import describe_truncated
from minilmx.cli.options import (
    ARTIFACT,
    FORCE,
    GRAPH,
    PROMPT,
    TIME_LIMIT,
    flag,
    format_options,
    given_settings,
    require_output,
    runner_settings,
    text_format,
    together,
)
from minilmx.cli.progress import console_progress
from minilmx.wording import counted

if TYPE_CHECKING:
    from collections.abc import Callable

    from minilmx.embedding.corpus.job import Summary
    from minilmx.embedding.record import RunRecord
    from minilmx.models.artifact import Artifact

# The settings of an output folder: not for a single file.
_FOLDER_OPTIONS = {
    "id_column": click.option("--id", "id_column", help="Column with the ids. [default: rows are numbered]"),
    "keep_text": click.option("--keep-text", is_flag=True, help="Write the texts beside the embeddings."),
    "format": click.option(
        "--format",
        type=click.Choice(["parquet", "lance"]),
        default="parquet",
        show_default=True,
        help="Format of the folder: Parquet shards, or a Lance dataset.",
    ),
    "dtype": click.option(
        "--dtype",
        type=click.Choice(["float32", "float16"]),
        default="float32",
        show_default=True,
        help="Type of the embeddings' numbers in a folder.",
    ),
    "shard_rows": click.option(
        "--shard-rows",
        type=click.IntRange(min=1),
        default=32_768,
        show_default=True,
        help="Rows per shard: the most that an interrupted run loses.",
    ),
    "workers": click.option(
        "--workers",
        type=click.IntRange(min=1),
        help="Worker processes, each with its own runner. [default: 1; with Ray, as many as fit]",
    ),
    "engine": click.option(
        "--engine",
        type=click.Choice(["local", "ray"]),
        default="local",
        show_default=True,
        help="Where the workers run: on this machine, or on a Ray cluster.",
    ),
    "ray_address": click.option(
        "--ray-address", help="Address of the Ray cluster. [default: a new one on this machine]"
    ),
    "cpus_per_worker": click.option(
        "--cpus-per-worker",
        type=click.IntRange(min=1),
        help="CPUs of the Ray cluster for each worker. [default: 1]",
    ),
}


@click.command(short_help="Embed texts with an artifact on a runner.")
@ARTIFACT
@click.argument("inputs", nargs=-1)
@click.option("--runner", default="onnxruntime", show_default=True, help="See `mlx runners`.")
@click.option("--column", help="CSV, TSV or Parquet column, or JSONL field, with the sentences.")
@click.option(
    "--output",
    "-o",
    help="File for the embeddings: .npy, .npz, .parquet or .jsonl; or a folder/ for shards. "
    "[default: JSONL on standard output]",
)
@FORCE
@click.option(
    "--text-columns",
    nargs=2,
    metavar="NAME NAME",
    help="For a cross-encoder: the columns of the two texts. [default: sentence1 sentence2]",
)
@click.option(
    "--on-empty",
    type=click.Choice(["error", "skip", "null"]),
    default="error",
    show_default=True,
    help="What to do with rows without a text. null: keep them, with a null embedding.",
)
@format_options
@PROMPT
@GRAPH
@TIME_LIMIT
@runner_settings
@together(*_FOLDER_OPTIONS.values())
def run(
    artifact: Path, inputs: tuple[str, ...], runner: str, output: str | None, replace: bool, **settings: Any
) -> None:
    """Embed sentences with ARTIFACT: one float32 embedding per sentence, in order.

    INPUTS is a text file (one sentence per line), CSV, TSV, JSON, JSONL or Parquet, a URL of one, or - for
    standard input. The record of the run is written beside the output file: OUTPUT.run.json.

    If --output is a folder, INPUTS are any number of such files, folders and patterns. The embeddings and
    the other columns of the inputs are written as Parquet shards or, with --format lance, as a Lance
    dataset. To resume an interrupted run, run the same command again.

    If ARTIFACT is a cross-encoder, INPUTS is a file of pairs of texts, and the output is one score per
    pair: JSON lines, or a .npy.
    """
    from minilmx.api.artifact import resolve_artifact

    folder_settings = {name: settings.pop(name) for name in _FOLDER_OPTIONS}
    to_folder = output is not None and _is_folder(output)
    require_output(output, replace)
    # For a folder everything is verified before a worker starts.
    opened = resolve_artifact(artifact, runner=None if to_folder else runner, scores=True)
    if opened.gives_scores and (to_folder or len(inputs) > 1):
        raise click.UsageError("a cross-encoder scores one file of pairs into one file.")
    _require_fit(inputs, to_folder)
    common = {name: settings.pop(name) for name in ("column", "text_columns", "on_empty", "prompt", "graph")}
    common |= {"text_format": text_format(settings), "runner": runner}
    common |= given_settings([runner], settings)
    if opened.gives_scores:
        for name, default in (("column", None), ("on_empty", "error"), ("prompt", None)):
            if common.pop(name) != default:
                raise click.UsageError(
                    f"{flag(name)} is for texts to embed: this is a cross-encoder's artifact."
                )
    elif common.pop("text_columns") is not None:
        raise click.UsageError("--text-columns is for a cross-encoder: this artifact embeds single texts.")
    source = inputs[0] if inputs else "-"
    with console_progress() as progress:
        common["progress"] = progress
        if to_folder:
            summary = minilmx.embed_corpus(
                opened, inputs or ("-",), output or "", restart=replace, **common, **folder_settings
            )
            message = _describe_folder(summary, output, common["on_empty"], opened)
        elif output is None:
            message = _describe(_printer(opened)(print_document, opened, source, **common), output, opened)
        else:
            write = minilmx.score_file if opened.gives_scores else minilmx.embed_file
            message = _describe(write(opened, source, output, replace=replace, **common), output, opened)
    echo(message, err=True)


def _describe(record: "RunRecord", output: str | None, artifact: "Artifact") -> str:
    """What a run to a file or to standard output did."""
    where, timing = f" to {output}" if output else "", record.timing
    prompted = f" and the prompt {record.prompt}" if record.prompt else ""
    unit = "pair" if artifact.gives_scores else "sentence"
    return (
        f"{counted(record.sentences, unit)}{where} with {record.runner} ({record.graph} graph){prompted} in "
        f"{timing.seconds:.2f} s ({timing.sentences_per_second:,.0f}/s), "
        f"{describe_truncated(record.truncated_sentences, artifact)}"
    )


def _printer(artifact: "Artifact") -> "Callable[..., RunRecord]":
    """What prints the scores or the embeddings of an artifact."""
    if artifact.gives_scores:
        from minilmx.api.score import print_scores

        return print_scores
    from minilmx.api.run import print_embeddings

    return print_embeddings


def _describe_folder(summary: "Summary", output: str | None, on_empty: str, artifact: "Artifact") -> str:
    """What a run to a folder did, and where its time went."""
    kept = summary.rows - summary.embedded_rows
    before = f", {kept:,} of them already done" if kept else ""
    empty = f", {summary.empty_rows:,} more without a text skipped" if on_empty == "skip" else ""
    if on_empty == "null":
        empty = f", {summary.empty_rows:,} of them without a text"
    return (
        f"{counted(summary.rows, 'row')} of {counted(summary.files, 'file')} to "
        f"{counted(summary.shards, 'shard')} in {Path(output or '')} with {summary.runner} "
        f"({summary.graph} graph){before}{empty}: {summary.seconds:.2f} s "
        f"({summary.embedded_rows / summary.seconds:,.0f}/s), "
        f"{describe_truncated(summary.truncated_rows, artifact)}; runner "
        f"{summary.runner_seconds:.2f} s, reading {summary.reading_seconds:.2f} s, writing "
        f"{summary.writing_seconds:.2f} s"
    )


def _require_fit(inputs: tuple[str, ...], to_folder: bool) -> None:
    """Refuse an option of folders for a file. Raises UsageError."""
    source = click.get_current_context().get_parameter_source
    given = [name for name in _FOLDER_OPTIONS if source(name) is not click.core.ParameterSource.DEFAULT]
    if not to_folder:
        if len(inputs) > 1:
            raise click.UsageError("several inputs need an output folder: end --output with a /")
        if given:
            option = {"id_column": "--id"}.get(given[0], flag(given[0]))
            raise click.UsageError(f"{option} needs an output folder: end --output with a /")


def _is_folder(output: str) -> bool:
    """Whether an output is for shards. A folder with the name of a file is a mistake."""
    with suppress(OSError):  # a name that is too long
        return output.endswith("/") or (not Path(output).suffix and Path(output).is_dir())
    return False
