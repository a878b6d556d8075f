"""The Spearman and Pearson correlations as mteb's own result document (mteb.results.TaskResult).

Only for a whole split of an mteb task; for one that --dataset mteb:TASK named, mteb must be installed. What a
result does not state stays unknown: the data set's revision is "unknown" if none was recorded, and no mteb
version is named, because mteb did not run.
"""

import json
from datetime import datetime
from typing import Any

from minilmx.errors import EvalError
from minilmx.eval.datasets.hub import STSB, STSB_HUB_ID
from minilmx.eval.datasets.mteb_task import PREFIX, Task, find_task
from minilmx.eval.evaluation import Evaluation, RunnerResult
from minilmx.eval.reports.notes import caution
from minilmx.eval.results import Result
from minilmx.models.manifest import COSINE
from minilmx.wording import counted

UNKNOWN = "unknown"

# Language and script of each configuration, by the names of mteb's task.
_LANGUAGES = {
    "de": ("deu-Latn",),
    "en": ("eng-Latn",),
    "es": ("spa-Latn",),
    "fr": ("fra-Latn",),
    "it": ("ita-Latn",),
    "nl": ("nld-Latn",),
    "pl": ("pol-Latn",),
    "pt": ("por-Latn",),
    "ru": ("rus-Cyrl",),
    "zh": ("cmn-Hans",),
}


_ENGLISH = Task("STSBenchmark", "mteb/stsbenchmark-sts", {"default": ("eng-Latn",)}, {"test": 1379})
_MULTILINGUAL = Task(
    "STSBenchmarkMultilingualSTS", "mteb/stsb_multi_mt", _LANGUAGES, {"dev": 1500, "test": 1379}
)
TASKS = {
    _ENGLISH.hub_id: _ENGLISH,
    _MULTILINGUAL.hub_id: _MULTILINGUAL,
    STSB: _MULTILINGUAL,
    STSB_HUB_ID: _MULTILINGUAL,
}


def render_mteb(result: Result, runner: str | None = None) -> str:
    """One runner's scores, all languages, as JSON that `TaskResult.from_disk` reads.

    Raises EvalError if the data is not a whole split of an mteb task, if there are several runners
    and none was named, and if a correlation is not defined.
    """
    first = result.evaluations[0]
    if first.gives_scores:
        raise EvalError(
            f"the result of {first.artifact}: scores of a cross-encoder; expected embeddings, which mteb's "
            "task compares",
            "Choose another format.",
        )
    scores: dict[str, list[dict[str, Any]]] = {}
    tasks = [_task(evaluation) for evaluation in result.evaluations]
    chosen = [_runner(evaluation, runner) for evaluation in result.evaluations]
    for evaluation, each, task in zip(result.evaluations, chosen, tasks, strict=True):
        scores.setdefault(_split(evaluation, task), []).append(_scores(evaluation, each, task))
    document = {
        "dataset_revision": _revision(first, tasks[0]),
        "task_name": tasks[0].name,
        "mteb_version": None,
        "scores": scores,
        "evaluation_time": sum(each.timing.seconds for each in chosen if each.timing),
        "kg_co2_emissions": None,
        "date": datetime.fromisoformat(first.provenance.created).timestamp(),
    }
    return json.dumps(document, indent=2, allow_nan=False, ensure_ascii=False) + "\n"


def _task(evaluation: Evaluation) -> Task:
    if evaluation.dataset.startswith(PREFIX):
        return find_task(evaluation.dataset, evaluation.language)
    task = TASKS.get(evaluation.dataset)
    if task is None:
        raise EvalError(
            f"data set: {evaluation.dataset}, not of an mteb task; expected {PREFIX}TASK or one of "
            f"{', '.join(TASKS)}"
        )
    return task


def _revision(evaluation: Evaluation, task: Task) -> str:
    """The commit of mteb's data set, or of another one with the same sentences, with its name before it."""
    if evaluation.dataset_revision is None:
        return UNKNOWN
    if evaluation.dataset.startswith(PREFIX):
        return evaluation.dataset_revision
    hub_id = STSB_HUB_ID if evaluation.dataset == STSB else evaluation.dataset
    return evaluation.dataset_revision if hub_id == task.hub_id else f"{hub_id}@{evaluation.dataset_revision}"


def _split(evaluation: Evaluation, task: Task) -> str:
    split = evaluation.split or "none"
    if task.splits.get(split) != evaluation.pairs:
        known = " or ".join(f"{name} ({counted(pairs, 'pair')})" for name, pairs in task.splits.items())
        known = known or "pairs that mteb counts"
        raise EvalError(
            f"the result: {counted(evaluation.pairs, 'pair')} of split {split}; mteb's {task.name} expected "
            f"{known}",
            "Evaluate a whole split.",
        )
    return split


def _runner(evaluation: Evaluation, name: str | None) -> RunnerResult:
    found = {each.runner: each for each in evaluation.runners}
    if name is None and len(found) == 1:
        return evaluation.runners[0]
    if name is None:
        raise EvalError(f"an mteb result: {len(found)} runners; expected one", f"Name {' or '.join(found)}.")
    if name not in found:
        raise EvalError(f"the result has no runner {name}; expected one of {', '.join(found)}")
    return found[name]


def _scores(evaluation: Evaluation, result: RunnerResult, task: Task) -> dict[str, Any]:
    """One subset's scores, with our own fields that a reader must know."""
    spearman, pearson = result.scores.spearman, result.scores.pearson
    if evaluation.similarity != COSINE:
        raise EvalError(
            f"the result: {evaluation.similarity} similarity; expected {COSINE}, as in mteb's main score"
        )
    if spearman is None or pearson is None:
        raise EvalError(f"{result.runner}: a correlation with the gold scores that is not defined")
    subset = "default" if "default" in task.subsets else evaluation.language or "none"
    if subset not in task.subsets:
        raise EvalError(
            f"mteb's {task.name} has no language {subset}; expected one of {', '.join(task.subsets)}"
        )
    scores: dict[str, Any] = {
        "main_score": spearman,
        "cosine_spearman": spearman,
        "cosine_pearson": pearson,
        "spearman": spearman,
        "pearson": pearson,
        "hf_subset": subset,
        "languages": list(task.subsets[subset]),
        "minilmx_runner": result.runner,
        "minilmx_version": evaluation.provenance.minilmx,
        "minilmx_artifact_sha256": evaluation.artifact_sha256,
    }
    notes = caution(result)
    return {**scores, "minilmx_caution": " ".join(notes)} if notes else scores
