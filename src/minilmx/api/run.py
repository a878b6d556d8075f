"""Embedding the texts of a file, and scoring its pairs."""

from pathlib import Path
from typing import Any

from minilmx.api.artifact import ArtifactLike, opened_artifact
from minilmx.api.load import load
from minilmx.embedding.output_file import check_output, save_embeddings
from minilmx.embedding.record import RunRecord
from minilmx.embedding.score_file import check_score_output, save_scores
from minilmx.embedding.scorer import Scorer
from minilmx.files.formats import BY_NAME, TextFormat
from minilmx.files.pairs import open_pairs
from minilmx.files.texts import NULL, open_texts
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
    opened = opened_artifact(artifact, prompt, runner)
    texts = open_texts(str(source), column, text_format, on_empty)
    with load(opened, runner, graph, progress=progress, **options) as embedder:
        chunks = embedder.stream(texts, advance=progress.start(runner, texts.count))
        record = save_embeddings(
            target,
            embedder.dimension,
            chunks,
            embedder.record,
            replace=replace,
            empty_lines=texts.empty_lines,
        )
    if texts.empty_note:
        progress.message(texts.empty_note)
    return record


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
    opened = opened_artifact(artifact, None, runner, scores=True)
    pairs = open_pairs(str(source), text_columns, text_format)
    with Scorer(opened, runner, graph, progress, **options) as scorer:
        chunks = scorer.stream(pairs, advance=progress.start(runner, pairs.count))
        return save_scores(target, chunks, scorer.record, replace=replace)
