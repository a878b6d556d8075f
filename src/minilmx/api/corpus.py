"""Embedding a corpus into a folder of shards."""

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from pathlib import Path
from typing import Any

from minilmx.api.artifact import ArtifactLike, resolve_artifact
from minilmx.arguments import require_choice, require_count, require_strings
from minilmx.cpus import available_cpus
from minilmx.embedding.corpus import job as corpus
from minilmx.embedding.corpus.job import Summary
from minilmx.embedding.corpus.local_engine import ProcessEngine
from minilmx.embedding.corpus.source import Reading
from minilmx.embedding.corpus.worker import Job
from minilmx.errors import RunnerError
from minilmx.files.atomic import require_local
from minilmx.files.formats import BY_NAME, TextFormat
from minilmx.progress import SILENT, Progress
from minilmx.runners.registry import AUTO, choose_graph, option_names, require_runner


def embed_corpus(
    artifact: ArtifactLike,
    inputs: Sequence[Path | str],
    output: Path | str,
    *,
    column: str | None = None,
    id_column: str | None = None,
    keep_text: bool = False,
    text_format: TextFormat = BY_NAME,
    on_empty: str = "error",
    prompt: str | None = None,
    format: str = "parquet",
    dtype: str = "float32",
    shard_rows: int = 32_768,
    workers: int | None = None,
    engine: str = "local",
    ray_address: str | None = None,
    cpus_per_worker: int | None = None,
    runner: str = "onnxruntime",
    graph: str = AUTO,
    restart: bool = False,
    progress: Progress = SILENT,
    **options: Any,
) -> Summary:
    """Embed a corpus, of any number of files, into a folder of shards.

    `inputs` are files, folders, patterns and URLs of these. The other columns of the inputs are kept. A row
    without a text is an error unless `on_empty` is "skip" or "null". `prompt` is as in `load`. `format` is
    "parquet" or "lance"; `engine` is "local" or "ray". With Ray, `ray_address` is that of a cluster, by
    default a new one on this machine, and `cpus_per_worker` (by default 1) are its CPUs for each worker. A
    run that was interrupted resumes when it is called again with the same arguments; `restart` removes its
    shards first. Raises DatasetError for bad inputs, before any work, OutputError, ArtifactError or
    RunnerError.

    Example:
        >>> minilmx.embed_corpus("out", ["corpus/"], "embeddings/", column="text").rows
        2
    """
    names: Any = inputs
    if isinstance(inputs, Iterable) and not isinstance(inputs, str | bytes):
        names = [str(each) if isinstance(each, Path) else each for each in inputs]
    require_strings("inputs", names)
    for name, count in (
        ("shard_rows", shard_rows),
        ("workers", workers),
        ("cpus_per_worker", cpus_per_worker),
    ):
        require_count(name, count)
    require_choice("format", format, ("parquet", "lance"))
    require_choice("dtype", dtype, ("float32", "float16"))
    require_choice("engine", engine, ("local", "ray"))
    for name, value in (("ray_address", ray_address), ("cpus_per_worker", cpus_per_worker)):
        if value is not None and engine != "ray":
            raise RunnerError(
                f"{name}: {value!r} with the engine {engine}; expected the engine ray", unused=True
            )
    require_local(Path(output))
    chosen = choose_graph(resolve_artifact(artifact, prompt), runner, graph)
    if "threads" in option_names(runner) and options.get("threads") is None:
        if engine == "ray":
            options["threads"] = cpus_per_worker or 1
        elif workers is not None:
            options["threads"] = max(1, available_cpus() // workers)
    require_runner(runner, **options)
    if "cards" in option_names(runner):
        _require_cards(runner, options, engine, workers or 1)

    if engine == "ray":
        from minilmx.embedding.corpus.ray_engine import remove_left_clusters

        remove_left_clusters()  # also if no shard is left to embed

    def open_engine(job: Job) -> AbstractContextManager[Any]:
        if engine == "ray":
            from minilmx.embedding.corpus.ray_engine import RayEngine

            return closing(RayEngine.open(job, ray_address, workers, cpus_per_worker or 1))
        return nullcontext(ProcessEngine(job, workers or 1))

    return corpus.embed_corpus(
        names,
        Reading(column, id_column, keep_text, text_format, on_empty),
        Job(chosen, runner, options),
        corpus.Output(Path(output), shard_rows, dtype, format),
        open_engine,
        restart=restart,
        progress=progress,
    )


def _require_cards(runner: str, options: dict[str, Any], engine: str, workers: int) -> None:
    """Raise RunnerError unless each of several workers can have its cards."""
    cards = options.get("cards", 1)
    if engine == "ray":
        if cards != 1:
            raise RunnerError(f"cards: {cards}; expected 1 with the Ray engine")
    elif workers > 1:
        if cards == "all":
            raise RunnerError(f"cards: all; expected a number of cards for each of the {workers} workers")
        require_runner(runner, **options | {"cards": cards * workers})
