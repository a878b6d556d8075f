"""Result documents: read strictly, finite, and described by the JSON Schemas in the package."""

import json
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from minilmx.errors import EvalError
from minilmx.eval.benchmark import Benchmark
from minilmx.eval.bisect.bisect import Bisection
from minilmx.eval.document import json_schema, load_document, save_document, to_json
from minilmx.eval.results import Result


@pytest.mark.parametrize("kind", [Result, Benchmark, Bisection])
def test_the_shipped_schema_is_up_to_date(kind: type) -> None:
    """After a change, write json.dumps(json_schema(kind), indent=1), and a newline, into eval/schemas/."""
    shipped = resources.files("minilmx.eval") / "schemas" / f"{kind.__name__.lower()}.json"
    assert shipped.read_text("utf-8") == json.dumps(json_schema(kind), indent=1) + "\n"


def changed(result: Result, path: Path, change: str) -> None:
    document: dict[str, Any] = json.loads(to_json(result))
    one = document["evaluations"][0]
    drift = one["runners"][1]["comparison"]["drift"]
    match change:
        case "unknown":
            drift["other"] = 1
        case "missing default":
            del drift["max_abs"]
        case "not finite":
            drift["max_abs"] = float("nan")
        case "another type":
            one["pairs"] = "30"
        case "kind":
            document["kind"] = "benchmark"
        case "no kind":
            del document["kind"]
    path.write_text(json.dumps(document))


@pytest.mark.parametrize(
    "change", ["unknown", "missing default", "not finite", "another type", "kind", "no kind"]
)
def test_a_document_that_would_be_written_differently_is_refused(
    result: Result, tmp_path: Path, change: str
) -> None:
    changed(result, tmp_path / "r.json", change)
    with pytest.raises(EvalError, match=r"r\.json"):
        load_document(tmp_path / "r.json", Result)


def test_a_number_that_is_not_finite_is_never_written(result: Result, tmp_path: Path) -> None:
    (one,) = result.evaluations
    first, *others = one.runners
    assert first.timing
    timing = replace(first.timing, seconds=float("inf"))
    broken = replace(one, runners=(replace(first, timing=timing), *others))
    with pytest.raises(ValueError, match="not JSON compliant"):
        save_document(replace(result, evaluations=(broken,)), tmp_path / "r.json", replace=False)
    assert not (tmp_path / "r.json").exists()


def test_a_result_shows_and_saves_itself(result: Result, tmp_path: Path) -> None:
    result.save(tmp_path / "r.json")
    assert load_document(tmp_path / "r.json", Result) == result
    result.save_html(tmp_path / "r.html")
    assert (tmp_path / "r.html").read_text("utf-8") == result.render("html")
    assert result._repr_html_().startswith("<iframe srcdoc=")


def test_a_result_is_a_data_frame_with_a_row_for_each_runner_and_language(result: Result) -> None:
    pytest.importorskip("pandas")
    frame = result.to_dataframe()
    assert list(frame["runner"]) == ["onnxruntime", "groq-emulator"]
    comparison = result.evaluations[0].runners[1].comparison
    assert comparison
    assert frame["max_abs"][1] == comparison.drift.max_abs
    assert frame["max_abs"].isna()[0]
