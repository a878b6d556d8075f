"""Embedding the texts of a file."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from minilmx.api.artifact import ArtifactLike, resolve_artifact
from minilmx.embedding.embedder import Embedder
from minilmx.embedding.output_file import Chunks, check_output, save_embeddings, write_jsonl
from minilmx.embedding.record import RunRecord
from minilmx.files.formats import BY_NAME, TextFormat
from minilmx.files.texts import NULL, Texts, open_texts
from minilmx.progress import SILENT, Progress
from minilmx.runners.registry import AUTO


def embed_file(
    artifact: ArtifactLike,
    source: Path | str,
    output: Path | str,
    *,
    column: str | None = None,
    text_format: TextFormat = BY_NAME,
    on_empty: str = "error",
    prompt: str | None = None,
    runner: str = "onnxruntime",
    graph: str = AUTO,
    replace: bool = False,
    progress: Progress = SILENT,
    **options: Any,
) -> RunRecord:
    """Embed the sentences of a file into `output`: .npy, .npz, .parquet or .jsonl.

    `source` is a text file (one sentence per line), CSV, TSV, JSON, JSONL or Parquet, a URL of one, or "-"
    for standard input; `column` names the column of the sentences, and `text_format` says what the file's
    name does not. `prompt` is as in `load`. A row without a text is an error unless `on_empty` is "skip" or,
    for .parquet and .jsonl, "null". The record of the run is written to OUTPUT.run.json and returned. Raises
    DatasetError, OutputError, ArtifactError or RunnerError.

    Example:
        >>> minilmx.embed_file("out", "sentences.txt", "embeddings.npy").sentences
        2
    """
    target = Path(output)
    check_output(target, replace=replace, nulls=on_empty == NULL)
    settings = {"prompt": prompt, "runner": runner, "graph": graph, "progress": progress, **options}
    with _embedded(artifact, source, column, text_format, on_empty, **settings) as (embedder, texts, chunks):
        return save_embeddings(
            target,
            embedder.dimension,
            chunks,
            embedder.record,
            replace=replace,
            empty_lines=texts.empty_lines,
        )


def print_embeddings(
    write: Callable[[str], object], artifact: ArtifactLike, source: Path | str, **settings: Any
) -> RunRecord:
    """Give `write` the texts and their embeddings as JSON lines. The settings are those of `embed_file`."""
    with _embedded(artifact, source, **settings) as (embedder, _, chunks):
        write_jsonl(write, chunks)
        return embedder.record()


@contextmanager
def _embedded(
    artifact: ArtifactLike,
    source: Path | str,
    column: str | None,
    text_format: TextFormat,
    on_empty: str,
    prompt: str | None,
    runner: str,
    graph: str,
    progress: Progress,
    **options: Any,
) -> Iterator[tuple[Embedder, Texts, Chunks]]:
    """The texts of a file and their embeddings, and what counts them."""
    opened = resolve_artifact(artifact, prompt, runner)
    texts = open_texts(str(source), column, text_format, on_empty)
    with Embedder(opened, runner, graph, progress, **options) as embedder:
        yield embedder, texts, embedder.stream(texts, advance=progress.start(runner, texts.count))
    if texts.empty_note:
        progress.message(texts.empty_note)
