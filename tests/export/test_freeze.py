"""From an ONNX file with dynamic axes to an artifact, without PyTorch."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from minilmx.errors import MinilmxError
from minilmx.export.exporter import ExportReport, export_model
from minilmx.models.manifest import Shape
from minilmx.models.source import resolve_model
from minilmx.models.tokenizer import Tokenizer

TEXTS = ["a", "", "hello world", "the quick brown fox", "z" * 40]
Change = Callable[[onnx.ModelProto], object]


@pytest.fixture
def folder(tiny_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_folder, tmp_path / "models" / "tiny"))


def change_graph(folder: Path, change: Change) -> None:
    path = str(folder / "onnx" / "model.onnx")
    model = onnx.load(path)
    change(model)
    onnx.save(model, path)


def set_pooling(folder: Path, pooling: str, normalized: bool) -> None:
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode": pooling}))
    if not normalized:
        modules = json.loads((folder / "modules.json").read_text())
        (folder / "modules.json").write_text(json.dumps(modules[:2]))


def freeze(folder: Path, opset: int | None = None) -> ExportReport:
    source = resolve_model(str(folder))
    output = folder.parents[1] / "out"
    return export_model(source, output, Shape(3, 16), opset, from_onnx=True)


def refusal(folder: Path, opset: int | None = None) -> str:
    with pytest.raises(MinilmxError) as caught:
        freeze(folder, opset)
    assert not (folder.parents[1] / "out").exists()
    return str(caught.value)


def tokens_of(folder: Path, texts: list[str], report: ExportReport) -> NDArray[np.float32]:
    """The unfrozen file's embeddings, one text at a time, pooled here by its folder's rule."""
    session = onnxruntime.InferenceSession(folder / "onnx" / "model.onnx", providers=["CPUExecutionProvider"])
    manifest = report.artifact.manifest
    tokens = Tokenizer(report.artifact.tokenizer_file, report.artifact.shape).encode(texts)
    rows = []
    for row, count in enumerate(tokens.token_counts):
        feeds = {name: array[row : row + 1, :count] for name, array in tokens.tokens.feeds().items()}
        hidden = session.run(None, feeds)[0][0]
        pooled = {"mean": hidden.mean(axis=0), "cls": hidden[0], "max": hidden.max(axis=0)}
        vector = pooled[manifest.pooling]
        rows.append(vector / np.linalg.norm(vector) if manifest.normalized else vector)
    return np.array(rows)


def embed(report: ExportReport, texts: list[str]) -> NDArray[np.float32]:
    tokenized = Tokenizer(report.artifact.tokenizer_file, report.artifact.shape).encode(texts)
    session = onnxruntime.InferenceSession(report.artifact.fixed_graph, providers=["CPUExecutionProvider"])
    parts = [session.run(["sentence_embedding"], b.feeds())[0] for b in tokenized.batches()]
    return np.concatenate(parts)[: len(texts)]


@pytest.mark.parametrize("normalized", [True, False], ids=["normalized", "not normalized"])
@pytest.mark.parametrize("pooling", ["mean", "cls", "max"])
def test_the_pooling_that_the_folder_asks_for_is_added(folder: Path, pooling: str, normalized: bool) -> None:
    set_pooling(folder, pooling, normalized)
    report = freeze(folder)
    manifest = report.artifact.manifest
    assert (manifest.pooling, manifest.normalized) == (pooling, normalized)
    assert np.abs(embed(report, TEXTS) - tokens_of(folder, TEXTS, report)).max() <= 1e-6


@pytest.mark.parametrize("opset", [13, 14, 15, 16, 17])
@pytest.mark.parametrize("pooling", ["mean", "cls", "max"])
def test_the_files_own_opset_is_kept(folder: Path, opset: int, pooling: str) -> None:
    set_pooling(folder, pooling, True)
    change_graph(folder, lambda model: model.opset_import[0].__setattr__("version", opset))
    report = freeze(folder)
    assert report.facts.opset == report.artifact.manifest.opset == opset
    assert report.facts.ir_version <= 9


def add_pooled_output(model: onnx.ModelProto) -> None:
    """A sentence_embedding that no pooling of ours would give: the last token, halved."""
    graph = model.graph
    graph.initializer.append(numpy_helper.from_array(np.array(-1), "last"))
    graph.initializer.append(numpy_helper.from_array(np.array(0.5, np.float32), "half"))
    hidden = graph.output[0].name
    graph.node.append(helper.make_node("Gather", [hidden, "last"], ["token"], axis=1))
    graph.node.append(helper.make_node("Mul", ["token", "half"], ["sentence_embedding"]))
    value = helper.make_tensor_value_info("sentence_embedding", TensorProto.FLOAT, ["batch", 8])
    graph.output.append(value)


def test_a_sentence_embedding_that_is_there_is_kept(folder: Path) -> None:
    change_graph(folder, add_pooled_output)
    report = freeze(folder)
    session = onnxruntime.InferenceSession(folder / "onnx" / "model.onnx")
    tokens = Tokenizer(report.artifact.tokenizer_file, report.artifact.shape).encode(TEXTS).tokens
    expected = session.run(["sentence_embedding"], tokens.feeds())[0]
    assert np.abs(embed(report, TEXTS) - expected).max() <= 1e-6


@pytest.mark.parametrize("pooled", [False, True], ids=["alone", "with sentence_embedding"])
def test_token_embeddings_get_our_name(folder: Path, pooled: bool) -> None:
    def rename(model: onnx.ModelProto) -> None:
        model.graph.node[-1].output[0] = model.graph.output[0].name = "token_embeddings"
        if pooled:
            add_pooled_output(model)

    change_graph(folder, rename)
    report = freeze(folder)
    names = [tensor.name for tensor in report.facts.outputs]
    assert names == ["last_hidden_state", "sentence_embedding"]


def test_inputs_in_another_order_are_put_into_ours(folder: Path) -> None:
    change_graph(folder, lambda model: model.graph.input.reverse())
    report = freeze(folder)
    names = [tensor.name for tensor in report.facts.inputs]
    assert names == ["input_ids", "attention_mask", "token_type_ids"]
    assert np.abs(embed(report, TEXTS) - tokens_of(folder, TEXTS, report)).max() <= 1e-6


def test_a_model_onnx_beside_the_config_is_found(folder: Path) -> None:
    (folder / "onnx" / "model.onnx").rename(folder / "model.onnx")
    assert freeze(folder).facts.opset == 16


def fix_a_dim(model: onnx.ModelProto) -> None:
    model.graph.input[1].type.tensor_type.shape.dim[1].dim_value = 16


def drop_type_ids(model: onnx.ModelProto) -> None:
    del model.graph.input[2]
    model.graph.initializer.append(numpy_helper.from_array(np.zeros((1, 1), int), "token_type_ids"))


def take_int32(model: onnx.ModelProto) -> None:
    for value in model.graph.input:
        value.type.tensor_type.elem_type = TensorProto.INT32


def rename_output(model: onnx.ModelProto) -> None:
    model.graph.node[-1].output[0] = model.graph.output[0].name = "logits"


def drop_outputs(model: onnx.ModelProto) -> None:
    del model.graph.output[:]


def add_noise(model: onnx.ModelProto) -> None:
    model.graph.node[-1].output[0] = "clean"
    noise = helper.make_node("RandomNormalLike", ["clean"], ["noise"], scale=0.1)
    total = helper.make_node("Add", ["clean", "noise"], ["last_hidden_state"])
    model.graph.node.extend([noise, total])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (fix_a_dim, "has a fixed input shape; expected dynamic axes"),
        (drop_type_ids, "has inputs input_ids, attention_mask; expected"),
        (take_int32, "input_ids int32 [batch, length]"),
        (rename_output, "the first output is logits; expected last_hidden_state"),
        (drop_outputs, "the first output is missing; expected last_hidden_state"),
        (lambda model: model.opset_import[0].__setattr__("version", 12), "the opset is 12"),
        (lambda model: model.opset_import[0].__setattr__("version", 18), "the opset is 18"),
        (lambda model: model.Clear(), "expected 13 to 17"),
        (add_noise, "does not equal the model"),
    ],
    ids=[
        "a fixed dim",
        "an input missing",
        "int32",
        "another output",
        "no output",
        "opset 12",
        "opset 18",
        "nothing",
        "a graph that varies",
    ],
)
def test_a_file_that_cannot_be_frozen_is_refused(folder: Path, change: Change, words: str) -> None:
    change_graph(folder, change)
    assert words in refusal(folder)


def test_external_data_is_refused(folder: Path) -> None:
    path = str(folder / "onnx" / "model.onnx")
    onnx.save(onnx.load(path), path, save_as_external_data=True, size_threshold=0)
    assert "keeps weights in another file; expected a single file" in refusal(folder)


def test_another_opset_than_the_files_is_refused(folder: Path) -> None:
    assert "is opset 16, and freezing keeps it: leave out --opset" in refusal(folder, 15)
    assert freeze(folder, 16).facts.opset == 16


@pytest.mark.parametrize("content", [b"\x00" * 64, b"version https://git-lfs.github.com/spec/v1\n"])
def test_a_file_that_is_no_onnx_is_refused(folder: Path, content: bytes) -> None:
    (folder / "onnx" / "model.onnx").write_bytes(content)
    assert "is not an ONNX file" in refusal(folder)


def test_a_folder_without_onnx_is_refused(folder: Path) -> None:
    (folder / "onnx" / "model.onnx").unlink()
    assert "has no ONNX model: expected onnx/model.onnx or model.onnx" in refusal(folder)


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (None, "has hidden_size None; expected a whole number"),
        ("8", "has hidden_size '8'; expected a whole number"),
        (7, "(8) vs (7)"),
    ],
)
def test_a_hidden_size_that_is_not_the_graphs_is_refused(folder: Path, size: object, words: str) -> None:
    config = {"model_type": "bert", "hidden_size": size}
    (folder / "config.json").write_text(json.dumps(config))
    assert words in refusal(folder)


def test_a_tokenizer_with_more_ids_than_the_graph_has_is_refused(folder: Path) -> None:
    content = json.loads((folder / "tokenizer.json").read_text())
    content["model"]["vocab"]["a"] = 5000
    (folder / "tokenizer.json").write_text(json.dumps(content))
    assert f"onnxruntime cannot run {folder / 'onnx' / 'model.onnx'}" in refusal(folder)
