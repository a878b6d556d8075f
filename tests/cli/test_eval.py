"""mlx eval: the table, the JSON, and the path of the result."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from tests.conftest import Mlx, reseal

from minilmx.models.artifact import Artifact, open_artifact
from minilmx.models.onnx_file import load_onnx
from minilmx.runners.registry import find_runner

BOTH = ("--runner", "onnxruntime", "--runner", "groq-emulator")


def test_the_ladder_is_printed_below_the_table(artifact: Artifact, mlx: Mlx) -> None:
    outcome = mlx("eval", artifact.path, "--runner", "onnxruntime", "--limit", "4", "--ladder")
    assert outcome.code == 0, outcome
    assert "\nladder, the first 8 sentences\n" in outcome.stdout


def test_the_language_chooses_that_of_the_data_set(tiny: Path, mlx: Mlx) -> None:
    pytest.importorskip("datasets", reason="needs datasets")
    outcome = mlx("eval", tiny, "--runner", "onnxruntime", "--dataset", "stsb", "--language", "xx")
    assert outcome.code == 3
    assert "stsb: unknown language 'xx'; expected one of de, en" in outcome.stderr


def strict(text: str) -> Any:
    """JSON as other languages read it: NaN and Infinity are not JSON."""

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    return json.loads(text, parse_constant=refuse)


def only(text: str) -> Any:
    """The one evaluation of a result."""
    (evaluation,) = strict(text)["evaluations"]
    return evaluation


def reweighted(folder: Path, value: float) -> Path:
    """The artifact with all type embeddings of this value, sealed again."""
    artifact = open_artifact(folder)
    for graph in (artifact.fixed_graph, artifact.dynamic_graph):
        model = load_onnx(graph)
        for tensor in model.graph.initializer:
            if list(tensor.dims) == [2, 8]:
                weights = np.full((2, 8), value, np.float32)
                tensor.CopyFrom(numpy_helper.from_array(weights, tensor.name))
        onnx.save(model, str(graph))
    return reseal(folder).path


def test_the_default_compares_onnxruntime_with_an_emulation_and_says_so(tiny: Path, mlx: Mlx) -> None:
    outcome = mlx("eval", tiny, "--limit", "20")
    assert outcome.code == 0, outcome
    assert "no GroqCard was found: comparing onnxruntime and groq-emulator, an emul" in outcome.stderr
    assert "groq-emulator is an emulation" in outcome.stdout
    assert "bundled en: 20 pairs" in outcome.stdout
    for row in ("Spearman x100", "Pearson x100", "sentences/s", "max abs", "p99 abs", "min cosine"):
        assert row in outcome.stdout


def test_the_result_is_saved_at_the_reported_path(tiny: Path, mlx: Mlx, tmp_path: Path) -> None:
    outcome = mlx("eval", tiny, "--limit", "5", *BOTH)
    path = re.search(r"^result: (.*)$", outcome.stderr, re.MULTILINE)
    assert path
    assert re.fullmatch(r"results/tiny-b4-s16/bundled-en-\d{8}T\d{6}Z\.json", path[1])
    assert only((tmp_path / path[1]).read_text())["pairs"] == 5


def test_two_evaluations_in_one_second_are_both_kept(tiny: Path, mlx: Mlx, tmp_path: Path) -> None:
    for _ in range(3):
        assert mlx("eval", tiny, "--limit", "5", "--runner", "onnxruntime").code == 0
    assert len(list((tmp_path / "results" / "tiny-b4-s16").iterdir())) == 3


def test_the_printed_json_equals_the_saved_file(tiny: Path, mlx: Mlx, tmp_path: Path) -> None:
    outcome = mlx("eval", tiny, "--limit", "9", "--json", "-o", "out/r.json", *BOTH)
    assert outcome.code == 0, outcome
    assert outcome.stdout == (tmp_path / "out" / "r.json").read_text()
    assert strict(outcome.stdout)["schema_version"] == 4
    result = only(outcome.stdout)
    assert result["pairs"] == 9
    assert (result["batch_size"], result["sequence_length"]) == (4, 16)
    reference, emulator = result["runners"]
    assert reference["comparison"] is None
    assert 0 < emulator["comparison"]["drift"]["max_abs"] < 0.01
    assert "not from a GroqCard" in emulator["details"]["emulation"]
    # One batch per length, and 18 sentences in batches of 4.
    assert (reference["graph"], reference["timing"]["batches"]) == ("dynamic", 11)
    assert (emulator["graph"], emulator["timing"]["batches"]) == ("fixed", 5)
    assert result["truncated_sentences"] > 0


def test_the_table_has_every_runner_and_unshortened_numbers(tiny: Path, mlx: Mlx, tmp_path: Path) -> None:
    outcome = mlx("eval", tiny, "--limit", "9", "-o", "r.json", *BOTH)
    result = only((tmp_path / "r.json").read_text())
    for runner in result["runners"]:
        assert runner["runner"] in outcome.stdout
        assert f"{100 * runner['scores']['spearman']:.4f}" in outcome.stdout
    drift = result["runners"][1]["comparison"]["drift"]
    assert f"{drift['max_abs']:.2e}" in outcome.stdout
    assert f"{drift['min_cosine']:.8f}" in outcome.stdout
    assert "…" not in outcome.stdout


def test_the_first_runner_is_the_reference(tiny: Path, mlx: Mlx) -> None:
    words = ("--runner", "groq-emulator", "--runner", "onnxruntime")
    outcome = mlx("eval", tiny, "--limit", "5", *words)
    assert "Drift from groq-emulator" in outcome.stdout
    assert "groq-emulator is an emulation" in outcome.stdout


def test_one_runner_has_no_drift(tiny: Path, mlx: Mlx) -> None:
    outcome = mlx("eval", tiny, "--limit", "5", "--runner", "onnxruntime")
    assert outcome.code == 0
    assert "drift" not in outcome.stdout
    assert "emulat" not in outcome.stdout + outcome.stderr


def test_a_data_set_with_brackets_in_its_name_is_shown_as_it_is(tiny: Path, mlx: Mlx, tmp_path: Path) -> None:
    (tmp_path / "p[red]:smile:.csv").write_text("sentence1,sentence2,score\na,b,1\nc,d,2\n")
    outcome = mlx("eval", tiny, "--dataset", "p[red]:smile:.csv", "--runner", "onnxruntime")
    assert outcome.code == 0, outcome
    assert "p[red]:smile:.csv: 2 pairs" in outcome.stdout


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 60000.0])
def test_numbers_beyond_float16_are_reported_and_the_json_stays_valid(
    value: float, tiny: Path, mlx: Mlx
) -> None:
    artifact = reweighted(tiny, value)
    outcome = mlx("eval", artifact, "--limit", "5", "--json", *BOTH)
    assert outcome.code == (0 if np.isfinite(value) else 1), outcome
    emulator = only(outcome.stdout)["runners"][1]
    largest = emulator["details"]["largest_magnitude"]
    assert largest is None or largest > 0
    table = mlx("eval", artifact, "--limit", "5", *BOTH).stdout
    assert "groq-emulator is an emulation" in table
    if np.isnan(value):
        drift = emulator["comparison"]["drift"]
        assert drift["finite"] is False
        assert drift["max_abs"] is drift["min_cosine"] is None
        assert emulator["scores"] == {"spearman": None, "pearson": None}
        assert "not finite" in table
        assert "undefined" in table
    elif np.isinf(value):
        assert largest is None
        assert "past float16's limit of 65,504" in table


def test_a_single_runner_that_is_not_finite_fails(tiny: Path, mlx: Mlx, tmp_path: Path) -> None:
    artifact = reweighted(tiny, float("nan"))
    words = ("--limit", "5", "--runner", "onnxruntime", "--graph", "fixed", "-o", "r.json")
    outcome = mlx("eval", artifact, *words)
    assert outcome.code == 1, outcome
    first_line = "FAIL: embeddings of onnxruntime are not finite"
    assert outcome.stdout.splitlines()[0] == first_line
    report = mlx("report", "r.json")
    assert report.code == 1, report
    assert report.stdout.splitlines()[0] == first_line
    page = mlx("report", "r.json", "-o", "r.html")
    assert page.code == 1, page
    assert page.stderr.splitlines() == [first_line, "report: r.html"]


def test_a_missing_runner_is_reported_before_the_first_one_runs(tiny: Path, mlx: Mlx, tmp_path: Path) -> None:
    if find_runner("groq").missing(find_runner("groq").options()) is None:
        pytest.skip("this machine has a GroqCard")
    outcome = mlx("eval", tiny, "--runner", "onnxruntime", "--runner", "groq")
    assert outcome.code == 3, outcome
    assert "the runner groq cannot run here" in outcome.stderr
    assert not (tmp_path / "results").exists()


def test_pairs_are_counted_and_their_split_is_chosen(tiny: Path, mlx: Mlx, tmp_path: Path) -> None:
    rows = ['test|"a|b|1', "dev|c|d|2", "test|e|f|3", "dev|g|h|4"]
    (tmp_path / "p.csv").write_text("split|sentence1|sentence2|score\n" + "\n".join(rows))
    words = ("eval", tiny, "--dataset", "p.csv", "--delimiter", "|", "--quoting", "none", *BOTH)
    outcome = mlx(*words)
    assert outcome.code == 3
    assert "p.csv has the splits test, dev; expected one. Choose one of them." in outcome.stderr
    outcome = mlx(*words, "--split", "dev", "--json")
    assert outcome.code == 0, outcome
    assert "p.csv: 4 rows read, 2 of them with the split dev" in outcome.stderr.splitlines()
    result = only(outcome.stdout)
    assert (result["split"], result["pairs"], result["gold"]) == ("dev", 2, [2.0, 4.0])


def test_scores_of_any_scale_and_name_are_ranked_alike(tiny: Path, mlx: Mlx, tmp_path: Path) -> None:
    found = set()
    for factor, shift in ((1, 0), (0.01, 0), (0.02, -1)):
        rows = [
            f"{'abcdefgh'[: each // 10 + 1]},{'hgfe'[: each // 20]}x,{factor * each + shift}"
            for each in range(0, 80, 9)
        ]
        (tmp_path / "p.csv").write_text("left,right,similar\n" + "\n".join(rows))
        words = ("--text-columns", "left", "right", "--score-column", "similar", "--json")
        outcome = mlx("eval", tiny, "--dataset", "p.csv", "--runner", "onnxruntime", *words)
        assert outcome.code == 0, outcome
        found.add(only(outcome.stdout)["runners"][0]["scores"]["spearman"])
    assert len(found) == 1


def test_the_colours_of_a_report_span_the_scores(tiny: Path, mlx: Mlx, tmp_path: Path) -> None:
    rows = [f"{'abcdefgh'[: each + 1]},{'hgfe'[: each // 2]}x,{each / 4 - 1}" for each in range(8)]
    (tmp_path / "p.csv").write_text("sentence1,sentence2,score\n" + "\n".join(rows))
    outcome = mlx("eval", tiny, "--dataset", "p.csv", "-o", "r.json", *BOTH)
    assert outcome.code == 0, outcome
    page = mlx("report", "r.json", "--format", "html").stdout
    assert re.search(r"gold score -1 (<i[^>]*></i>)+ 0\.75", page)
