"""Float32 graphs to int8: smaller and faster on a CPU, at a cost that is measured and reported.

Weights of matrix products become signed int8, one scale per output channel. Activations become uint8
while the graph runs, one scale per token, so an embedding does not depend on what else is in its batch.
Token embeddings and the products inside attention stay float32.

The graph says so with ONNX's own QuantizeLinear and DequantizeLinear, which onnxruntime fuses with the
product between them: it multiplies integers.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, helper, numpy_helper

from minilmx.errors import ExportError
from minilmx.export.model import ExportableModel
from minilmx.export.options import ExportOptions
from minilmx.export.parity import open_session
from minilmx.models.batching import feed_graph
from minilmx.models.int8 import round_weights_to_int8
from minilmx.models.interface import SENTENCE_EMBEDDING
from minilmx.models.manifest import GraphKind
from minilmx.models.onnx_file import load_onnx, read_facts
from minilmx.models.sample_texts import sample_texts
from minilmx.models.tokenizer import Tokenizer

# Models that quantise well stay above 0.95; below 0.9 an embedding is no longer the model's.
LEAST_COSINE = 0.9

# CPUs without VNNI add two products of a uint8 and an int8 in 16 bits: 2 x 255 x 64 is the most that
# fits. Larger weights would give other numbers there; these are exact on every CPU.
_WEIGHT_STEPS = 64
_LEAST, _STEP, _MIDDLE, _ONES = "int8/least", "int8/step", "int8/middle", "int8/ones"
_LAST_AXIS = "int8/last_axis"
_CONSTANTS = {
    _LEAST: np.array(1e-30, np.float32),  # of a row of zeros
    _STEP: np.array(1 / 127, np.float32),
    _MIDDLE: np.array(128, np.uint8),
}


Reduce = Callable[[str, str, str], NodeProto]  # an operator, its input and its output, over the last axis


@dataclass(frozen=True, slots=True)
class QuantizationCost:
    """How far the embeddings of the worst int8 graph are from the model's, over `sentences` sentences.

    `max_abs` is the largest absolute difference of a number, `min_cosine` the smallest cosine
    similarity of a sentence's two embeddings, from -1 to 1.
    """

    sentences: int
    max_abs: float
    min_cosine: float


def quantize(path: Path, kind: GraphKind) -> None:
    """Replace a float32 ONNX file by its int8 form."""
    model = load_onnx(path)
    products = {node.output[0] for node in round_weights_to_int8(model, _WEIGHT_STEPS)}
    graph = model.graph
    reduce: Reduce = _reduce_by_attribute
    if read_facts(model, path).opset >= 18:
        reduce = _reduce_by_input
        graph.initializer.append(numpy_helper.from_array(np.array([-1]), _LAST_AXIS))
    for name, value in _CONSTANTS.items():
        graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
    nodes: list[NodeProto] = []
    rounded: set[str] = set()
    for node in graph.node:
        if node.output[0] in products:
            values = node.input[0]
            if values not in rounded:  # the query, key and value of a layer share theirs
                nodes += _round_rows(values, reduce)
                rounded.add(values)
            nodes += _multiply(node, values)
        else:
            nodes.append(node)
    del graph.node[:], graph.value_info[:]
    graph.node.extend(nodes)
    if kind == GraphKind.PACKED:
        _add_in_order(graph, reduce)
    path.write_bytes(model.SerializeToString(deterministic=True))


def _round_rows(values: str, reduce: Reduce) -> list[NodeProto]:
    """Divide each row, the last axis, by its largest magnitude, and round it to 1 to 255 around 128."""
    return [
        reduce("ReduceMax", values, f"{values}/highest"),
        reduce("ReduceMin", values, f"{values}/lowest"),
        _node("Neg", [f"{values}/lowest"], f"{values}/minus_lowest"),
        _node("Max", [f"{values}/highest", f"{values}/minus_lowest", _LEAST], f"{values}/largest"),
        _node("Div", [values, f"{values}/largest"], f"{values}/unit"),
        _node("QuantizeLinear", [f"{values}/unit", _STEP, _MIDDLE], f"{values}/uint8"),
        _node("DequantizeLinear", [f"{values}/uint8", _STEP, _MIDDLE], f"{values}/rounded"),
    ]


def _multiply(product: NodeProto, values: str) -> list[NodeProto]:
    """The product of the rounded rows, each multiplied by its largest magnitude."""
    (name,) = product.output
    product.input[0], product.output[0] = f"{values}/rounded", f"{name}/of_units"
    return [product, _node("Mul", [f"{name}/of_units", f"{values}/largest"], name)]


def _add_in_order(graph: onnx.GraphProto, reduce: Reduce) -> None:
    """Divide by the sum of a Softmax after the product that follows it, and let a product take that sum.

    A Softmax adds in an order that depends on where in a row a text starts, and the last bit of a
    number decides which way it is rounded to int8. A product adds one by one, and zeros, the weights of
    other texts, change nothing.
    """
    length = graph.input[0].type.tensor_type.shape.dim[1].dim_value
    graph.initializer.append(numpy_helper.from_array(np.ones((length, 1), np.float32), _ONES))
    weights = {node.output[0] for node in graph.node if node.op_type == "Softmax"}
    weights -= {name for node in graph.node if node.op_type != "MatMul" for name in node.input}
    nodes: list[NodeProto] = []
    for node in graph.node:
        name = node.output[0]
        if name in weights:
            (scores,) = node.input
            nodes += [
                reduce("ReduceMax", scores, f"{name}/largest"),
                _node("Sub", [scores, f"{name}/largest"], f"{name}/shifted"),
                _node("Exp", [f"{name}/shifted"], name),
                _node("MatMul", [name, _ONES], f"{name}/sum"),
            ]
        elif node.op_type == "MatMul" and node.input[0] in weights:
            node.output[0] = f"{name}/undivided"
            nodes += [node, _node("Div", [f"{name}/undivided", f"{node.input[0]}/sum"], name)]
        else:
            nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)


def _node(op: str, inputs: list[str], output: str, **attributes: Any) -> NodeProto:
    return helper.make_node(op, inputs, [output], name=output, **attributes)


def _reduce_by_attribute(op: str, values: str, output: str) -> NodeProto:
    return _node(op, [values], output, axes=[-1], keepdims=1)


def _reduce_by_input(op: str, values: str, output: str) -> NodeProto:
    """From opset 18 on, ReduceMax and ReduceMin take their axes as an input."""
    return _node(op, [values, _LAST_AXIS], output, keepdims=1)


def measure_cost(
    graphs: Mapping[GraphKind, Path], options: ExportOptions, tokenizer: Tokenizer, model: ExportableModel
) -> QuantizationCost:
    """Compare each int8 graph with the model, on the sentences of the parity check: the worst of them.

    Raises ExportError if a sentence's cosine similarity is below 0.9.
    """
    tokenized = tokenizer.encode(sample_texts(tokenizer.shape.sequence_length))
    pooled = [model.run(batch)[1] for batch in tokenized.batches()]
    float32 = np.concatenate(pooled)[: len(tokenized)].astype(np.float64)
    largest, least = 0.0, 1.0
    for kind, path in graphs.items():
        session, int8 = open_session(path), np.empty_like(float32)
        for batch, texts in feed_graph(tokenized, kind, options.segments or 1):
            (found,) = session.run([SENTENCE_EMBEDDING], batch.feeds())
            int8[texts[texts >= 0]] = found[texts >= 0]
        lengths = np.linalg.norm(float32, axis=1) * np.linalg.norm(int8, axis=1)
        cosine = float(((float32 * int8).sum(axis=1) / lengths).min())
        if not cosine >= LEAST_COSINE:  # also true for NaN
            raise ExportError(
                f"{path.name}: cosine similarity {cosine:.3f} to the model after quantising; expected at "
                f"least {LEAST_COSINE}",
                "Export the model as float32.",
            )
        largest, least = max(largest, float(np.abs(float32 - int8).max())), min(least, cosine)
    return QuantizationCost(len(tokenized), largest, least)
