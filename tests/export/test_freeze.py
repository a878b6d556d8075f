"""From an ONNX file with dynamic axes to an artifact, without PyTorch."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import tokenizers
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from tests.conftest import change_graph
from tests.export.conftest import embed_fixed

import minilmx
from minilmx.errors import ExportError, MinilmxError, RunnerFailed
from minilmx.export.exporter import ExportedArtifact, export_model
from minilmx.export.options import ExportOptions
from minilmx.models.artifact import Artifact, open_artifact
from minilmx.models.manifest import Shape
from minilmx.models.source import resolve_model
from minilmx.models.tokenizer import Tokenizer
from minilmx.runners.groq.preflight import check_before_build

TEXTS = ["a", "", "hello world", "the quick brown fox", "z" * 40]
GRAPH = "onnx/model.onnx"
Change = Callable[[onnx.ModelProto], object]


@pytest.fixture
def folder(tiny_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_folder, tmp_path / "models" / "tiny"))


def set_pooling(folder: Path, pooling: str, normalized: bool) -> None:
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode": pooling}))
    if not normalized:
        modules = json.loads((folder / "modules.json").read_text())
        (folder / "modules.json").write_text(json.dumps(modules[:2]))


def freeze(folder: Path, opset: int | None = None) -> ExportedArtifact:
    options = ExportOptions(Shape(3, 16), opset, from_onnx=True)
    return export_model(resolve_model(str(folder)), folder.parents[1] / "out", options)


def refusal(folder: Path, opset: int | None = None) -> str:
    with pytest.raises(MinilmxError) as caught:
        freeze(folder, opset)
    assert not (folder.parents[1] / "out").exists()
    return str(caught.value)


def unfrozen(folder: Path, texts: list[str], artifact: Artifact) -> NDArray[np.float32]:
    """The unfrozen file's embeddings, one text at a time, pooled here as its folder says."""
    session = onnxruntime.InferenceSession(folder / GRAPH, providers=["CPUExecutionProvider"])
    manifest = artifact.manifest
    tokens = Tokenizer(artifact.tokenizer_file, artifact.shape).encode(texts)
    rows = []
    for row, count in enumerate(tokens.token_counts):
        feeds = {name: array[row : row + 1, :count] for name, array in tokens.tokens.feeds().items()}
        hidden = session.run(None, feeds)[0][0]
        pooled = {"mean": hidden.mean(axis=0), "cls": hidden[0], "max": hidden.max(axis=0)}
        vector = pooled[manifest.pooling]
        rows.append(vector / np.linalg.norm(vector) if manifest.normalized else vector)
    return np.array(rows)


@pytest.mark.parametrize("normalized", [True, False], ids=["normalized", "not normalized"])
@pytest.mark.parametrize("pooling", ["mean", "cls", "max"])
def test_the_pooling_that_the_folder_asks_for_is_added(folder: Path, pooling: str, normalized: bool) -> None:
    set_pooling(folder, pooling, normalized)
    artifact = freeze(folder)
    manifest = artifact.manifest
    assert (manifest.pooling, manifest.normalized) == (pooling, normalized)
    assert np.abs(embed_fixed(artifact, TEXTS) - unfrozen(folder, TEXTS, artifact)).max() <= 1e-6


# An opset, and the IR version that came with it.
IR_VERSIONS = {13: 8, 14: 8, 15: 8, 16: 8, 17: 8, 18: 8, 19: 9, 20: 9, 21: 10, 22: 10, 23: 11, 24: 12, 28: 14}


@pytest.mark.parametrize("opset", IR_VERSIONS)
@pytest.mark.parametrize("pooling", ["mean", "cls", "max"])
def test_the_files_own_opset_is_kept(folder: Path, opset: int, pooling: str) -> None:
    set_pooling(folder, pooling, True)
    set_opset(folder, opset)
    artifact = freeze(folder)
    assert artifact.report.facts.opset == artifact.manifest.opset == opset
    assert artifact.report.facts.ir_version == artifact.manifest.ir_version == IR_VERSIONS[opset]
    assert np.abs(embed_fixed(artifact, TEXTS) - unfrozen(folder, TEXTS, artifact)).max() <= 1e-6
    assert open_artifact(artifact.path).manifest == artifact.manifest


def set_opset(folder: Path, opset: int) -> None:
    def change(model: onnx.ModelProto) -> None:
        model.opset_import[0].version = opset
        model.ir_version = max(8, helper.find_min_ir_version_for(model.opset_import))

    change_graph(folder / GRAPH, change)


@pytest.mark.parametrize("opset", [18, 21, 24])
def test_a_newer_opset_runs_everywhere_but_on_groq(folder: Path, opset: int) -> None:
    set_opset(folder, opset)
    artifact = freeze(folder)
    expected = unfrozen(folder, TEXTS, artifact)
    for runner, graph, limit in (
        ("onnxruntime", "fixed", 1e-6),
        ("onnxruntime", "dynamic", 1e-6),
        ("openvino", "fixed", 1e-6),
        ("openvino", "dynamic", 1e-6),
        ("groq-emulator", "fixed", 2e-3),
    ):
        with minilmx.load(artifact, runner, graph) as model:
            assert np.abs(model.encode(TEXTS) - expected).max() <= limit
    with pytest.raises(RunnerFailed, match=f"opset {opset}, expected 13 to 17"):
        check_before_build(artifact)


@pytest.mark.parametrize("opset", [18, 21, 24])
def test_a_newer_opset_can_be_quantised(folder: Path, opset: int) -> None:
    set_opset(folder, opset)
    options = ExportOptions(Shape(3, 16), from_onnx=True, precision="int8")
    artifact = export_model(resolve_model(str(folder)), folder.parents[1] / "out", options)
    assert (artifact.manifest.opset, artifact.manifest.precision) == (opset, "int8")


def add_pooled_output(model: onnx.ModelProto) -> None:
    """Add a sentence_embedding that none of our poolings gives: half the last token."""
    graph = model.graph
    graph.initializer.append(numpy_helper.from_array(np.array(-1), "last"))
    graph.initializer.append(numpy_helper.from_array(np.array(0.5, np.float32), "half"))
    hidden = graph.output[0].name
    graph.node.append(helper.make_node("Gather", [hidden, "last"], ["token"], axis=1))
    graph.node.append(helper.make_node("Mul", ["token", "half"], ["sentence_embedding"]))
    value = helper.make_tensor_value_info("sentence_embedding", TensorProto.FLOAT, ["batch", 8])
    graph.output.append(value)


def test_an_existing_sentence_embedding_is_kept(folder: Path) -> None:
    change_graph(folder / GRAPH, add_pooled_output)
    artifact = freeze(folder)
    session = onnxruntime.InferenceSession(folder / GRAPH)
    tokens = Tokenizer(artifact.tokenizer_file, artifact.shape).encode(TEXTS).tokens
    expected = session.run(["sentence_embedding"], tokens.feeds())[0]
    assert np.abs(embed_fixed(artifact, TEXTS) - expected).max() <= 1e-6


@pytest.mark.parametrize("pooled", [False, True], ids=["alone", "with sentence_embedding"])
def test_token_embeddings_get_our_name(folder: Path, pooled: bool) -> None:
    def rename(model: onnx.ModelProto) -> None:
        model.graph.node[-1].output[0] = model.graph.output[0].name = "token_embeddings"
        if pooled:
            add_pooled_output(model)

    change_graph(folder / GRAPH, rename)
    artifact = freeze(folder)
    names = [tensor.name for tensor in artifact.report.facts.outputs]
    assert names == ["last_hidden_state", "sentence_embedding"]


def test_inputs_are_put_into_our_order(folder: Path) -> None:
    change_graph(folder / GRAPH, lambda model: model.graph.input.reverse())
    artifact = freeze(folder)
    names = [tensor.name for tensor in artifact.report.facts.inputs]
    assert names == ["input_ids", "attention_mask", "token_type_ids"]
    assert np.abs(embed_fixed(artifact, TEXTS) - unfrozen(folder, TEXTS, artifact)).max() <= 1e-6


def test_a_model_onnx_beside_the_config_is_found(folder: Path) -> None:
    (folder / GRAPH).rename(folder / "model.onnx")
    assert freeze(folder).report.facts.opset == 16


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
        (
            fix_a_dim,
            "token_type_ids int64 [batch, length]; expected dynamic axes",
        ),
        (
            drop_type_ids,
            "attention_mask int64 [batch, length]; expected input_ids, ",
        ),
        (take_int32, "input_ids int32 [batch, length]"),
        (rename_output, "the first output is logits; expected last_hidden_state"),
        (drop_outputs, "the first output is missing; expected last_hidden_state"),
        (lambda model: model.opset_import[0].__setattr__("version", 12), "the opset: 12; expected 13 to 28"),
        (lambda model: model.opset_import[0].__setattr__("version", 29), "the opset: 29; expected 13 to 28"),
        (lambda model: model.Clear(), "the opset: 0; expected 13 to 28"),
        (add_noise, "differs from the model's by up to"),
    ],
    ids=[
        "a fixed dim",
        "a missing input",
        "int32",
        "another output",
        "no output",
        "opset 12",
        "opset 29",
        "nothing",
        "a graph that varies",
    ],
)
def test_a_file_that_cannot_be_frozen_is_refused(folder: Path, change: Change, words: str) -> None:
    change_graph(folder / GRAPH, change)
    assert words in refusal(folder)


def test_the_file_is_parsed_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[str] = []
    load = onnx.load

    def counted(path: str, **options: Any) -> onnx.ModelProto:
        parsed.append(path)
        return load(path, **options)

    monkeypatch.setattr(onnx, "load", counted)
    freeze(folder)
    assert parsed.count(str(folder / GRAPH)) == 1


def test_a_packed_graph_is_refused() -> None:
    with pytest.raises(ExportError, match="made from an ONNX file; expected PyTorch weights"):
        ExportOptions(Shape(3, 16), segments=2, from_onnx=True)


def test_another_opset_than_the_files_is_refused(folder: Path) -> None:
    assert "opset 16, which the export keeps; expected opset 15" in refusal(folder, 15)
    assert freeze(folder, 16).report.facts.opset == 16


@pytest.mark.parametrize("content", [b"\x00" * 64, b"version https://git-lfs.github.com/spec/v1\n"])
def test_a_file_that_is_not_onnx_is_refused(folder: Path, content: bytes) -> None:
    (folder / GRAPH).write_bytes(content)
    assert ": not an ONNX file" in refusal(folder)


def test_a_folder_without_onnx_is_refused(folder: Path) -> None:
    (folder / GRAPH).unlink()
    assert ": no ONNX file; expected onnx/model.onnx or model.onnx" in refusal(folder)


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (None, "hidden_size None; expected a whole number"),
        ("8", "hidden_size '8'; expected a whole number"),
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
    message = refusal(folder)
    assert "the token 'a' has the id 5000, and the model has 140 token embeddings" in message


def set_tokenizer(folder: Path, **values: object) -> None:
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]"])  # as a real one lists them
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"mask_token": "[UNK]"} | values))


ADDED = {"content": "[NEW]", "lstrip": False, "rstrip": False, "single_word": False, "normalized": False}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"do_lower_case": False}, "do_lower_case False, which tokenizer.json contradicts; expected True"),
        ({"strip_accents": False}, "strip_accents False, which tokenizer.json contradicts; expected True"),
        ({"tokenize_chinese_chars": False}, "tokenize_chinese_chars False, which"),
        ({"tokenizer_class": "BertTokenizerFast", "do_lower_case": False}, "do_lower_case False, which"),
        ({"tokenizer_class": "XLMRobertaTokenizer"}, "tokenizer_class 'XLMRobertaTokenizer', which"),
        ({"tokenizer_class": "RobertaTokenizer"}, "expected 'one for a WordPiece model'"),
        ({"split_special_tokens": True}, "split_special_tokens True, which"),
        ({"added_tokens_decoder": {"140": ADDED}}, "added_tokens_decoder 140 '[NEW]', which"),
    ],
    ids=str,
)
def test_settings_that_contradict_tokenizer_json_are_refused(
    folder: Path, values: dict[str, Any], words: str
) -> None:
    set_tokenizer(folder, **values)
    message = refusal(folder)
    assert f"{folder / 'tokenizer_config.json'}: " in message
    assert words in message
    assert "Export the model from its PyTorch weights" in message


@pytest.mark.parametrize(
    "values",
    [
        {"tokenizer_class": "DistilBertTokenizer", "do_lower_case": False},
        {"tokenizer_class": "PreTrainedTokenizerFast", "additional_special_tokens": ["zz"]},
        {"tokenizer_class": "PreTrainedTokenizerFast", "extra_special_tokens": ["yy"]},
        {"tokenizer_class": "PreTrainedTokenizerFast", "mask_token": "cat"},
    ],
    ids=str,
)
def test_ids_that_are_not_autotokenizers_are_refused(folder: Path, values: dict[str, Any]) -> None:
    pytest.importorskip("transformers", reason="needs transformers to make the other ids")
    set_tokenizer(folder, **values)
    message = refusal(folder)
    assert "token ids " in message
    assert "as AutoTokenizer of transformers " in message
    assert "Correct tokenizer_config.json" in message


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"do_lower_case": True, "strip_accents": None, "tokenize_chinese_chars": True},
        {"strip_accents": True},  # what it is for lower case
        {"tokenizer_class": "PreTrainedTokenizerFast", "do_lower_case": False},  # does not look at it
    ],
    ids=str,
)
def test_settings_that_agree_with_tokenizer_json_are_taken(folder: Path, values: dict[str, Any]) -> None:
    set_tokenizer(folder, **values)
    assert freeze(folder).manifest.token_rows == 140


def test_the_side_of_truncation_is_kept(folder: Path) -> None:
    set_tokenizer(folder, truncation_side="left")
    artifact = freeze(folder)
    text = " ".join("abcdefghijklmnopqrstuvwxyz")
    tokenized = Tokenizer(artifact.tokenizer_file, artifact.shape).encode([text])
    same = Tokenizer(artifact.tokenizer_file, artifact.shape).encode([text[-27:]])
    assert tokenized.truncated.all() and not same.truncated.any()
    assert np.array_equal(tokenized.tokens.input_ids, same.tokens.input_ids)


def quantize(folder: Path, kind: str) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    path = folder / GRAPH
    operators = ["MatMul", "Gather"] if kind == "with embeddings" else ["MatMul"]
    weights = QuantType.QUInt8 if kind == "unsigned" else QuantType.QInt8
    quantize_dynamic(path, path, op_types_to_quantize=operators, weight_type=weights)
    model = onnx.load(path)
    kept = [entry for entry in model.opset_import if entry.domain == ""]
    del model.opset_import[:]
    model.opset_import.extend(kept)
    onnx.save(model, path)


@pytest.mark.parametrize("kind", ["signed", "unsigned", "with embeddings"])
def test_a_quantised_file_makes_an_int8_artifact(
    folder: Path, kind: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    quantize(folder, kind)
    before = (folder / GRAPH).read_bytes()
    artifact = freeze(folder)
    assert artifact.manifest.precision == "int8"
    assert artifact.manifest.token_rows == 140
    assert artifact.report.cost is None  # nothing was quantised here
    assert freeze(folder).report.parity is None  # reused
    assert (folder / GRAPH).read_bytes() == before
    monkeypatch.chdir(tmp_path)
    named = export_model(resolve_model(str(folder)), None, ExportOptions(Shape(2, 8), from_onnx=True))
    assert named.path == Path("tiny-b2-s8-int8")


def test_a_file_of_half_precision_is_refused(folder: Path) -> None:
    def halve(model: onnx.ModelProto) -> None:
        tensor = next(tensor for tensor in model.graph.initializer if tensor.name == "mix")
        half = numpy_helper.to_array(tensor).astype(np.float16)
        tensor.CopyFrom(numpy_helper.from_array(half, "mix16"))
        cast = helper.make_node("Cast", ["mix16"], ["mix"], to=TensorProto.FLOAT)
        nodes = [cast, *model.graph.node]
        del model.graph.node[:]
        model.graph.node.extend(nodes)

    change_graph(folder / GRAPH, halve)
    message = refusal(folder)
    assert f"{folder / 'onnx' / 'model.onnx'}: float16 weights; expected float32 or int8" in message


def scale(factor: float) -> Change:
    """Multiply the token embeddings by a large number, as a model without normalisation may have."""

    def change(model: onnx.ModelProto) -> None:
        graph = model.graph
        name = graph.output[0].name
        graph.node[-1].output[0] = "small"
        graph.initializer.append(numpy_helper.from_array(np.array(factor, np.float32), "factor"))
        graph.node.append(helper.make_node("Mul", ["small", "factor"], [name]))

    return change


def test_a_model_with_large_numbers_is_exported(folder: Path) -> None:
    set_pooling(folder, "mean", False)
    change_graph(folder / GRAPH, scale(3e6))
    artifact = freeze(folder)
    largest = np.abs(unfrozen(folder, TEXTS, artifact)).max()
    assert largest > 1e5
    assert artifact.report.parity is not None
    assert 1e-5 < artifact.report.parity.max_abs_embedding < 1e-5 * largest


def test_a_graph_with_large_numbers_that_is_wrong_is_still_refused(folder: Path) -> None:
    set_pooling(folder, "mean", False)

    def spoil(model: onnx.ModelProto) -> None:
        add_noise(model)
        scale(3e6)(model)

    change_graph(folder / GRAPH, spoil)
    assert "differs from the model's by up to" in refusal(folder)
