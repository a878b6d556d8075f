"""mlx run"""

from collections.abc import Callable
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
)
from minilmx.wording import counted

if TYPE_CHECKING:
    from minilmx.embedding.record import RunRecord
    from minilmx.files.formats import TextFormat
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
        default=1,
        show_default=True,
        help="CPUs of the Ray cluster that each worker gets.",
    ),
}
_RAY_OPTIONS = ("ray_address", "cpus_per_worker")


def _folder_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(_FOLDER_OPTIONS.values()):
        command = option(command)
    return command


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
    help="Columns of the two texts of a pair, for a cross-encoder. [default: sentence1 sentence2]",
)
@click.option(
    "--on-empty",
    type=click.Choice(["error", "skip", "null"]),
    default="error",
    show_default=True,
    help="What to do with a row without a text. null: keep it, with null as its embedding.",
)
@format_options
@PROMPT
@GRAPH
@TIME_LIMIT
@runner_settings
@_folder_options
def run(
    artifact: Path,
    inputs: tuple[str, ...],
    runner: str,
    column: str | None,
    output: str | None,
    force: bool,
    text_columns: tuple[str, str] | None,
    on_empty: str,
    prompt: str | None,
    graph: str,
    **settings: Any,
) -> None:
    """Embed sentences with ARTIFACT: one float32 embedding per sentence, in order.

    INPUTS is a text file (one sentence per line), CSV, TSV, JSON, JSONL or Parquet, a URL of one, or - for
    standard input. The record of the run is written beside the output file: OUTPUT.run.json.

    If --output is a folder, INPUTS are any number of such files, folders and patterns, and the
    embeddings go to the folder as Parquet shards, or with --format lance as a Lance dataset, with the
    other columns of the inputs. To resume a run that was interrupted, give the same command again.

    If ARTIFACT is of a cross-encoder, INPUTS is a file of pairs of texts, and the output has one score per
    pair: JSON lines, or a .npy.
    """
    from minilmx.models.artifact import read_artifact

    folder_settings = {name: settings.pop(name) for name in _FOLDER_OPTIONS}
    to_folder = output is not None and _is_folder(output)
    require_output(output, force)
    facts = read_artifact(artifact)
    is_cross_encoder = facts.gives_scores
    if is_cross_encoder and (to_folder or len(inputs) > 1):
        raise click.UsageError("a cross-encoder scores the pairs of one file into one file.")
    _require_fit(inputs, to_folder, folder_settings["engine"])
    common: dict[str, Any] = {
        "column": column,
        "text_format": text_format(settings),
        "on_empty": on_empty,
        "prompt": prompt,
        "runner": runner,
        "graph": graph,
    }
    common |= given_settings([runner], settings)
    if is_cross_encoder:
        for name, default in (("column", None), ("on_empty", "error"), ("prompt", None)):
            if common.pop(name) != default:
                raise click.UsageError(
                    f"{flag(name)} is for texts to embed: this is a cross-encoder's artifact."
                )
        common["text_columns"] = text_columns
        record = _score(artifact, inputs[0] if inputs else "-", output, force, common)
        _summarise(record, "pair", output, facts)
    elif text_columns is not None:
        raise click.UsageError("--text-columns are of pairs, which only a cross-encoder scores.")
    elif to_folder:
        _run_to_folder(artifact, inputs, Path(output or ""), force, common | folder_settings, facts)
    else:
        record = _run_to_file(artifact, inputs[0] if inputs else "-", output, force, common)
        _summarise(record, "sentence", output, facts)


def _run_to_file(
    artifact: Path, source: str, output: str | None, force: bool, common: dict[str, Any]
) -> "RunRecord":
    from minilmx.cli.progress import console_progress

    with console_progress() as progress:
        if output is None:
            return _print_embeddings(artifact, source, progress=progress, **common)
        return minilmx.embed_file(artifact, source, output, replace=force, progress=progress, **common)


def _summarise(record: "RunRecord", unit: str, output: str | None, artifact: "Artifact") -> None:
    """Say what a run to a file or to standard output did."""
    where, timing = f" to {output}" if output else "", record.timing
    prompted = f" and the prompt {record.prompt}" if record.prompt else ""
    echo(
        f"{counted(record.sentences, unit)}{where} with {record.runner} ({record.graph} graph){prompted} in "
        f"{timing.seconds:.2f} s ({timing.sentences_per_second:,.0f}/s), "
        f"{describe_truncated(record.truncated_sentences, artifact)}",
        err=True,
    )


def _score(
    artifact: Path, source: str, output: str | None, force: bool, settings: dict[str, Any]
) -> "RunRecord":
    """Score pairs into a file, or print the scores."""
    from minilmx.api.artifact import opened_artifact
    from minilmx.cli.progress import console_progress
    from minilmx.embedding.score_file import write_scores
    from minilmx.embedding.scorer import Scorer
    from minilmx.files.pairs import open_pairs

    with console_progress() as progress:
        if output is not None:
            return minilmx.score_file(artifact, source, output, replace=force, progress=progress, **settings)
        pairs = open_pairs(source, settings.pop("text_columns"), settings.pop("text_format"))
        opened = opened_artifact(artifact, None, settings["runner"], scores=True)
        with Scorer(opened, progress=progress, **settings) as scorer:
            write_scores(
                print_document,
                scorer.stream(pairs, advance=progress.start(settings["runner"], pairs.count)),
            )
            return scorer.record()


def _print_embeddings(
    artifact: Path,
    source: str,
    *,
    column: str | None,
    text_format: "TextFormat",
    on_empty: str,
    progress: Any,
    **settings: Any,
) -> "RunRecord":
    from minilmx.embedding.output_file import write_jsonl
    from minilmx.files.texts import open_texts

    texts = open_texts(source, column, text_format, on_empty)
    with minilmx.load(artifact, progress=progress, **settings) as embedder:
        write_jsonl(
            print_document, embedder.stream(texts, advance=progress.start(settings["runner"], texts.count))
        )
        if texts.empty_note:
            progress.message(texts.empty_note)
        return embedder.record()


def _run_to_folder(
    artifact: Path,
    inputs: tuple[str, ...],
    output: Path,
    force: bool,
    settings: dict[str, Any],
    facts: "Artifact",
) -> None:
    from minilmx.cli.progress import console_progress

    with console_progress() as progress:
        summary = minilmx.embed_corpus(
            artifact, inputs or ("-",), output, restart=force, progress=progress, **settings
        )
    kept = summary.rows - summary.embedded_rows
    before = f", {kept} of them already done" if kept else ""
    empty = f", {summary.empty_rows} more without a text skipped" if settings["on_empty"] == "skip" else ""
    if settings["on_empty"] == "null":
        empty = f", {summary.empty_rows} of them without a text"
    echo(
        f"{counted(summary.rows, 'row')} of {counted(summary.files, 'file')} to "
        f"{counted(summary.shards, 'shard')} in {output} with {summary.runner} ({summary.graph} graph)"
        f"{before}{empty}: {summary.seconds:.2f} s ({summary.embedded_rows / summary.seconds:,.0f}/s), "
        f"{describe_truncated(summary.truncated_rows, facts)}; runner "
        f"{summary.runner_seconds:.2f} s, reading {summary.reading_seconds:.2f} s, writing "
        f"{summary.writing_seconds:.2f} s",
        err=True,
    )


def _require_fit(inputs: tuple[str, ...], to_folder: bool, engine: str) -> None:
    """Refuse an option of folders for a file, and one of Ray without Ray. Raises UsageError."""
    source = click.get_current_context().get_parameter_source
    given = [name for name in _FOLDER_OPTIONS if source(name) is not click.core.ParameterSource.DEFAULT]
    if not to_folder:
        if len(inputs) > 1:
            raise click.UsageError("several inputs need an output folder: end --output with a /")
        if given:
            option = {"id_column": "--id"}.get(given[0], flag(given[0]))
            raise click.UsageError(f"{option} needs an output folder: end --output with a /")
    elif engine != "ray" and (wrong := [name for name in given if name in _RAY_OPTIONS]):
        raise click.UsageError(f"{flag(wrong[0])} needs --engine ray")


def _is_folder(output: str) -> bool:
    """Whether an output is for shards. A folder with the name of a file is a mistake."""
    with suppress(OSError):  # a name that is too long
        return output.endswith("/") or (not Path(output).suffix and Path(output).is_dir())
    return False
