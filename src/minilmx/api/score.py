"""Scoring the pairs of texts of a file."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from minilmx.api.artifact import ArtifactLike, resolve_artifact
from minilmx.embedding.record import RunRecord
from minilmx.embedding.score_file import Chunks, check_score_output, save_scores, write_scores
from minilmx.embedding.scorer import Scorer
from minilmx.files.formats import BY_NAME, TextFormat
from minilmx.files.pairs import open_pairs
from minilmx.progress import SILENT, Progress
from minilmx.runners.registry import AUTO


def score_file(
    artifact: ArtifactLike,
    source: Path | str,
    output: Path | str,
    *,
    text_columns: tuple[str, str] | None = None,
    text_format: TextFormat = BY_NAME,
    runner: str = "onnxruntime",
    graph: str = AUTO,
    replace: bool = False,
    progress: Progress = SILENT,
    **options: Any,
) -> RunRecord:
    """Score the pairs of texts of a file with a cross-encoder's artifact into `output`: .jsonl or .npy.

    `source` is CSV, TSV, JSON, JSONL or Parquet, a URL of one, or "-" for standard input; `text_columns` name
    other columns than sentence1 and sentence2, and `text_format` says what the file's name does not. The
    record of the run is written to OUTPUT.run.json and returned; its sentences are the pairs. Raises
    DatasetError, OutputError, ArtifactError, also for an artifact that gives embeddings, or RunnerError.

    Example:
        >>> minilmx.score_file("reranker", "pairs.jsonl", "scores.jsonl").sentences
        2
    """
    target = Path(output)
    check_score_output(target, replace=replace)
    settings = {"runner": runner, "graph": graph, "progress": progress, **options}
    with _scored(artifact, source, text_columns, text_format, **settings) as (scorer, chunks):
        return save_scores(target, chunks, scorer.record, replace=replace)


def print_scores(
    write: Callable[[str], object], artifact: ArtifactLike, source: Path | str, **settings: Any
) -> RunRecord:
    """Give `write` the pairs and their scores as JSON lines. The settings are those of `score_file`."""
    with _scored(artifact, source, **settings) as (scorer, chunks):
        write_scores(write, chunks)
        return scorer.record()


@contextmanager
def _scored(
    artifact: ArtifactLike,
    source: Path | str,
    text_columns: tuple[str, str] | None,
    text_format: TextFormat,
    runner: str,
    graph: str,
    progress: Progress,
    **options: Any,
) -> Iterator[tuple[Scorer, Chunks]]:
    """The pairs of a file and their scores, and what counts them."""
    opened = resolve_artifact(artifact, None, runner, scores=True)
    pairs = open_pairs(str(source), text_columns, text_format)
    with Scorer(opened, runner, graph, progress, **options) as scorer:
        yield scorer, scorer.stream(pairs, advance=progress.start(runner, pairs.count))
