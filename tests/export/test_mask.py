"""The fixed graph with a bool mask, as Groq's proof point has it, and the constants of float16."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper
from tests.conftest import MakeOnce, run_mlx
from tests.runners.groq.selftest_model import ARTIFACT, write_model

import minilmx
from minilmx.errors import ArtifactError, ExportError, OutputError
from minilmx.export.options import ExportOptions
from minilmx.models.artifact import Artifact, open_artifact
from minilmx.models.interface import LEAST_NORM
from minilmx.models.manifest import Shape
from minilmx.models.read_manifest import parse_manifest
from minilmx.models.sample_texts import sample_texts
from minilmx.models.tokenizer import open_tokenizer

TEXTS = ["one", "a text of some words", "", "word " * 200, "last"]


@pytest.fixture(scope="session")
def with_bool(make_once: MakeOnce) -> Artifact:
    """The model of the Groq self-test, whose artifact with an int64 mask is shipped."""
    pytest.importorskip("torch", reason="needs torch to export")

    def export(folder: Path) -> None:
        model = folder / "minilmx-selftest"
        write_model(model)
        words = ("--batch-size", 2, "--pack", 16, "--mask", "bool", "-o", folder / "artifact")
        outcome = run_mlx("export", model, *words)
        assert outcome.code == 0, outcome

    return open_artifact(make_once("bool-mask", export) / "artifact")


def embed(artifact: Artifact | Path, runner: str, graph: str) -> NDArray[np.float32]:
    with minilmx.load(artifact, runner, graph) as model:
        return model.encode(TEXTS)


def test_only_the_fixed_graph_takes_a_bool_mask_and_the_manifest_says_so(with_bool: Artifact) -> None:
    stated = [str(tensor) for tensor in with_bool.manifest.fixed.inputs]
    assert stated == [
        "input_ids int64 [2, 128]",
        "attention_mask bool [2, 128]",
        "token_type_ids int64 [2, 128]",
    ]
    assert {tensor.dtype for tensor in with_bool.manifest.dynamic.inputs} == {"int64"}
    mask = onnx.load(with_bool.fixed_graph).graph.input[1].type.tensor_type
    assert mask.elem_type == onnx.TensorProto.BOOL


@pytest.mark.parametrize("runner", ["onnxruntime", "openvino", "groq-emulator"])
def test_every_runner_feeds_it_and_gives_the_bits_of_the_int64_mask(with_bool: Artifact, runner: str) -> None:
    if runner == "openvino":
        pytest.importorskip("openvino", reason="needs openvino")
    np.testing.assert_array_equal(embed(with_bool, runner, "fixed"), embed(ARTIFACT, runner, "fixed"))


def test_the_dynamic_and_the_packed_graph_are_the_same_files(with_bool: Artifact) -> None:
    shipped = open_artifact(ARTIFACT)
    for kind in ("dynamic", "packed"):
        assert with_bool.with_graph(kind).graph_sha256 == shipped.with_graph(kind).graph_sha256


def test_other_combinations_are_refused_before_anything_is_read() -> None:
    for onnx_file, consumers in ((True, False), (False, True)):
        with pytest.raises(ExportError, match=r"a bool mask: .*; expected PyTorch weights") as refused:
            ExportOptions(Shape(1, 8), mask="bool", from_onnx=onnx_file, fixed_consumers=consumers)
        assert refused.value.hint == "Export with the int64 mask."
    with pytest.raises(ValueError, match="int8"):
        minilmx.export_model("nothing", mask="int8")


def test_an_artifact_of_the_other_mask_is_not_reused(with_bool: Artifact) -> None:
    model = with_bool.path.parent / "minilmx-selftest"
    with pytest.raises(OutputError, match="made from another type of the mask"):
        minilmx.export_model(str(model), with_bool.path, batch_size=2, pack=16)


def test_a_manifest_with_another_type_of_an_input_is_refused(with_bool: Artifact) -> None:
    document = with_bool.manifest.to_json()
    for old, new in ((b'"bool"', b'"int32"'), (b'"dtype": "int64"', b'"dtype": "bool"')):
        with pytest.raises(ArtifactError, match=r"graphs\.\w+\.inputs"):
            parse_manifest(document.replace(old, new, 1))


def test_the_least_norm_is_a_normal_number_of_float16_and_changes_no_embedding(artifact: Artifact) -> None:
    assert float(np.finfo(np.float16).smallest_normal) <= LEAST_NORM
    model = onnx.load(artifact.fixed_graph)
    changed = 0
    for tensor in model.graph.initializer:
        if tensor.dims == [] and numpy_helper.to_array(tensor) == np.float32(LEAST_NORM):
            tensor.CopyFrom(numpy_helper.from_array(np.array(1e-12, np.float32), tensor.name))
            changed += 1
    assert changed == 1
    without = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    with_it = onnxruntime.InferenceSession(artifact.fixed_graph, providers=["CPUExecutionProvider"])
    for batch in open_tokenizer(artifact).encode(sample_texts(48)[::4]).batches():
        first, second = (
            session.run(["sentence_embedding"], batch.feeds())[0] for session in (without, with_it)
        )
        np.testing.assert_array_equal(first, second)
