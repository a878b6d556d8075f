"""mlx run"""

import sys
from collections.abc import Callable
from contextlib import closing, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from minilmx.cli.options import ARTIFACT, PACKED, as_runner_options, runner_settings

if TYPE_CHECKING:
    from minilmx.models.artifact import Artifact
    from minilmx.runners.base import RunnerOptions

# The settings of an output folder: not for a single file.
_FOLDER_OPTIONS = {
    "id_column": click.option("--id", "id_column", help="Column with the ids. [default: rows are numbered]"),
    "keep_text": click.option("--keep-text", is_flag=True, help="Write the texts beside the embeddings."),
    "format": click.option(
        "--format",
        type=click.Choice(["parquet", "lance"]),
        default="parquet",
        show_default=True,
        help="Files of a folder: Parquet shards, or those of a Lance dataset.",
    ),
    "dtype": click.option(
        "--dtype",
        type=click.Choice(["float32", "float16"]),
        default="float32",
        show_default=True,
        help="Numbers of the embeddings in a folder.",
    ),
    "shard_rows": click.option(
        "--shard-rows",
        type=click.IntRange(min=1),
        default=32_768,
        show_default=True,
        help="Rows a shard: what is lost at most when a run is stopped.",
    ),
    "workers": click.option(
        "--workers",
        type=click.IntRange(min=1),
        help="Worker processes, each with a runner of its own. [default: 1; with Ray, as many as fit]",
    ),
    "engine": click.option(
        "--engine",
        type=click.Choice(["local", "ray"]),
        default="local",
        show_default=True,
        help="Where the workers are: on this machine, or on a Ray cluster.",
    ),
    "ray_address": click.option("--ray-address", help="The Ray cluster. [default: one on this machine]"),
    "cpus_per_worker": click.option(
        "--cpus-per-worker",
        type=click.IntRange(min=1),
        default=1,
        show_default=True,
        help="CPUs that a worker has of the Ray cluster.",
    ),
}
_RAY_OPTIONS = ("ray_address", "cpus_per_worker")


def _folder_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(_FOLDER_OPTIONS.values()):
        command = option(command)
    return command


@click.command()
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
@click.option("--force", is_flag=True, help="Replace the output where it exists.")
@click.option(
    "--fixed", is_flag=True, help="Use the fixed graph. [default: the dynamic twin, where the runner can]"
)
@PACKED
@runner_settings
@_folder_options
def run(
    artifact: Path,
    inputs: tuple[str, ...],
    runner: str,
    column: str | None,
    output: str | None,
    force: bool,
    fixed: bool,
    packed: bool,
    **settings: Any,
) -> None:
    """Embed sentences with ARTIFACT: one float32 embedding a sentence, in order.

    INPUTS is a text file (one sentence a line), CSV, TSV, JSONL or Parquet, or - for standard
    input. Beside an output file a record of the run is written: OUTPUT.run.json.

    With a folder as --output, INPUTS are any number of such files, folders of them and patterns,
    and the embeddings go to the folder as Parquet shards, or with --format lance as a Lance dataset,
    with the inputs' other columns. A run that was stopped goes on where it was when it is given the
    same command again.
    """
    from minilmx.embedding.output_file import check_output
    from minilmx.models.artifact import open_artifact
    from minilmx.runners.registry import find_runner

    if fixed and packed:
        raise click.UsageError("--fixed and --packed name two graphs: give one of them")
    folder_settings = {name: settings.pop(name) for name in _FOLDER_OPTIONS}
    to_folder = output is not None and _is_folder(output)
    source = click.get_current_context().get_parameter_source
    given = [name for name in _FOLDER_OPTIONS if source(name) is not click.core.ParameterSource.DEFAULT]
    if not to_folder:
        if len(inputs) > 1:
            raise click.UsageError("several inputs go to a folder: end --output with a /")
        if given:
            raise click.UsageError(f"{_flag(given[0])} goes with a folder: end --output with a /")
        if output is not None:
            check_output(Path(output), replace=force)
    elif folder_settings["engine"] != "ray" and (wrong := [name for name in given if name in _RAY_OPTIONS]):
        raise click.UsageError(f"{_flag(wrong[0])} goes with --engine ray")
    opened = open_artifact(artifact)
    if packed:
        opened = opened.as_packed()
    elif not fixed and find_runner(runner).dynamic:
        opened = opened.as_dynamic()
    options = as_runner_options(**settings)
    if to_folder:
        _run_to_folder(opened, inputs, runner, options, column, Path(output or ""), force, **folder_settings)
    else:
        file = Path(output) if output is not None else None
        _run_to_file(opened, inputs[0] if inputs else "-", runner, options, column, file, force)


def _run_to_file(
    artifact: "Artifact",
    sentences: str,
    runner: str,
    options: "RunnerOptions",
    column: str | None,
    output: Path | None,
    force: bool,
) -> None:
    from minilmx.cli.progress import progress_bars
    from minilmx.embedding.embedder import EmbeddingJob
    from minilmx.embedding.output_file import save_embeddings, write_jsonl
    from minilmx.files.texts import open_texts
    from minilmx.runners.registry import open_runner

    texts = open_texts(sentences, column)
    with open_runner(runner, artifact, options) as running, progress_bars() as track:
        job = EmbeddingJob(artifact, running)
        chunks = job.embed(texts, track(runner, texts.count))
        if output is None:
            write_jsonl(sys.stdout, chunks)
        else:
            dimension = artifact.manifest.embedding_dimension
            save_embeddings(output, dimension, chunks, job.record, replace=force)
        record = job.record()
    where = f" to {output}" if output else ""
    click.echo(
        f"{record.rows} sentences{where} with {runner} ({record.graph} graph) in {record.seconds:.2f} s "
        f"({record.sentences_per_second:,.0f}/s), {record.truncated_rows} truncated",
        err=True,
    )


def _run_to_folder(
    artifact: "Artifact",
    inputs: tuple[str, ...],
    runner: str,
    options: "RunnerOptions",
    column: str | None,
    output: Path,
    force: bool,
    *,
    id_column: str | None,
    keep_text: bool,
    format: str,
    dtype: str,
    shard_rows: int,
    workers: int | None,
    engine: str,
    ray_address: str | None,
    cpus_per_worker: int,
) -> None:
    from dataclasses import replace

    from minilmx.cli.progress import progress_bars
    from minilmx.embedding.corpus.job import Output, embed_corpus
    from minilmx.embedding.corpus.local_engine import ProcessEngine
    from minilmx.embedding.corpus.ray_engine import RayEngine
    from minilmx.embedding.corpus.source import Columns
    from minilmx.embedding.corpus.worker import Job
    from minilmx.runners.provenance import available_cpus
    from minilmx.runners.registry import require_runner

    require_runner(runner, options)
    if engine == "ray":
        options = replace(options, threads=options.threads or cpus_per_worker)
    elif workers is not None:
        options = replace(options, threads=options.threads or max(1, available_cpus() // workers))

    def open_engine(job: Job) -> Any:
        if engine == "ray":
            return closing(RayEngine.open(job, ray_address, workers, cpus_per_worker))
        return nullcontext(ProcessEngine(job, workers or 1))

    with progress_bars() as track:
        done = embed_corpus(
            inputs or ("-",),
            Columns(column, id_column, keep_text),
            Job.of(artifact, runner, options),
            Output(output, shard_rows, dtype, format),
            open_engine,
            restart=force,
            track=lambda rows: track(runner, rows),
        )
    kept = done.rows - done.embedded_rows
    there = f", {kept} of them there already" if kept else ""
    click.echo(
        f"{done.rows} rows of {done.files} files to {done.shards} shards in {output} with {runner} "
        f"({artifact.graph_kind} graph){there}: {done.seconds:.2f} s "
        f"({done.embedded_rows / done.seconds:,.0f}/s), {done.truncated_rows} truncated; runner "
        f"{done.runner_seconds:.2f} s, reading {done.reading_seconds:.2f} s, writing "
        f"{done.writing_seconds:.2f} s",
        err=True,
    )


def _is_folder(output: str) -> bool:
    """Whether an output is for shards. A folder with the name of a file is a mistake."""
    with suppress(OSError):  # a name that is too long
        return output.endswith("/") or (not Path(output).suffix and Path(output).is_dir())
    return False


def _flag(name: str) -> str:
    return {"id_column": "--id"}.get(name, "--" + name.replace("_", "-"))
