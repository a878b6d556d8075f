"""Limits: where each applies, which numbers keep it, and the exit codes that a CI script sees."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import Mlx
from tests.eval.test_search import write_search

import minilmx
from minilmx.errors import EvalError
from minilmx.eval.document import load_document
from minilmx.eval.evaluation import Evaluation
from minilmx.eval.limits import LimitRules, Limits, apply_limits, limit_rules, read_limits
from minilmx.eval.metrics.table import LIMIT_OPTIONS, LIMITED, METRICS, Better
from minilmx.eval.results import Result
from minilmx.models.artifact import Artifact


@pytest.fixture
def saved(tiny: Path, mlx: Mlx, tmp_path: Path) -> Path:
    assert mlx("eval", tiny, "--limit", "40", "--output", "r.json").code == 0
    return tmp_path / "r.json"


def rules(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "limits.toml"
    path.write_text(text)
    return path


def test_the_more_specific_table_takes_precedence(tmp_path: Path) -> None:
    found = read_limits(
        rules(
            tmp_path,
            "[default]\nmax_abs = 1\nmin_cosine = 0.1\n[runner.groq]\nmax_abs = 2\nmin_cosine = 0.2\n"
            "[language.de]\nmax_abs = 3\n[runner.groq.language.de]\nmax_abs = 4\n",
        )
    )
    assert found.of("torch", "en")["max_abs"] == 1
    assert found.of("groq", "en")["max_abs"] == 2
    assert found.of("torch", "de")["max_abs"] == 3
    assert found.of("groq", "de")["max_abs"] == 4
    assert found.of("groq", "de")["min_cosine"] == 0.2
    assert "max_spearman_drop" not in found.of("torch", None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[default", "not TOML"),
        ("[defaults]\nmax_abs = 1", "unknown table 'defaults'"),
        ("[default]\nmax_abss = 1", "unknown limit 'max_abss'"),
        ("[default]\nmax_abs = nan", "max_abs: nan; expected a number"),
        ("[default]\nmax_abs = inf", "max_abs: inf; expected a number"),
        pytest.param("[default]\nmax_abs = 1" + "0" * 400, "max_abs: 10+; expected a number", id="huge"),
        ("[default]\n[language.de]", "no limits; expected at least one"),
        ("[default]\nmax_abs = 'a'", "max_abs: 'a'; expected a number"),
        ("[runner]\ngroq = 1", "expected tables"),
    ],
)
def test_an_invalid_file_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(EvalError, match=message):
        read_limits(rules(tmp_path, text))


def test_every_limit_is_checked_against_its_own_number(saved: Path, tmp_path: Path) -> None:
    limits = "max_abs = 0\nmin_cosine = 1.1\nmax_spearman_drop = -200\nmin_spearman = 200\n"
    limits += "min_recall_at_10 = 2\nmax_rank_swaps = -1\n"
    (evaluation,) = load_document(saved, Result).evaluations
    checks = apply_limits(evaluation, read_limits(rules(tmp_path, f"[default]\n{limits}")))
    reference, candidate = evaluation.runners
    comparison = candidate.comparison
    assert comparison is not None and comparison.ranks and comparison.retrieval
    assert not any(check.passed for check in checks)
    found = {(check.runner, check.limit): check.found for check in checks}
    before, after = reference.scores.spearman, candidate.scores.spearman
    assert before is not None and after is not None
    assert found == {
        ("onnxruntime", "min_spearman"): 100 * before,
        ("groq-emulator", "max_abs"): comparison.drift.max_abs,
        ("groq-emulator", "min_cosine"): comparison.drift.min_cosine,
        ("groq-emulator", "max_spearman_drop"): 100 * before - 100 * after,
        ("groq-emulator", "min_spearman"): 100 * after,
        ("groq-emulator", "min_recall_at_10"): comparison.retrieval.recall_at_10,
        ("groq-emulator", "max_rank_swaps"): comparison.ranks.swaps,
    }


def test_a_saved_result_takes_new_limits_without_running_anything(saved: Path, mlx: Mlx) -> None:
    before = saved.read_bytes()
    passed = mlx("report", saved, "--max-abs", "1")
    assert passed.code == 0 and "PASS  groq-emulator" in passed.stdout
    failed = mlx("report", saved, "--max-abs", "1e-9")
    assert failed.code == 1 and "FAIL  groq-emulator" in failed.stdout
    assert saved.read_bytes() == before


def test_options_override_the_file(saved: Path, mlx: Mlx, tmp_path: Path) -> None:
    file = rules(tmp_path, "[default]\nmax_abs = 1e-9\n")
    assert mlx("report", saved, "--limits", file).code == 1
    assert mlx("report", saved, "--limits", file, "--max-abs", "1").code == 0


def test_a_script_sees_pass_fail_and_error(saved: Path, tmp_path: Path) -> None:
    """As a CI job calls it: a real process and its exit code."""

    def code(*arguments: str) -> int:
        command = [sys.executable, "-m", "minilmx", "report", *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, check=False).returncode

    assert code("r.json", "--max-abs", "1") == 0
    assert code("r.json", "--max-abs", "1e-9") == 1
    assert code("r.json", "--max-abs", "much") == 2
    (tmp_path / "r.json").write_text("{}")
    assert code("r.json", "--max-abs", "1") == 3


def test_an_undefined_number_breaks_its_limit(saved: Path, mlx: Mlx) -> None:
    document = json.loads(saved.read_text())
    document["evaluations"][0]["runners"][1]["comparison"]["drift"]["max_abs"] = None
    saved.write_text(json.dumps(document))
    outcome = mlx("report", saved, "--max-abs", "1")
    assert outcome.code == 1 and "undefined" in outcome.stdout


@pytest.mark.parametrize("change", ["schema", "missing", "type", "nothing"])
def test_an_invalid_result_is_refused(saved: Path, mlx: Mlx, change: str) -> None:
    document = json.loads(saved.read_text())
    if change == "schema":
        document["schema_version"] = 99
    elif change == "missing":
        del document["evaluations"][0]["runners"][0]["scores"]
    elif change == "type":
        document["evaluations"][0]["pairs"] = "many"
    else:
        document["evaluations"] = []
    saved.write_text(json.dumps(document))
    outcome = mlx("report", saved, "--max-abs", "1")
    assert outcome.code == 3 and outcome.stderr.startswith("Error: ")


@pytest.mark.parametrize("table", ["runner.grok", "runner.grok.language.de"])
def test_limits_of_a_runner_that_does_not_exist_are_refused(
    saved: Path, mlx: Mlx, tmp_path: Path, table: str
) -> None:
    file = rules(tmp_path, f"[default]\nmax_abs = 1\n[{table}]\nmax_abs = 1e-9\n")
    outcome = mlx("report", saved, "--limits", file)
    assert outcome.code == 2
    assert "limits for the runner 'grok'; expected one of onnxruntime, groq-emu" in outcome.stderr
    file = rules(tmp_path, f"[default]\nmax_abs = 1\n[{table.replace('grok', 'torch')}]\nmax_abs = 0\n")
    assert mlx("report", saved, "--limits", file).code == 0  # a file for several evaluations


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "1", True])
def test_a_limit_is_a_number(value: Any) -> None:
    with pytest.raises(EvalError, match=r"max_abs: .*; expected a number"):
        Limits(max_abs=value)


def test_every_metric_has_a_limit_of_its_own() -> None:
    assert len(LIMITED) == len(METRICS)
    assert {name for name, _ in LIMIT_OPTIONS} == set(LIMITED)


@pytest.fixture(scope="module")
def searched(tiny_original: Artifact, tmp_path_factory: pytest.TempPathFactory) -> Result:
    """A search with judgements, on the runners of `result`."""
    folder = tmp_path_factory.mktemp("search")
    write_search(folder, 8, 30)
    return minilmx.compare(
        tiny_original,
        f"{tiny_original.path}@groq-emulator",
        queries=folder / "queries.jsonl",
        corpus=folder / "corpus.jsonl",
        qrels=folder / "qrels.tsv",
    )


def with_card(result: Result) -> Evaluation:
    """The evaluation, with a card's times for the second runner."""
    (evaluation,) = result.evaluations
    reference, candidate = evaluation.runners
    timed = replace(candidate, on_chip_compute_seconds=0.001, with_pcie_seconds=0.002, sdk_call_seconds=0.003)
    return replace(evaluation, runners=(reference, timed))


def test_a_limit_on_a_cards_time_is_for_the_runners_with_a_card(result: Result) -> None:
    evaluation, allowed = with_card(result), {"max_sdk_call_ms": 1.0}
    (check,) = apply_limits(evaluation, limit_rules(allowed))
    assert (check.runner, check.found, check.passed) == (evaluation.runners[1].runner, 3.0, False)
    without = apply_limits(result.evaluations[0], limit_rules(allowed))
    assert [(each.found, each.passed) for each in without] == [(None, False)] * 2


@pytest.mark.parametrize("name", LIMITED)
def test_a_limit_is_kept_at_its_number_and_broken_past_it(
    name: str, result: Result, searched: Result
) -> None:
    for evaluation in (*result.evaluations, *searched.evaluations, with_card(result)):
        reference, candidate = evaluation.runners
        value = LIMITED[name].value(candidate, reference)
        if value is not None:
            break
    assert value is not None
    worse = value - 1e-3 if LIMITED[name].better is Better.LOWER else value + 1e-3
    for allowed, kept in ((value, True), (worse, False)):
        rules = LimitRules({(candidate.runner, None): Limits({name: allowed})})
        (check,) = apply_limits(evaluation, rules)
        assert (check.limit, check.found, check.passed) == (name, value, kept)
