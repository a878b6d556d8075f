"""The mteb result: mteb's own loader reads it, and only mteb's own data has one."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minilmx.errors import DatasetError, EvalError
from minilmx.eval.datasets.hub import PINNED_REVISIONS
from minilmx.eval.datasets.pairs import SentencePairs
from minilmx.eval.evaluation import evaluate
from minilmx.eval.limits import limit_rules
from minilmx.eval.reports.mteb import TASKS, UNKNOWN, render_mteb
from minilmx.eval.results import Result, check_limits
from minilmx.models.artifact import Artifact

STSB_PAIRS = 1379


@pytest.fixture(scope="module")
def whole(tiny_original: Artifact) -> Result:
    """As many pairs as the STSb test split has, on the emulator, with the name of mteb's data set."""
    random = np.random.default_rng(0)
    texts = [f"{number} {word}" for number, word in enumerate(random.integers(0, 99, 2 * STSB_PAIRS))]
    pairs = SentencePairs(
        name="mteb/stsbenchmark-sts",
        revision="b0fddb56ed78048fa8b90373c8a3cfc37b684831",
        language=None,
        split="test",
        sentences1=texts[:STSB_PAIRS],
        sentences2=texts[STSB_PAIRS:],
        gold=random.uniform(0, 5, STSB_PAIRS),
    )
    return check_limits([evaluate(tiny_original, ["groq-emulator"], pairs)], limit_rules(None), None)


def changed(result: Result, **changes: Any) -> Result:
    return replace(result, evaluations=tuple(replace(each, **changes) for each in result.evaluations))


def several(result: Result) -> Result:
    """German and French of the multilingual task."""
    german = changed(result, dataset="stsb", dataset_revision=None, language="de").evaluations
    french = changed(result, dataset="stsb", dataset_revision=None, language="fr").evaluations
    return check_limits((*german, *french), limit_rules(None), None)


def test_the_document_has_the_scores_unrounded_and_the_caution(whole: Result) -> None:
    document = json.loads(render_mteb(whole))
    (evaluation,) = whole.evaluations
    (scores,) = document["scores"]["test"]
    assert scores["main_score"] == scores["cosine_spearman"] == evaluation.runners[0].scores.spearman
    assert scores["cosine_pearson"] == evaluation.runners[0].scores.pearson
    assert (scores["hf_subset"], scores["languages"]) == ("default", ["eng-Latn"])
    assert document["task_name"] == "STSBenchmark"
    assert document["dataset_revision"] == "b0fddb56ed78048fa8b90373c8a3cfc37b684831"
    assert document["mteb_version"] is None
    assert evaluation.runners[0].timing
    assert document["evaluation_time"] == evaluation.runners[0].timing.seconds
    assert "groq-emulator is an emulation" in scores["minilmx_caution"]


def test_an_unknown_revision_stays_unknown(whole: Result) -> None:
    assert json.loads(render_mteb(changed(whole, dataset_revision=None)))["dataset_revision"] == UNKNOWN
    copy = changed(whole, dataset="PhilipMay/stsb_multi_mt", language="en", dataset_revision="abc")
    assert json.loads(render_mteb(copy))["dataset_revision"] == "PhilipMay/stsb_multi_mt@abc"


def test_each_language_is_a_subset(whole: Result) -> None:
    document = json.loads(render_mteb(several(whole)))
    assert document["task_name"] == "STSBenchmarkMultilingualSTS"
    found = [(each["hf_subset"], each["languages"]) for each in document["scores"]["test"]]
    assert found == [("de", ["deu-Latn"]), ("fr", ["fra-Latn"])]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dataset": "bundled"}, "bundled, not of an mteb task"),
        ({"dataset": "stsb.csv"}, "stsb.csv, not of an mteb task"),
        ({"pairs": 300}, "300 pairs of split test"),
        ({"split": "train"}, "1,379 pairs of split train"),
        ({"split": None}, "1,379 pairs of split none"),
        ({"dataset": "stsb", "language": "xx"}, "no language xx"),
        ({"dataset": "mteb:STS12"}, "1,379 pairs of split test; mteb's STS12 expected test (3,108 pairs)"),
        ({"dataset": "mteb:StakeholderGrounding"}, "the main score alpha_auc; expected cosine_spearman"),
    ],
)
def test_other_data_is_refused(changes: dict[str, Any], message: str, whole: Result) -> None:
    if str(changes.get("dataset")).startswith("mteb:"):
        pytest.importorskip("mteb", reason="needs mteb, for its own tasks: pip install mteb")
    with pytest.raises((EvalError, DatasetError)) as raised:
        render_mteb(changed(whole, **changes))
    assert message in str(raised.value)


def test_one_of_several_runners_must_be_named(whole: Result) -> None:
    (only,) = whole.evaluations[0].runners
    two = changed(whole, runners=(only, replace(only, runner="other", details={})))
    with pytest.raises(EvalError, match=r"2 runners; expected one\. Name groq-emulator or other"):
        render_mteb(two)
    with pytest.raises(EvalError, match="no runner torch; expected one of groq-emulator, other"):
        render_mteb(two, "torch")
    (scores,) = json.loads(render_mteb(two, "other"))["scores"]["test"]
    assert scores["minilmx_runner"] == "other"
    assert "minilmx_caution" not in scores


def test_a_correlation_that_is_not_defined_is_refused(whole: Result) -> None:
    (only,) = whole.evaluations[0].runners
    undefined = replace(only, scores=replace(only.scores, spearman=None))
    with pytest.raises(EvalError, match="is not defined"):
        render_mteb(changed(whole, runners=(undefined,)))


def load(text: str, folder: Path) -> Any:
    """Load it with mteb's own loader."""
    results = pytest.importorskip("mteb.results", reason="needs mteb, for its own loader: pip install mteb")
    (folder / "r.json").write_text(text, encoding="utf-8")
    return results.TaskResult.from_disk(folder / "r.json")


def of_a_task(result: Result) -> Result:
    """As --dataset mteb:TASK states it."""
    return changed(result, dataset="mteb:STSBenchmark")


def of_a_task_with_subsets(result: Result) -> Result:
    return changed(several(result), dataset="mteb:STSBenchmarkMultilingualSTS", dataset_revision="abc")


@pytest.mark.parametrize(
    "make",
    [lambda result: result, several, of_a_task, of_a_task_with_subsets],
    ids=["english", "languages", "task", "task with subsets"],
)
def test_the_loader_of_mteb_reads_it(make: Callable[[Result], Result], whole: Result, tmp_path: Path) -> None:
    made = make(whole)
    task = load(render_mteb(made), tmp_path)
    spearman = whole.evaluations[0].runners[0].scores.spearman
    assert task.get_score() == pytest.approx(spearman, abs=0, rel=1e-15)
    assert task.task.metadata.name == task.task_name
    assert task.task.metadata.main_score == "cosine_spearman"
    for split, subsets in task.scores.items():
        assert split in task.task.metadata.eval_splits
        for scores in subsets:
            assert scores["languages"] == task.task.metadata.hf_subsets_to_langscripts[scores["hf_subset"]]
    assert task.date.timestamp() > 0
    task.to_disk(tmp_path / "again.json")
    assert task.from_disk(tmp_path / "again.json").task_name == task.task_name


def test_the_tasks_equal_those_of_mteb(tmp_path: Path) -> None:
    mteb = pytest.importorskip("mteb", reason="needs mteb, for its own tasks: pip install mteb")
    for task in set(map(id, TASKS.values())):
        (ours,) = {each.name: each for each in TASKS.values() if id(each) == task}.values()
        theirs = mteb.get_task(ours.name).metadata
        assert theirs.dataset["path"] == ours.hub_id
        assert {key: list(value) for key, value in ours.subsets.items()} == theirs.hf_subsets_to_langscripts
        assert set(ours.splits) == set(theirs.eval_splits)
        if ours.hub_id in PINNED_REVISIONS:
            assert PINNED_REVISIONS[ours.hub_id] == theirs.dataset["revision"]
