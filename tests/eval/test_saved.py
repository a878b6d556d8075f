"""mlx compare: saved runs, perhaps from different machines, are compared."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.conftest import Mlx

from minilmx.errors import EvalError
from minilmx.eval.document import load_document
from minilmx.eval.limits import limit_rules
from minilmx.eval.results import Result
from minilmx.eval.sides.compare import compare_sides
from minilmx.progress import SILENT

FORMATS = [".npy", ".npz", ".jsonl", ".parquet"]
TEXT = "one sentence\nanother one\na third, longer than both of the others\n"


@pytest.fixture
def save(mlx: Mlx, tiny: Path, tmp_path: Path) -> Callable[..., Path]:
    """Save a run of the tiny artifact over some sentences."""

    def run(name: str, *words: object, text: str = TEXT, artifact: Path = tiny) -> Path:
        outcome = mlx("run", artifact, *words, "-o", name, stdin=text)
        assert outcome.code == 0, outcome
        return tmp_path / name

    return run


Save = Callable[..., Path]


def compare(mlx: Mlx, *paths: Path) -> list[Any]:
    """The runs of a comparison, each with its comparison with the first."""
    outcome = mlx("compare", *paths, "--json")
    assert outcome.code == 0, outcome
    (evaluation,) = json.loads(outcome.stdout)["evaluations"]
    runs: list[Any] = evaluation["runners"]
    return runs


def refusal(mlx: Mlx, *paths: Path) -> str:
    outcome = mlx("compare", *paths)
    assert outcome.code == 3, outcome
    assert outcome.stdout == ""
    lines = outcome.stderr.splitlines()
    assert len(lines) == 1
    assert "a fault in minilmx" not in lines[0]
    return str(lines[0])


def edit(path: Path, **fields: object) -> None:
    """Change the record of a run."""
    record = path.with_name(path.name + ".run.json")
    record.write_text(json.dumps(json.loads(record.read_text()) | fields))


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_saved_run_agrees_with_itself_in_every_format(mlx: Mlx, save: Save, suffix: str) -> None:
    reference, other = save("a.npy"), save(f"b{suffix}")
    runs = compare(mlx, reference, other)
    assert runs[0]["comparison"] is None
    assert runs[1]["comparison"]["drift"]["max_abs"] == 0
    assert runs[1]["comparison"]["drift"]["min_cosine"] == pytest.approx(1)


@pytest.mark.parametrize("suffix", FORMATS)
def test_the_drift_equals_that_of_the_saved_numbers(
    mlx: Mlx, save: Save, tmp_path: Path, suffix: str
) -> None:
    reference, other = save(f"cpu{suffix}"), save(f"fp16{suffix}", "--runner", "groq-emulator")
    expected = np.abs(np.load(save("a.npy")) - np.load(save("b.npy", "--runner", "groq-emulator"))).max()
    runs = compare(mlx, reference, other)
    assert [run["details"]["runner"] for run in runs] == ["onnxruntime", "groq-emulator"]
    assert runs[1]["comparison"]["drift"]["max_abs"] == pytest.approx(float(expected), rel=1e-6)
    assert expected > 0


def test_several_runs_are_compared_with_the_first(mlx: Mlx, save: Save) -> None:
    paths = [save("a.npy"), save("b.npy", "--runner", "groq-emulator"), save("c.npz")]
    outcome = mlx("compare", *paths)
    assert outcome.code == 0
    max_abs = next(line.split() for line in outcome.stdout.splitlines() if "max abs" in line)
    assert float(max_abs[2]) > 0
    assert float(max_abs[3]) == 0


def test_a_run_can_be_named_by_its_record(mlx: Mlx, save: Save) -> None:
    path = save("a.npy")
    runs = compare(mlx, path.with_name("a.npy.run.json"), path)
    assert runs[1]["comparison"]["drift"]["max_abs"] == 0


def test_saved_runs_can_be_moved(mlx: Mlx, save: Save, tmp_path: Path) -> None:
    reference, path = save("a.npy"), save("b.npy")
    (tmp_path / "elsewhere").mkdir()
    for name in ("b.npy", "b.npy.run.json"):
        (tmp_path / name).rename(tmp_path / "elsewhere" / name)
    assert (
        compare(mlx, reference, tmp_path / "elsewhere" / path.name)[1]["comparison"]["drift"]["max_abs"] == 0
    )


def test_the_comparison_is_saved_as_json(mlx: Mlx, save: Save, tmp_path: Path) -> None:
    words = ("compare", save("a.npy"), save("b.npy"), "-o", "r.json")
    assert mlx(*words).code == 0
    document = json.loads((tmp_path / "r.json").read_text())
    assert document["kind"] == "result"
    assert document["evaluations"][0]["sentences"] == 3
    assert mlx("report", "r.json", "-o", "r.html").code == 0
    assert "already exists" in mlx(*words).stderr
    assert mlx(*words, "--force").code == 0


def test_limits_are_kept_or_broken(mlx: Mlx, save: Save, tmp_path: Path) -> None:
    words = ("compare", save("a.npy"), save("b.npy", "--runner", "groq-emulator"))
    assert mlx(*words, "--max-abs", "1").code == 0
    broken = mlx(*words, "--max-abs", "1e-9")
    assert broken.code == 1
    assert "FAIL" in broken.stdout
    (tmp_path / "limits.toml").write_text("[default]\nmax_abs = 1e-9\n")
    assert mlx(*words, "--limits", "limits.toml").code == 1
    (tmp_path / "limits.toml").write_text("[default]\nmax_apples = 1\n")
    assert mlx(*words, "--limits", "limits.toml").code == 3


def test_runs_of_two_artifacts_are_compared_and_both_are_named(
    mlx: Mlx, save: Save, tiny_folder: Path, tmp_path: Path
) -> None:
    shape = ("--batch-size", 2, "--sequence-length", 16)
    assert mlx("export", tiny_folder, "--from-onnx", *shape, "-o", "other").code == 0
    runs = compare(mlx, save("a.npy"), save("b.npy", artifact=tmp_path / "other"))
    assert len({run["details"]["artifact_sha256"] for run in runs}) == 2
    assert runs[1]["comparison"]["drift"]["max_abs"] < 1e-6


@pytest.mark.parametrize("text", [TEXT.upper() + "x\n", TEXT.replace("one", "two"), "only one\n"])
def test_runs_over_another_input_are_refused(mlx: Mlx, save: Save, text: str) -> None:
    assert "different inputs from" in refusal(mlx, save("a.npy"), save("b.npy", text=text))


@pytest.mark.parametrize("suffix", FORMATS)
def test_embeddings_that_changed_are_refused(mlx: Mlx, save: Save, suffix: str) -> None:
    reference, path = save("a.npy"), save(f"b{suffix}")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert "which is not what was saved; expected " in refusal(mlx, reference, path)


def test_a_run_without_its_record_says_so(mlx: Mlx, save: Save, tmp_path: Path) -> None:
    path = save("a.npy")
    (tmp_path / "a.npy.run.json").unlink()
    runs = compare(mlx, path, save("b.npy"))
    assert [run["details"]["runner"] for run in runs] == ["no record", "onnxruntime"]


def test_shards_are_compared_one_by_one(mlx: Mlx, tiny: Path, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="needs pyarrow")
    (tmp_path / "in.txt").write_text(TEXT, "utf-8")
    for output, runner in (("one", "onnxruntime"), ("two", "groq-emulator")):
        assert mlx("run", tiny, "in.txt", "-o", f"{output}/", "--runner", runner).code == 0
    refused = mlx("compare", "one", "two", "--max-abs", 1e-9)
    assert refused.code == 3
    assert "one is a folder of shards; expected an artifact or a file of embeddings" in refused.stderr
    assert "such as one/shard-000000.parquet" in refused.stderr
    shards = (f"{name}/shard-000000.parquet" for name in ("one", "two"))
    outcome = mlx("compare", *shards, "--max-abs", 1e-9)
    assert outcome.code == 1
    assert "FAIL  2: shard-000000.parquet  max_abs 1e-09" in outcome.stdout


def test_a_record_without_its_embeddings_is_refused(mlx: Mlx, save: Save, tmp_path: Path) -> None:
    save("a.npy").unlink()
    assert "a.npy cannot be read" in refusal(mlx, tmp_path / "a.npy.run.json", save("b.npy"))


@pytest.mark.parametrize("record", [b"", b"{", b"[]", b"{}", b"\xff", b"[" * 100_000, b"null"])
def test_an_invalid_record_is_refused(mlx: Mlx, save: Save, tmp_path: Path, record: bytes) -> None:
    path = save("a.npy")
    (tmp_path / "a.npy.run.json").write_bytes(record)
    assert "cannot be read as a run's record" in refusal(mlx, path, save("b.npy"))


@pytest.mark.parametrize(
    "field",
    ["artifact_sha256", "inputs_sha256", "runner", "sentences", "sha256", "details", "versions", "timing"],
)
def test_a_record_with_a_missing_or_wrong_field_is_refused(
    mlx: Mlx, save: Save, tmp_path: Path, field: str
) -> None:
    path, other = save("a.npy"), save("b.npy")
    edit(path, **{field: None})
    assert "a.npy" in refusal(mlx, path, other)
    record = tmp_path / "a.npy.run.json"
    document = json.loads(record.read_text())
    del document[field]
    record.write_text(json.dumps(document))
    assert "a.npy" in refusal(mlx, path, other)


@pytest.mark.parametrize(
    ("field", "value", "place"),
    [
        ("versions", {"onnxruntime": 1}, "$.versions[...]"),
        ("details", {"threads": []}, "$.details[...]"),
        ("timing", {"batches": "3"}, "$.timing.batches"),
        ("sentences", None, "$.sentences"),
        ("model", 7, "$.model"),
        ("provenance", {}, "$.provenance"),
    ],
)
def test_an_error_names_the_bad_field_of_a_record_and_its_file(
    mlx: Mlx, save: Save, field: str, value: object, place: str
) -> None:
    path, other = save("a.npy"), save("b.npy")
    edit(path, **{field: value})
    message = refusal(mlx, path, other)
    assert "a.npy.run.json cannot be read as a run's record: " in message
    assert place in message


def test_a_record_of_another_version_is_refused(mlx: Mlx, save: Save) -> None:
    path = save("a.npy")
    edit(path, schema_version=1)
    assert "schema version 1; expected 3" in refusal(mlx, path, save("b.npy"))


@pytest.mark.parametrize("shape", [(2, 8), (3, 7), (0, 8), (24,)])
def test_embeddings_of_another_shape_are_refused(mlx: Mlx, save: Save, shape: tuple[int, ...]) -> None:
    path = save("a.npy")
    np.save(path, np.ones(shape, np.float32))
    edit(path, sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    assert "a.npy" in refusal(mlx, path, save("b.npy"))


def test_pickled_embeddings_are_refused(mlx: Mlx, save: Save) -> None:
    path = save("a.npy")
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    edit(path, sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    assert "allow_pickle" in refusal(mlx, path, save("b.npy"))


def test_one_run_alone_cannot_be_compared(mlx: Mlx, save: Save) -> None:
    assert "expected at least two" in refusal(mlx, save("a.npy"))


def test_the_old_option_names_its_replacement(mlx: Mlx, save: Save, tiny: Path) -> None:
    outcome = mlx("eval", "--from", save("a.npy"), "--from", save("b.npy"))
    assert outcome.code == 2
    assert "mlx compare FILE FILE" in outcome.stderr
    assert "mlx report RESULT --limits" in outcome.stderr


def embeddings() -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.random.default_rng(0).normal(size=(20, 8)).astype(np.float32)


def test_arrays_are_compared_as_a_result_that_every_report_shows(tmp_path: Path) -> None:
    values, rules = embeddings(), limit_rules({"max_abs": 1e-6})
    result = compare_sides([values, values + np.float32(1e-4)], None, rules, None, SILENT)
    assert result.passed is False
    comparison = result.evaluations[0].runners[1].comparison
    assert comparison and comparison.profile and comparison.retrieval
    assert comparison.drift.max_abs == pytest.approx(1e-4, rel=1e-2)
    for form in ("table", "html", "markdown", "junit"):
        assert "array 2" in result.render(form)
    assert result.evaluations[0].model == "no record"
    result.save(tmp_path / "r.json")
    assert load_document(tmp_path / "r.json", Result) == result


def test_a_file_without_a_record_is_compared(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", embeddings())
    result = compare_sides([tmp_path / "a.npy", embeddings()], None, limit_rules(None), None, SILENT)
    assert result.passed is True
    assert result.verdict.answer == "SAME"
    assert result.evaluations[0].inputs_sha256 == "no record"


def test_embeddings_that_are_not_finite_do_not_pass() -> None:
    broken = embeddings()
    broken[3, 2] = np.nan
    assert compare_sides([embeddings(), broken], None, limit_rules(None), None, SILENT).passed is False


def test_runs_of_other_inputs_have_no_result(save: Save) -> None:
    with pytest.raises(EvalError, match="different inputs from"):
        compare_sides([save("a.npy"), save("b.npy", text="x\ny\nz\n")], None, limit_rules(None), None, SILENT)
