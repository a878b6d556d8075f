"""Results over time: in order, and refused if they are not comparable."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from minilmx.errors import EvalError
from minilmx.eval.evaluation import Evaluation
from minilmx.eval.limits import Check
from minilmx.eval.reports.history import history_rows, history_trends, trace_history
from minilmx.eval.reports.render import render
from minilmx.eval.results import Result

Change = Callable[[Evaluation], Evaluation]


def at(result: Result, created: str, version: str = "1.0", change: Change = lambda each: each) -> Result:
    """The result as if it were created then, by that version of onnxruntime."""
    evaluations = []
    for one in result.evaluations:
        runners = tuple(replace(each, versions={"onnxruntime": version}) for each in one.runners)
        made = replace(one.provenance, created=f"{created}T10:00:00+00:00")
        evaluations.append(change(replace(one, provenance=made, runners=runners)))
    return replace(result, evaluations=tuple(evaluations))


def test_results_are_in_chronological_order_with_their_versions(result: Result) -> None:
    history = trace_history([at(result, "2026-03-01", "1.3"), at(result, "2026-01-01", "1.1")])
    assert [date[:10] for date in history.dates] == ["2026-01-01", "2026-03-01"]
    rows = history_rows(history)
    assert [(row[0], row[1], row[3], row[4]) for row in rows] == [
        ("1", "2026-01-01 10:00", "onnxruntime", "onnxruntime 1.1"),
        ("1", "2026-01-01 10:00", "groq-emulator", "onnxruntime 1.1"),
        ("2", "2026-03-01 10:00", "onnxruntime", "onnxruntime 1.3"),
        ("2", "2026-03-01 10:00", "groq-emulator", "onnxruntime 1.3"),
    ]
    emulator = result.evaluations[0].runners[1]
    assert emulator.comparison and emulator.comparison.drift.max_abs
    assert rows[1][5:8] == (
        f"{100 * (emulator.scores.spearman or 0):.4f}",
        f"{emulator.comparison.drift.max_abs:.2e}",
        f"{emulator.comparison.drift.min_cosine:.8f}",
    )


def test_a_series_has_a_point_for_each_result_that_has_the_number(result: Result) -> None:
    history = trace_history([at(result, "2026-01-01"), at(result, "2026-01-02"), at(result, "2026-01-03")])
    spearman, largest, *_ = [trend.lines for trend in history_trends(history)]
    assert [list(each.x) for each in spearman] == [[0.0, 1.0, 2.0]] * 2
    assert [len(each.x) for each in largest] == [0, 3]


def test_limits_are_shown_for_the_runner_that_they_belong_to(result: Result) -> None:
    checks = tuple(
        Check("en", "groq-emulator", name, 0.0, 1.0, kept) for name, kept in (("a", True), ("b", False))
    )
    later = replace(at(result, "2026-02-01"), checks=checks)
    rows = history_rows(trace_history([at(result, "2026-01-01"), later]))
    assert [row[-1] for row in rows] == ["", "", "", "FAIL"]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda one: replace(one, dataset="other"), "data set bundled and other"),
        (lambda one: replace(one, split="dev"), "data set"),
        (lambda one: replace(one, language="de"), "languages en and de"),
        (lambda one: replace(one, model="other"), "model"),
        (lambda one: replace(one, pairs=29), "number of pairs"),
        (lambda one: replace(one, runners=one.runners[::-1]), "reference"),
        (lambda one: replace(one, gold=(1.0, *one.gold[1:])), "different sentences or scores"),
        (lambda one: replace(one, inputs_sha256="0" * 64), "different sentences or scores"),
    ],
)
def test_results_that_are_not_comparable_are_refused(change: Change, named: str, result: Result) -> None:
    with pytest.raises(EvalError, match=r"^history: ") as raised:
        trace_history([at(result, "2026-01-01"), at(result, "2026-01-02", change=change)])
    assert named in str(raised.value)


def test_another_shape_of_the_same_model_is_comparable(result: Result) -> None:
    other = at(
        result, "2026-01-02", change=lambda one: replace(one, sequence_length=32, inputs_sha256="0" * 64)
    )
    assert len(trace_history([at(result, "2026-01-01"), other]).dates) == 2


@pytest.mark.parametrize("form", ["table", "html", "markdown"])
def test_every_form_of_the_history_has_all_dates_and_the_caution(form: str, result: Result) -> None:
    results = [at(result, f"2026-01-0{day}", f"1.{day}") for day in (3, 1, 2)]
    text = " ".join(render(form, results).split())
    assert "groq-emulator is an emulation" in text
    if form == "html":
        assert text.count("<svg") == 4 + 6
        assert "3 results, drift from onnxruntime" in text
    for day in (1, 2, 3):
        assert f"2026-01-0{day}" in text
        assert f"1.{day}" in text
