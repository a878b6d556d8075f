"""mlx bisect: the table, the JSON, and wrong input."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from tests.conftest import Mlx, with_other_graph

from minilmx.models.artifact import Artifact

SETTINGS = ("--limit", "4", "--threads", "1")


@pytest.fixture(scope="module")
def coarse(small: Artifact, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The artifact with the first weights of layer 4's MLP rounded to 8 bits."""

    def round_weights(model: onnx.ModelProto) -> None:
        (node,) = (n for n in model.graph.node if n.name.endswith("layer.4/intermediate/dense/MatMul"))
        (tensor,) = (t for t in model.graph.initializer if t.name == node.input[1])
        weights = numpy_helper.to_array(tensor)
        scale = np.abs(weights).max() / 127
        tensor.CopyFrom(numpy_helper.from_array(np.round(weights / scale) * scale, tensor.name))

    return with_other_graph(small, tmp_path_factory.mktemp("coarse") / "layer-4-rounded", round_weights).path


def test_the_emulator_is_compared_with_onnxruntime(artifact: Artifact, mlx: Mlx, tmp_path: Path) -> None:
    outcome = mlx("bisect", artifact.path, "--candidate", "groq-emulator", "-o", "r.json", *SETTINGS)
    assert outcome.code == 0, outcome
    first = outcome.stdout.splitlines()[0]
    assert first.startswith(
        "SAME: groq-emulator, compared with onnxruntime, differs by no more than rounding"
    )
    assert "(preset float16: groq-emulator computes in float16)" in first
    assert "result: r.json" in outcome.stderr
    assert "8 sentences" in outcome.stdout
    assert "groq-emulator is an emulation (float16 weights" in outcome.stdout
    assert "First boundary past a relative error of 0.01: none." in outcome.stdout
    assert "Least float16 headroom: layer 0 MLP" in outcome.stdout
    assert "…" not in outcome.stdout
    result = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))
    assert (result["verdict"]["sentence"], result["verdict"]["answer"]) == (first, "SAME")
    words = outcome.stdout.split()
    for step in result["steps"]:
        assert {f"{step['min_cosine']:.8f}", f"{step['relative_error']:.2e}"} <= set(words)
        assert {f"{step['share']:.1%}", f"{step['float16_headroom']:,.2f}"} <= set(words)
    assert f"Largest own share of the final drift: {result['largest_share']}, " in outcome.stdout
    assert f"Final drift: {result['final_drift']:.3g} " in outcome.stdout
    assert max(map(len, outcome.stdout.splitlines()[5:21])) <= 80


def test_two_artifacts_are_compared_and_the_rounded_layer_is_named(
    small: Artifact, coarse: Path, mlx: Mlx, tmp_path: Path
) -> None:
    words = ("bisect", small.path, "--candidate-artifact", coarse, *SETTINGS)
    outcome = mlx(*words, "--threshold", "0.0001", "--json", "-o", "r.json")
    assert outcome.code == 1, outcome
    assert outcome.stdout == (tmp_path / "r.json").read_text(encoding="utf-8")
    result = json.loads(outcome.stdout)
    assert result["schema_version"] == 4
    assert (result["pairs"], result["threshold"]) == (4, 0.0001)
    assert result["reference"]["runner"] == result["candidate"]["runner"] == "onnxruntime"
    assert result["candidate"]["artifact"] == "layer-4-rounded"
    assert result["first_past_threshold"] == result["largest_share"] == "layer 4 MLP"
    assert result["reference"]["emulation"] is result["candidate"]["emulation"] is None
    sentence, reference = result["verdict"]["sentence"], f"onnxruntime on {small.path.name}"
    assert sentence.startswith(f"DIFFERENT: onnxruntime on layer-4-rounded, compared with {reference}, ")
    assert "(preset float32: nothing states a lower precision)" in sentence


def test_the_answer_is_that_of_an_evaluation(small: Artifact, mlx: Mlx) -> None:
    """The graph is not optimised here, so that the numbers may differ by rounding, and the words may not."""
    words = ("--limit", "6", "--threads", "1", "--graph", "fixed")
    runners = ("--runner", "onnxruntime", "--runner", "groq-emulator")
    bisected = mlx("bisect", small.path, "--candidate", "groq-emulator", *words)
    evaluated = mlx("eval", small.path, *runners, *words)
    lines = [each.stdout.splitlines()[0] for each in (bisected, evaluated)]
    assert len({re.sub(r"[\d.]+e-\d+", "N", line) for line in lines}) == 1
    assert bisected.code == evaluated.code == 0


def test_the_data_and_the_runners_are_those_that_were_chosen(
    small: Artifact, mlx: Mlx, tmp_path: Path
) -> None:
    rows = ["x|y|s|split", '"A cat|A dog|1|a', "A man sleeps|A man rests|2|b", 'It rains|5" snow|3|b']
    (tmp_path / "pairs.data").write_text("\n".join(rows) + "\n")
    (tmp_path / "r.json").write_text("old")
    data = ("--dataset", "pairs.data", "--input-format", "csv", "--delimiter", "|", "--quoting", "none")
    columns = ("--text-columns", "x", "y", "--score-column", "s", "--split", "b")
    runners = ("--reference", "groq-emulator", "--candidate", "onnxruntime", "--threads", "1")
    words = ("bisect", small.path, *data, *columns, *runners)
    outcome = mlx(*words, "--output", "r.json", "--force")
    assert outcome.code == 0, outcome
    result = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))
    assert (result["dataset"], result["split"], result["pairs"]) == ("pairs.data", "b", 2)
    assert result["reference"]["runner"] == "groq-emulator"
    assert result["candidate"]["runner"] == "onnxruntime"
    refused = mlx(*words, "--language", "de")
    assert refused.code == 2
    assert "a language cannot be chosen for pairs.data" in refused.stderr


def test_two_copies_of_an_artifact_are_the_same(small: Artifact, mlx: Mlx, tmp_path: Path) -> None:
    other = shutil.copytree(small.path, tmp_path / "copy")
    outcome = mlx("bisect", small.path, "--candidate-artifact", other, *SETTINGS)
    assert outcome.code == 0, outcome
    names = f"onnxruntime on copy, compared with onnxruntime on {small.path.name},"
    assert outcome.stdout.startswith(f"SAME: {names} differs by no more than rounding: ")


def test_embeddings_that_are_not_finite_are_reported_first_with_exit_code_1(
    small: Artifact, mlx: Mlx, tmp_path: Path
) -> None:
    def spoil(model: onnx.ModelProto) -> None:
        (bias,) = (t for t in model.graph.initializer if t.name.endswith("layer.3.output.dense.bias"))
        bias.CopyFrom(numpy_helper.from_array(np.full(32, np.inf, np.float32), bias.name))

    broken = with_other_graph(small, tmp_path / "broken", spoil).path
    outcome = mlx("bisect", small.path, "--candidate-artifact", broken, *SETTINGS)
    assert outcome.code == 1, outcome
    first = outcome.stdout.splitlines()[0]
    assert first == "DIFFERENT: embeddings of onnxruntime on broken are not finite"


def test_a_missing_candidate_is_wrong_usage(tiny: Path, mlx: Mlx) -> None:
    outcome = mlx("bisect", tiny)
    assert outcome.code == 2
    assert "nothing to compare with. Name a candidate runner or artifact." in outcome.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--candidate", "groq"), "the runner groq cannot be bisected"),
        (("--candidate", "gorq"), "the runner 'gorq' does not exist"),
        (("--candidate", "groq-emulator"), "the graph cannot be bisected"),
        (("--candidate-artifact", "nowhere"), "nowhere is not an artifact: it does not exist"),
    ],
)
def test_what_cannot_be_bisected_is_a_one_line_error_with_exit_code_3(
    tiny: Path, mlx: Mlx, words: tuple[str, ...], message: str
) -> None:
    outcome = mlx("bisect", tiny, *words)
    assert outcome.code == 3, outcome
    assert message in outcome.stderr
    assert outcome.stdout == ""
    assert len(outcome.stderr.splitlines()) == 1


def test_an_output_that_exists_is_kept(tiny: Path, mlx: Mlx, tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text("mine", encoding="utf-8")
    outcome = mlx("bisect", tiny, "--candidate", "groq-emulator", "-o", "r.json")
    assert outcome.code == 3
    assert "r.json already exists" in outcome.stderr
    assert (tmp_path / "r.json").read_text(encoding="utf-8") == "mine"
