"""The checks before an artifact gets its name: they must fail if a graph is wrong."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from tests.conftest import change_graph

from minilmx.errors import ArtifactError, ExportError
from minilmx.export.checks import check_graphs
from minilmx.export.model import Outputs
from minilmx.export.options import ExportOptions
from minilmx.export.parity import Parity, check_parity, open_session
from minilmx.models.artifact import Artifact
from minilmx.models.manifest import GraphKind, Shape
from minilmx.models.onnx_file import GraphFacts
from minilmx.models.sample_texts import sample_texts
from minilmx.models.tokenizer import TokenBatch, Tokenizer

Change = Callable[[onnx.ModelProto], object]
SHAPE = Shape(4, 16)


def graphs_in(folder: Path) -> dict[GraphKind, Path]:
    return {
        GraphKind.FIXED: folder / "model_b4_s16.onnx",
        GraphKind.DYNAMIC: folder / "onnx" / "model.onnx",
    }


def check(folder: Path, original: Artifact, run: Callable[[TokenBatch], Outputs]) -> Parity:
    """Parity of the graphs in `folder` with a model that does what `run` does."""
    model: Any = SimpleNamespace(run=run, output="sentence_embedding")
    return check_parity(graphs_in(folder), Tokenizer(original.tokenizer_file, original.shape), model)


def compare(tiny: Path, original: Artifact) -> Parity:
    """Parity of the graphs in `tiny` with the untouched dynamic-shape graph as the model."""
    session = open_session(original.dynamic_graph)

    def run(batch: TokenBatch) -> Outputs:
        hidden, pooled = session.run(None, batch.feeds())
        return hidden, pooled

    return check(tiny, original, run)


def add_to_a_weight(amount: float) -> Change:
    def change(model: onnx.ModelProto) -> None:
        tensor = next(tensor for tensor in model.graph.initializer if tensor.name == "mix")
        values: NDArray[np.float32] = numpy_helper.to_array(tensor).copy()
        values[0, 0] += amount
        tensor.CopyFrom(numpy_helper.from_array(values, "mix"))

    return change


def swap(first: str, second: str) -> Change:
    """Swap two inputs: the classic silent error."""

    def change(model: onnx.ModelProto) -> None:
        for node in model.graph.node:
            for index, name in enumerate(node.input):
                node.input[index] = {first: second, second: first}.get(name, name)

    return change


def test_untouched_graphs_are_equal_on_sentences_of_many_lengths(tiny: Path, tiny_original: Artifact) -> None:
    parity = compare(tiny, tiny_original)
    assert parity.max_abs_embedding <= 1e-6
    assert parity.max_abs_hidden is not None and parity.max_abs_hidden <= 1e-6
    assert (parity.shortest, parity.longest) == (3, 16)
    assert parity.sentences > parity.truncated > 0


def test_a_difference_within_the_limit_is_measured_and_accepted(tiny: Path, tiny_original: Artifact) -> None:
    change_graph(tiny / "model_b4_s16.onnx", add_to_a_weight(1e-6))
    hidden = compare(tiny, tiny_original).max_abs_hidden
    assert hidden is not None and 1e-7 < hidden < 1e-5


@pytest.mark.parametrize("name", ["model_b4_s16.onnx", "onnx/model.onnx"])
@pytest.mark.parametrize(
    "change",
    [
        add_to_a_weight(1e-3),
        add_to_a_weight(float("nan")),
        add_to_a_weight(float("inf")),
        swap("attention_mask", "token_type_ids"),
    ],
    ids=["a weight", "not a number", "infinite", "swapped inputs"],
)
def test_a_wrong_graph_is_refused_by_its_name(
    tiny: Path, tiny_original: Artifact, name: str, change: Change
) -> None:
    change_graph(tiny / name, change)
    with pytest.raises(ExportError) as caught:
        compare(tiny, tiny_original)
    assert f"{Path(name).name}: " in str(caught.value)
    assert "differs from the model's by up to" in str(caught.value)
    assert "; expected at most 1e-0" in str(caught.value)


@pytest.mark.parametrize("difference", [np.float32(2e-5), np.float32("nan")])
def test_a_difference_in_the_sentence_embedding_alone_is_refused(
    tiny_original: Artifact, difference: np.float32
) -> None:
    session = open_session(tiny_original.dynamic_graph)

    def run(batch: TokenBatch) -> Outputs:
        hidden, pooled = session.run(None, batch.feeds())
        return hidden, pooled + difference

    with pytest.raises(ExportError, match=r"sentence_embedding differs .*; expected at most 1e-05"):
        check(tiny_original.path, tiny_original, run)


def test_padding_tokens_do_not_count(tiny_original: Artifact) -> None:
    session = open_session(tiny_original.dynamic_graph)

    def run(batch: TokenBatch) -> Outputs:
        hidden, pooled = session.run(None, batch.feeds())
        return np.where(batch.attention_mask[:, :, None] == 1, hidden, 99), pooled

    parity = check(tiny_original.path, tiny_original, run)
    assert parity.max_abs_hidden is not None and parity.max_abs_hidden <= 1e-6


@pytest.mark.parametrize("length", [3, 4, 16, 48, 128, 256, 512])
def test_sample_texts_range_from_one_word_to_truncated(artifact: Artifact, length: int) -> None:
    texts = sample_texts(length)
    tokenized = Tokenizer(artifact.tokenizer_file, Shape(1, length)).encode(texts)
    counts = tokenized.token_counts
    assert counts.min() == 3
    assert tokenized.truncated[-1]
    assert set(counts) >= {3, length}
    assert len(set(counts.tolist())) >= min(length - 2, 10)


def check_file(path: Path, shape: Shape = SHAPE, dimension: int = 8, kind: str = "fixed") -> GraphFacts:
    kind = GraphKind(kind)
    model: Any = SimpleNamespace(
        embedding_dimension=dimension, hidden_dimension=dimension, output="sentence_embedding"
    )
    return check_graphs({kind: path}, ExportOptions(shape, 16), model)[kind]


def test_a_correct_graph_passes_with_its_facts(tiny: Path) -> None:
    facts = check_file(tiny / "model_b4_s16.onnx")
    assert (facts.opset, facts.ir_version, facts.domains) == (16, 8, ("",))
    assert facts.ops["MatMul"] == 1
    assert check_file(tiny / "onnx" / "model.onnx", kind="dynamic").opset == 16


def add_domain(model: onnx.ModelProto) -> None:
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))


def free_a_dim(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "length"


def swap_outputs(model: onnx.ModelProto) -> None:
    first, second = model.graph.output
    values = [second.SerializeToString(), first.SerializeToString()]
    del model.graph.output[:]
    model.graph.output.extend(onnx.ValueInfoProto.FromString(value) for value in values)


def move_weights_out(model: onnx.ModelProto) -> None:
    for tensor in model.graph.initializer:
        onnx.external_data_helper.set_external_data(tensor, "weights.bin")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda model: model.opset_import[0].__setattr__("version", 17),
            "opset 17 and IR version 8; expected opset 16",
        ),
        (lambda model: model.__setattr__("ir_version", 10), "opset 16 and IR version 10"),
        (add_domain, "operators of com.microsoft; expected only ONNX's own"),
        (free_a_dim, "inputs input_ids int64 [4, length]"),
        (lambda model: model.graph.input.reverse(), "inputs token_type_ids int64 [4, 16]"),
        (swap_outputs, "outputs sentence_embedding float32 [4, 8], last_hidden"),
        (lambda model: model.graph.output.pop(), "outputs last_hidden_state float32 [4, 16, 8]; expected"),
        (lambda model: model.graph.node.pop(), "ONNX's checker refuses"),
        (move_weights_out, "model_b4_s16.onnx"),
    ],
    ids=["opset", "IR", "domain", "dim", "inputs", "outputs", "output", "node", "external data"],
)
def test_a_graph_that_breaks_a_rule_is_refused(tiny: Path, change: Change, words: str) -> None:
    change_graph(tiny / "model_b4_s16.onnx", change)
    with pytest.raises(ExportError) as caught:
        check_file(tiny / "model_b4_s16.onnx")
    assert words in str(caught.value)


def test_a_fixed_graph_of_another_size_is_refused(tiny: Path) -> None:
    fixed = tiny / "model_b4_s16.onnx"
    with pytest.raises(ExportError, match=r"int64 \[4, 16\], .*; expected input_ids int64 \[5, 16\]"):
        check_file(fixed, Shape(5, 16))
    with pytest.raises(ExportError, match=r"; expected last_hidden_state float32 \[4, 16, 9\]"):
        check_file(fixed, dimension=9)


def test_a_dynamic_shape_graph_with_fixed_axes_is_refused(tiny: Path) -> None:
    with pytest.raises(ExportError, match=r"expected input_ids int64 \[batch_size, sequence_length\]"):
        check_file(tiny / "model_b4_s16.onnx", kind="dynamic")


def test_a_file_that_is_not_onnx_is_refused(tiny: Path) -> None:
    with pytest.raises(ArtifactError, match=r"tokenizer\.json: not an ONNX file"):
        check_file(tiny / "tokenizer.json")
