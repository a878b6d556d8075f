"""Runners of a cross-encoder compared by the scores that they give graded pairs."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats
from tests.conftest import MakeOnce, Mlx

import minilmx
from minilmx.errors import EvalError
from minilmx.eval.comparison import compare_scores
from minilmx.eval.datasets.pairs import SentencePairs, load_pairs
from minilmx.eval.results import Result
from minilmx.models.artifact import Artifact

RUNNERS = ("onnxruntime", "groq-emulator")


@pytest.fixture(scope="module")
def pairs() -> SentencePairs:
    return load_pairs("bundled")


@pytest.fixture(scope="module")
def result(reranker: Artifact, make_once: MakeOnce) -> Result:
    def run(folder: Path) -> None:
        minilmx.evaluate(reranker, RUNNERS).save(folder / "result.json")

    found = minilmx.load_result(make_once("scores", run) / "result.json")
    assert isinstance(found, Result)
    return found


def scores(artifact: Artifact, runner: str, pairs: SentencePairs) -> Any:
    with minilmx.Scorer(artifact, runner) as scorer:
        return scorer.score(pairs.pairs).astype(np.float64)


def test_the_numbers_are_those_of_the_scores(
    result: Result, reranker: Artifact, pairs: SentencePairs
) -> None:
    [evaluation] = result.evaluations
    before, after = (scores(reranker, name, pairs) for name in RUNNERS)
    assert (evaluation.pairs, evaluation.sentences, evaluation.similarity) == (208, 208, "score")
    for each, found in zip(evaluation.runners, (before, after), strict=True):
        assert each.similarities == tuple(found.tolist())
        assert each.scores.spearman == pytest.approx(stats.spearmanr(found, pairs.gold).statistic)
        assert each.scores.pearson == pytest.approx(stats.pearsonr(found, pairs.gold).statistic)
    comparison = evaluation.runners[1].comparison
    assert comparison is not None and comparison.ranks is not None
    moved = np.abs(after - before)
    assert comparison.drift.max_abs == comparison.max_delta_cosine == moved.max() > 0
    assert comparison.drift.mean_abs == pytest.approx(moved.mean())
    assert comparison.drift.max_relative == pytest.approx(moved.max() / np.sqrt(np.mean(before**2)))
    swapped = [
        (before[one] - before[other]) * (after[one] - after[other]) < 0
        for one in range(208)
        for other in range(one)
    ]
    assert comparison.ranks.swaps == sum(swapped)
    assert comparison.drift.min_cosine is None and comparison.retrieval is None and comparison.profile is None
    assert evaluation.noise is not None and evaluation.noise.largest < moved.max()


def test_runners_that_compute_the_same_are_same(
    reranker: Artifact, reranker_folder: Path, mlx: Mlx, tmp_path: Path
) -> None:
    names = ("--runner", "torch", "--runner", "onnxruntime", "--model", reranker_folder)
    outcome = mlx("eval", reranker.path, *names, "-o", "result.json")
    assert outcome.code == 0, outcome
    assert outcome.stdout.startswith(
        "SAME: onnxruntime, compared with torch, differs by no more than rounding"
    )
    assert "208 pairs, " in outcome.stdout and "a cross-encoder's scores" in outcome.stdout
    for name in ("Spearman x100", "max abs", "mean abs", "rank swaps"):
        assert name in outcome.stdout
    for name in ("cosine", "recall", "undefined", "not measured", "embedding"):
        assert name not in outcome.stdout
    shown = json.loads((tmp_path / "result.json").read_text())
    assert shown["evaluations"][0]["similarity"] == "score"


def test_without_runners_the_emulator_is_compared_and_a_limit_decides(reranker: Artifact, mlx: Mlx) -> None:
    outcome = mlx("eval", reranker.path, "--max-abs", "1e-9", "-o", "result.json")
    assert outcome.code == 1, outcome
    assert "a cross-encoder: comparing onnxruntime and groq-emulator" in outcome.stderr
    assert "FAIL  groq-emulator en  max_abs 1e-09" in outcome.stdout
    assert mlx("report", "result.json", "--max-rank-swaps", "21528").code == 0


def test_a_runner_that_takes_no_cross_encoder_is_refused_before_any_runs(
    reranker: Artifact, mlx: Mlx
) -> None:
    outcome = mlx("eval", reranker.path, "--runner", "onnxruntime", "--runner", "groq")
    assert outcome.code == 3, outcome
    assert "which the runner groq does not take; expected an artifact that gives embeddings" in outcome.stderr


def test_the_preset_decides_whether_scores_drifted(result: Result) -> None:
    from minilmx.api.report import limits_of

    assert result.verdict.answer == "SAME"  # as float16 rounds
    drifted = limits_of(result, preset="float32")
    assert drifted.passed is False
    assert drifted.verdict.answer == "DRIFTED"
    assert "differs by more than rounding, but the order is the same" in drifted.verdict.sentence


def test_scores_in_another_order_are_different(result: Result, pairs: SentencePairs) -> None:
    from dataclasses import replace

    from minilmx.eval.limits import limit_rules
    from minilmx.eval.results import check_limits

    [evaluation] = result.evaluations
    reference, candidate = evaluation.runners
    before = np.array(reference.similarities)
    turned = replace(candidate, comparison=compare_scores(before, before[::-1], pairs))
    found = check_limits([replace(evaluation, runners=(reference, turned))], limit_rules(None), None)
    assert found.verdict.answer == "DIFFERENT"
    assert "does not put the pairs in the same order" in found.verdict.sentence


def test_scores_that_are_not_finite_are_different(result: Result, pairs: SentencePairs) -> None:
    from dataclasses import replace

    from minilmx.eval.limits import limit_rules
    from minilmx.eval.results import check_limits

    [evaluation] = result.evaluations
    reference, candidate = evaluation.runners
    before = np.array(reference.similarities)
    broken = np.where(np.arange(len(before)) == 3, np.nan, before)
    comparison = compare_scores(before, broken, pairs)
    assert comparison.drift.finite is False
    changed = replace(candidate, finite=False, comparison=comparison)
    found = check_limits([replace(evaluation, runners=(reference, changed))], limit_rules(None), None)
    assert found.passed is False
    assert found.verdict.sentence.startswith("DIFFERENT: scores of groq-emulator are not finite")
    assert "nothing more can be compared" in found.render("html")


@pytest.mark.parametrize("form", ["table", "html", "markdown", "junit"])
def test_a_report_speaks_of_scores(result: Result, form: str) -> None:
    shown = result.render(form)
    assert "SAME" in shown and "groq-emulator, compared with onnxruntime, differs by no more" in shown
    assert "not finite" not in shown
    if form != "junit":
        assert "208 pairs" in shown


def test_a_result_of_scores_is_not_one_of_mteb(result: Result) -> None:
    with pytest.raises(EvalError, match="scores of a cross-encoder; expected embeddings"):
        result.render("mteb")


def test_the_ladder_climbs_with_scores(reranker: Artifact, reranker_folder: Path) -> None:
    runners = ("torch", "onnxruntime")
    found = minilmx.evaluate(reranker, runners, limit=20, ladder=True, model=reranker_folder)
    ladder = found.evaluations[0].ladder
    assert ladder is not None and ladder.sentences == 20
    assert sum(step.share for step in ladder.steps) == pytest.approx(1)
