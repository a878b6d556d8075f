"""The boundaries of a BERT-family model in its ONNX graph, and cutting the graph there.

A boundary is the only tensor, besides the attention mask, that the rest of the graph reads: the
embeddings and the two halves of each layer, each after its LayerNorm, the pooled tokens, and the
sentence embedding.
"""

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper

from minilmx.errors import EvalError

_EMBEDDINGS, _POOLING, _POOLED, _MASK = "embeddings", "pooling", "sentence_embedding", "attention_mask"
# The LayerNorm modules at the boundaries, as PyTorch's exporters write them into the names of nodes
# (/encoder/encoder/layer.0/output/LayerNorm/Add_1) and of weights (with dots instead of slashes).
_LAYER_NORM = re.compile(
    r"(?:^|[./])(?:embeddings|layer[./](\d+)[./](attention[./]output|output))[./]LayerNorm[./]"
)


@dataclass(frozen=True, slots=True)
class Boundary:
    """`tensor` is float32 [B, S, D] if it is `per_token`, [B, D] if not."""

    name: str
    tensor: str
    per_token: bool


def find_boundaries(model: ModelProto) -> tuple[Boundary, ...]:
    """The boundaries in the order of computing. Layers count from 0, as transformers' do.

    "pooling" is left out if the graph does not normalise. Raises EvalError if the names in the graph
    do not identify each LayerNorm, or if a value bypasses a boundary.
    """
    graph = model.graph
    tensors = _layer_norm_outputs(graph)
    layers = max((layer for layer, _ in tensors), default=-1) + 1
    keys = [(-1, _EMBEDDINGS), *((layer, part) for layer in range(layers) for part in ("attention", "MLP"))]
    missing = [_title(*key) for key in keys if len(tensors.get(key, ())) != 1]
    if missing or layers == 0:
        raise EvalError(
            "the graph cannot be bisected: not exactly one tensor is the output of the LayerNorm of "
            f"{missing[0] if missing else 'any layer'}; expected the module names of PyTorch in the graph, "
            "such as encoder/layer.0/attention/output/LayerNorm",
            "Export the model from its PyTorch weights, not from an ONNX file.",
        )
    boundaries = [Boundary(_title(*key), tensors[key][0], True) for key in keys]
    pooled = _before_normalisation(graph, boundaries[-1].tensor)
    if pooled is not None:
        boundaries.append(Boundary(_POOLING, pooled, False))
    boundaries.append(Boundary(_POOLED, _POOLED, False))
    for boundary in boundaries:
        _require_cut(graph, boundary)
    return tuple(boundaries)


def nodes_for(graph: GraphProto, outputs: Iterable[str], known: Collection[str] = ()) -> list[NodeProto]:
    """The nodes that compute `outputs` from the values of `known`, in the graph's order."""
    producers = {name: index for index, node in enumerate(graph.node) for name in node.output}
    indices: set[int] = set()
    waiting = list(outputs)
    while waiting:
        name = waiting.pop()
        index = None if name in known else producers.get(name)
        if index is not None and index not in indices:
            indices.add(index)
            waiting += graph.node[index].input
    return [graph.node[index] for index in sorted(indices)]


def float_outputs(model: ModelProto, boundaries: Sequence[Boundary]) -> list[tuple[str, ...]]:
    """For each boundary, the float32 values that are computed for it and not for the ones before.

    Weights that are Constant nodes of the graph are left out. Raises EvalError.
    """
    try:
        inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    except onnx.shape_inference.InferenceError as error:
        raise EvalError(f"the graph cannot be bisected: {error}") from error
    values = (*inferred.value_info, *inferred.output)
    floats = {value.name for value in values if value.type.tensor_type.elem_type == TensorProto.FLOAT}
    seen: set[str] = set()
    steps = []
    for boundary in boundaries:
        names = [
            name
            for node in nodes_for(model.graph, [boundary.tensor])
            if node.op_type != "Constant"
            for name in node.output
            if name in floats and name not in seen
        ]
        seen.update(names)
        steps.append(tuple(names))
    return steps


def cut(model: ModelProto, outputs: Sequence[str], start: Boundary | None = None) -> ModelProto:
    """The part of the model that computes float32 `outputs`, from the boundary `start` on if there is one.

    The tensor of `start` becomes an input of any shape; inputs that nothing reads are removed.
    """
    graph = model.graph
    nodes = nodes_for(graph, outputs, () if start is None else (start.tensor,))
    used = {name for node in nodes for name in node.input}
    inputs = [value for value in graph.input if value.name in used]
    if start is not None:
        inputs.append(helper.make_tensor_value_info(start.tensor, TensorProto.FLOAT, None))
    return helper.make_model(
        helper.make_graph(
            nodes,
            graph.name or "part",
            inputs,
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
            [tensor for tensor in graph.initializer if tensor.name in used],
        ),
        opset_imports=model.opset_import,
        ir_version=model.ir_version,
    )


def _title(layer: int, part: str) -> str:
    return part if layer < 0 else f"layer {layer} {part}"


def _layer_norm_outputs(graph: GraphProto) -> dict[tuple[int, str], list[str]]:
    """The outputs of each LayerNorm at a boundary, by layer (-1: the embeddings) and part."""
    # Not single numbers: equal ones are shared between modules, and have the name of one of them.
    weights = {tensor.name for tensor in graph.initializer if max(tensor.dims, default=1) > 1}
    modules = [_module(node, weights) for node in graph.node]
    readers: dict[str, set[tuple[int, str] | None]] = {value.name: {None} for value in graph.output}
    for node, module in zip(graph.node, modules, strict=True):
        for name in node.input:
            readers.setdefault(name, set()).add(module)
    outputs: dict[tuple[int, str], list[str]] = {}
    for node, module in zip(graph.node, modules, strict=True):
        if module is not None:
            leaving = [name for name in node.output if readers.get(name, {module}) != {module}]
            outputs.setdefault(module, []).extend(leaving)
    return outputs


def _module(node: NodeProto, weights: Collection[str]) -> tuple[int, str] | None:
    """The LayerNorm that a node belongs to, by its own name or else by those of the weights that it reads."""
    for name in (node.name, *(name for name in node.input if name in weights)):
        match = _LAYER_NORM.search(name)
        if match:
            layer, part = match.groups()
            if layer is None:
                return -1, _EMBEDDINGS
            return int(layer), "MLP" if part == "output" else "attention"
    return None


def _before_normalisation(graph: GraphProto, last_layer: str) -> str | None:
    """The tensor after the last layer that is divided by its norm."""
    for node in reversed(nodes_for(graph, [_POOLED], (last_layer,))):
        if node.op_type == "Div":
            pooled, norm = node.input
            if any(pooled in other.input for other in nodes_for(graph, [norm], (pooled,))):
                return str(pooled)
    return None


def _require_cut(graph: GraphProto, boundary: Boundary) -> None:
    """Refuse a boundary that a value other than the attention mask bypasses."""
    behind = nodes_for(graph, [_POOLED], (boundary.tensor,))
    read = {name for node in behind for name in node.input}
    around = sorted(value.name for value in graph.input if value.name in read - {_MASK})
    if around:
        raise EvalError(
            f"the graph cannot be bisected: {around[0]} bypasses the boundary {boundary.name} "
            f"({boundary.tensor}); expected that the rest of the graph depends on the boundary alone"
        )
