"""The verdict: SAME, DRIFTED or DIFFERENT by a preset, its sentence, and what passes."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.eval.conftest import ResultOf

from minilmx import compare, evaluate
from minilmx.api.report import limits_of
from minilmx.errors import EvalError
from minilmx.eval.document import load_document
from minilmx.eval.evaluation import RunnerResult
from minilmx.eval.limits import LimitRules, Limits, limit_rules
from minilmx.eval.presets import PRESETS, Precision, choose_preset
from minilmx.eval.results import Result, check_limits
from minilmx.eval.verdict import Answer
from minilmx.models.artifact import Artifact

Rows = NDArray[np.float32]


def rows() -> Rows:
    return np.random.default_rng(0).normal(size=(200, 64)).astype(np.float32)


def moved(by: float) -> Rows:
    """The rows, each moved by this share of its own length."""
    noise = np.random.default_rng(1).normal(size=(200, 64))
    base = rows()
    lengths = np.linalg.norm(base, axis=1) / np.linalg.norm(noise, axis=1)
    return np.asarray(base + by * lengths[:, None] * noise, np.float32)


@pytest.mark.parametrize(
    ("by", "answer", "passed"),
    [(0.0, "SAME", True), (5e-6, "SAME", True), (1e-4, "DRIFTED", False), (0.3, "DIFFERENT", False)],
)
def test_the_answer_follows_how_far_embeddings_moved(by: float, answer: str, passed: bool) -> None:
    result = compare(rows(), moved(by))
    assert result.verdict.answer == answer
    assert result.verdict.sentence.startswith(f"{answer}: array 2, compared with array 1, ")
    assert "(preset float32: nothing states a lower precision)" in result.verdict.sentence
    assert result.passed is passed


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_the_answer_does_not_depend_on_the_length_of_embeddings(scale: float) -> None:
    size = np.float32(scale)
    assert compare(size * rows(), size * moved(5e-6)).verdict.answer == "SAME"
    assert compare(size * rows(), size * moved(1e-4)).verdict.answer == "DRIFTED"


def test_embeddings_of_another_length_are_not_the_same() -> None:
    """A cosine is blind to it; a search by dot product is not."""
    assert compare(rows(), np.float32(2) * rows()).verdict.answer != "SAME"


@pytest.mark.parametrize("preset", Precision)
def test_a_preset_can_be_named_and_the_sentence_says_so(preset: str) -> None:
    result = compare(rows(), moved(2e-3), preset=preset)
    assert f"(preset {preset}: as requested)" in result.verdict.sentence
    assert result.verdict.answer == ("DRIFTED" if preset == "float32" else "SAME")


def test_limits_replace_the_preset_for_passing_and_the_sentence_names_both() -> None:
    kept = compare(rows(), moved(1e-4), limits={"max_relative": 1e-3})
    assert kept.verdict.answer == "DRIFTED"
    assert kept.passed is True
    assert kept.verdict.sentence.endswith("; limits: PASS, 1 of 1 kept")
    broken = compare(rows(), moved(5e-6), limits={"max_relative": 1e-9})
    assert broken.verdict.answer == "SAME"
    assert broken.passed is False
    assert broken.verdict.sentence.endswith("; limits: FAIL, 0 of 1 kept")


def test_a_limit_on_speed_does_not_replace_the_preset(result: Result) -> None:
    slow = {"min_sentences_per_second": 1e-9}
    assert limits_of(result, slow, "float32").verdict.answer == "DRIFTED"
    assert limits_of(result, slow, "float32").passed is False
    assert limits_of(result, slow, "float16").passed is True


def test_limits_of_one_runner_leave_the_others_to_the_preset() -> None:
    rules = LimitRules({("array 2", None): Limits(max_relative=1.0)})
    assert compare(rows(), moved(0.3), rows(), limits=rules).passed is True
    assert compare(rows(), rows(), moved(0.3), limits=rules).passed is False


def test_limits_of_which_none_applies_are_refused() -> None:
    rules = LimitRules({("torch", None): Limits(max_relative=1.0)})
    with pytest.raises(EvalError, match="none applies to array 1, array 2") as raised:
        compare(rows(), rows(), limits=rules)
    assert raised.value.unused


def test_the_worst_comparison_is_the_answer() -> None:
    result = compare(rows(), rows(), moved(0.3), moved(1e-4))
    assert [each.answer for each in result.verdict.comparisons] == ["SAME", "DIFFERENT", "DRIFTED"]
    assert result.verdict.sentence.startswith("DIFFERENT: array 3, compared with array 1, ")
    assert result.verdict.sentence.endswith("; 1 of 3 comparisons are DIFFERENT")


def test_one_runner_has_nothing_to_compare(result_of: ResultOf) -> None:
    alone = result_of(runners=("onnxruntime",))
    assert alone.verdict.sentence == "one runner: nothing to compare"
    assert (alone.verdict.answer, alone.passed) == (None, None)
    limited = limits_of(alone, {"min_spearman": -100})
    assert limited.verdict.sentence == "one runner: nothing to compare; limits: PASS, 1 of 1 kept"
    assert limited.passed is True
    with pytest.raises(EvalError, match="one runner; expected at least two"):
        limits_of(alone, preset="float16")


@pytest.mark.parametrize("broken", [0, 1])
def test_numbers_that_are_not_finite_are_different_by_every_preset(broken: int) -> None:
    both = [rows(), rows()]
    both[broken][3, 2] = np.nan
    for preset in (None, *Precision):
        result = compare(*both, preset=preset, limits={"max_relative": 1e9})
        assert result.passed is False
        name = f"array {broken + 1}"
        assert result.verdict.sentence.startswith(f"DIFFERENT: embeddings of {name} are not finite")


def test_embeddings_that_are_all_zeros_are_not_the_same() -> None:
    zeros = np.zeros_like(rows())
    assert compare(zeros, zeros).verdict.answer == "DIFFERENT"
    assert compare(rows(), zeros).verdict.answer == "DIFFERENT"


def test_too_few_texts_for_a_search_cannot_prove_that_it_returns_the_same() -> None:
    assert compare(rows()[:5], rows()[:5]).verdict.answer == "SAME"
    verdict = compare(rows()[:5], moved(1e-4)[:5]).verdict
    assert verdict.answer == "DIFFERENT"
    assert "differs by more than rounding, and no search could be judged (fewer than 12" in verdict.sentence
    assert "max relative difference 1.00e-04, at most 2.82e-05" in verdict.sentence


@pytest.mark.parametrize("preset", Precision)
@pytest.mark.parametrize("count", [1, 5, 11])
def test_without_a_search_the_difference_alone_decides(preset: str, count: int) -> None:
    same = compare(rows()[:count], rows()[:count], preset=preset).verdict
    assert same.answer == "SAME"
    assert ("no search could be judged" in same.sentence) == (preset == "int8")
    for others in (moved(0.5)[:count], -rows()[:count], np.zeros_like(rows()[:count])):
        assert compare(rows()[:count], others, preset=preset).verdict.answer == "DIFFERENT"
    assert compare(np.zeros_like(others), others, preset=preset).verdict.answer == "DIFFERENT"


def test_with_a_search_its_neighbours_decide_too() -> None:
    """In int8: other neighbours within the difference that rounding makes."""
    assert compare(rows(), moved(0.38), preset="int8").verdict.answer == "DIFFERENT"


def with_details(result: RunnerResult, **details: Any) -> RunnerResult:
    return replace(result, details=details)


def test_the_coarsest_precision_chooses_the_preset(result: Result) -> None:
    first, second = result.evaluations[0].runners
    plain, other = with_details(first), replace(with_details(second), runner="other")
    assert choose_preset(plain, other)[0] == "float32"
    assert choose_preset(plain, with_details(second)) == ("float16", "groq-emulator computes in float16")
    assert choose_preset(with_details(second), plain) == ("float16", "groq-emulator computes in float16")
    for stated, preset in (
        ("f32", "float32"),
        ("bf16", "bfloat16"),
        ("int8", "int8"),
        ("float16", "float16"),
    ):
        assert choose_preset(plain, with_details(other, precision=stated))[0] == preset
    # A saved run's name is its file's; its details name the runner.
    assert choose_preset(plain, with_details(other, runner="groq"))[0] == "float16"


def test_the_runners_state_their_precision(tiny_original: Artifact) -> None:
    result = evaluate(tiny_original, ["onnxruntime", "groq-emulator"], limit=20)
    stated = [each.details["precision"] for each in result.evaluations[0].runners]
    assert stated == ["float32", "float16"]
    assert result.verdict.answer == "SAME"
    assert result.verdict.comparisons[0].preset == "float16"


def test_the_document_has_the_verdict(result: Result, tmp_path: Path) -> None:
    result.save(tmp_path / "r.json")
    assert load_document(tmp_path / "r.json", Result).verdict == result.verdict
    text = (tmp_path / "r.json").read_text()
    assert '"answer": "SAME"' in text
    assert '"preset": "float16"' in text


def test_a_coarser_preset_allows_more() -> None:
    allowed = [preset.same["max_relative"] for preset in PRESETS.values()]
    assert list(PRESETS) == list(Precision)
    assert allowed == sorted(allowed)


@pytest.mark.parametrize("form", ["table", "markdown"])
def test_a_report_begins_with_the_sentence(form: str, result: Result) -> None:
    strict = check_limits(result.evaluations, limit_rules(None), "float32")
    for each in (result, strict):
        first = each.render(form).splitlines()[0].removeprefix("## ").replace("&#58;", ":")
        assert first == each.verdict.sentence
    assert strict.verdict.answer == Answer.DRIFTED


def test_the_page_and_junit_begin_with_the_sentence(result: Result) -> None:
    assert '<p class="verdict pass"><strong>SAME</strong> groq-emulator' in result.render("html")
    strict = check_limits(result.evaluations, limit_rules(None), "float32")
    assert '<p class="verdict fail"><strong>DRIFTED</strong> groq-emulator' in strict.render("html")
    assert f'<testsuites name="{strict.verdict.sentence}"' in strict.render("junit")
    assert 'failures="1"' in strict.render("junit")
    assert f"<system-out>{strict.verdict.sentence}\n" in strict.render("junit")
