"""Runners of one artifact over identical inputs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from minilmx.api.artifact import ArtifactLike, resolve_artifact
from minilmx.arguments import require_count, require_strings
from minilmx.eval import evaluation
from minilmx.eval.datasets.pairs import PairColumns, expand_languages, load_pairs, require_limit
from minilmx.eval.limits import LimitsLike, limit_rules
from minilmx.eval.results import Result, check_limits
from minilmx.files.formats import BY_NAME, TextFormat
from minilmx.progress import SILENT, Progress
from minilmx.runners.registry import AUTO, default_runners


def evaluate(
    artifact: ArtifactLike,
    runners: Sequence[str] = (),
    dataset: Path | str = "bundled",
    *,
    languages: Sequence[str] = (),
    split: str | None = None,
    limit: int | None = None,
    text_format: TextFormat = BY_NAME,
    text_columns: tuple[str, str] | None = None,
    score_column: str | None = None,
    limits: LimitsLike = None,
    prompt: str | None = None,
    preset: str | None = None,
    graph: str = AUTO,
    ladder: bool = False,
    progress: Progress = SILENT,
    **options: Any,
) -> Result:
    """Run an artifact on several runners over identical inputs and compare their embeddings or scores.

    The first of `runners` is the reference; without any, onnxruntime is compared with groq, or with
    groq-emulator if no GroqCard is found. `dataset` is "bundled", "stsb", "mteb:TASK" for an STS task of
    mteb, a hub id or a file of graded sentence pairs. `languages` belongs to hub data sets and tasks; `split`
    chooses their split, or that of a file with a column of that name; `limit` keeps the first pairs;
    `text_format` says what a file's name does not; and `text_columns` and `score_column` name other columns
    than sentence1, sentence2 and score. Scores may be on any scale. `limits` maps limit names to numbers, or
    is the path of a limits.toml. `preset` is "float32", "float16", "bfloat16" or "int8", and decides
    the verdict; by default, the precision of what is compared chooses it. `prompt` is as in `load`. Each
    runner gets those of the `options` that it supports. Raises DatasetError, ArtifactError, RunnerError and
    EvalError.

    Example:
        >>> result = minilmx.evaluate(
        ...     "out", ["onnxruntime", "groq-emulator"], limit=20, limits={"max_abs": 1e-3}
        ... )
        >>> result.passed
        True
    """
    require_strings("runners", runners)
    require_strings("languages", languages)
    require_count("limit", limit)
    dataset = str(dataset)
    opened = resolve_artifact(artifact, prompt, scores=True)
    rules = limit_rules(limits)
    names = list(runners)
    if not names:
        names, note = default_runners(opened)
        progress.message(note)
    columns = PairColumns(text_columns, score_column)
    data = [
        load_pairs(dataset, each, split, limit, text_format, columns, progress)
        for each in expand_languages(dataset, languages)
    ]
    for each in data:
        require_limit(each, limit)
    evaluations = tuple(
        evaluation.evaluate(opened, names, pairs, graph, options, ladder=ladder, progress=progress)
        for pairs in data
    )
    return check_limits(evaluations, rules, preset)
