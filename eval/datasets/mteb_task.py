"""The graded pairs of an STS task of mteb."""

import logging
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minilmx.errors import DatasetError
from minilmx.eval.datasets.hub import current_revision
from minilmx.files.tables import Table

PREFIX = "mteb:"
_SCORE, _TEST = "score", "test"
_MAIN_SCORE = "cosine_spearman"


@dataclass(frozen=True, slots=True)
class Task:
    """A task of mteb: its data set, the languages of each subset, and the number of pairs of each split.

    If its subsets have different numbers of pairs, they are those of one.
    """

    name: str
    hub_id: str
    subsets: Mapping[str, tuple[str, ...]]
    splits: Mapping[str, int]


def find_task(dataset: str, language: str | None) -> Task:
    """What mteb says of mteb:TASK, whose pairs are counted in the subset `language` if it has several.

    Raises DatasetError as `read_task` does, and for a task whose main score is another one.
    """
    metadata = _open(dataset).metadata
    if metadata.main_score != _MAIN_SCORE:
        raise DatasetError(f"{dataset}: the main score {metadata.main_score}; expected {_MAIN_SCORE}")
    splits = {}
    for split, counts in (metadata.descriptive_stats or {}).items():
        if metadata.is_multilingual:
            counts = counts.get("hf_subset_descriptive_stats", {}).get(language, {})
        if "num_samples" in counts:
            splits[split] = counts["num_samples"]
    subsets = {name: tuple(codes) for name, codes in metadata.hf_subsets_to_langscripts.items()}
    return Task(metadata.name, metadata.dataset["path"], subsets, splits)


def read_task(dataset: str, language: str | None, split: str | None) -> tuple[Table, str, str]:
    """The pairs of mteb:TASK, the revision of its data, and the split, by default test.

    Without a test split, it is the first that mteb evaluates. `language` is one of mteb's subsets, if there
    are several. The columns are sentence1, sentence2 and score. Raises DatasetError if mteb is not installed,
    for a task that it does not have or that has no pairs of texts with scores, and if its data cannot be
    loaded.
    """
    task = _open(dataset)
    if not task.metadata.is_multilingual and language is not None:
        raise DatasetError(f"a language cannot be chosen for {dataset}: it has one", unused=True)
    if task.metadata.is_multilingual and language not in task.hf_subsets:
        found = "no language" if language is None else f"the language {language!r}"
        raise DatasetError(f"{dataset}: {found}; expected one of {', '.join(task.hf_subsets)}")
    split = split or next((each for each in task.eval_splits if each == _TEST), task.eval_splits[0])
    subset = [language] if language else task.hf_subsets
    rows = _load(task.filter_languages(None, hf_subsets=subset), dataset, language, split)
    columns = [list(rows[column]) for column in (*task.column_names, _SCORE)]
    table = Table(dataset, list(range(1, len(rows) + 1)), ("sentence1", "sentence2", _SCORE), columns)
    return table, task.metadata.dataset["revision"], split


def _open(dataset: str) -> Any:
    """The task of mteb:TASK, whose data is not loaded yet. Raises DatasetError."""
    try:
        import datasets
        import mteb
        from mteb.abstasks.sts import AbsTaskSTS
    except ImportError as error:
        raise DatasetError(
            f"{dataset} needs the package mteb, which is not installed", "Run pip install mteb."
        ) from error
    name = dataset.removeprefix(PREFIX)
    logging.getLogger("mteb").setLevel(logging.ERROR)
    datasets.disable_progress_bars()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            task: Any = mteb.get_task(name)
    except KeyError as error:
        raise DatasetError(
            f"mteb has no task {name!r}; expected one of type STS",
            "mteb.get_tasks(task_types=['STS']) lists them.",
        ) from error
    if not isinstance(task, AbsTaskSTS) or task.modalities != ["text"]:
        kind = f"{task.metadata.type} of {' and '.join(task.modalities)}"
        raise DatasetError(
            f"{dataset}: a task of type {kind}; expected STS of text",
            f"Use mteb.evaluate(minilmx.load(ARTIFACT), mteb.get_task({name!r})).",
        )
    return task


def _load(task: Any, dataset: str, language: str | None, split: str) -> Any:
    """The rows of a split, as `datasets` has them."""
    import huggingface_hub as hub

    source = task.metadata.dataset
    try:
        if not Path(source["path"]).is_dir():  # which is read instead of the hub
            current_revision(source["path"], source["revision"])
        task.load_data()
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DatasetError(
            f"{dataset}: the data {source['path']} cannot be loaded: {reason}",
            "Unset HF_HUB_OFFLINE."
            if hub.is_offline_mode()
            else "Check the connection, or set HF_HUB_OFFLINE=1 if it is in the cache.",
        ) from error
    splits = task.dataset[language] if language else task.dataset
    if split not in splits:
        raise DatasetError(f"{dataset} has no split {split!r}; its splits are {', '.join(splits)}")
    return splits[split]
