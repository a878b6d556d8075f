"""The facts of an ONNX file, read without running it."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path

import onnx
from onnx import TensorProto, ValueInfoProto

from minilmx.errors import ArtifactError, boundary
from minilmx.models.artifact import Artifact
from minilmx.models.external_data import external_tensors
from minilmx.models.manifest import Tensor

_MAX_SIZE = 2**40
_DTYPES = {"float": "float32", "double": "float64"}
_INTEGER_WEIGHTS = {TensorProto.INT8, TensorProto.UINT8, TensorProto.INT4, TensorProto.UINT4}
_INTEGER_OPS = {
    *("MatMulInteger", "ConvInteger", "QLinearMatMul", "QLinearConv", "DynamicQuantizeLinear"),
    *("QuantizeLinear", "DequantizeLinear"),
    *("DynamicQuantizeMatMul", "MatMulIntegerToFloat", "QAttention", "QGemm", "MatMulNBits"),
}
# Operators through which a matrix, or token ids, stay what they are.
_PASS_ON = {"Cast", "DequantizeLinear", "Identity"}


@dataclass(frozen=True, slots=True)
class GraphFacts:
    """The facts of one ONNX file.

    `ops` counts nodes by operator, `parameters` counts the numbers in all initializers. `precision` is
    "int8" if the graph computes with 8-bit integers or stores weights as them, otherwise
    "float16", "bfloat16" or "float32". `token_rows` is how many token ids have an embedding,
    None if the graph does not look up `input_ids` in a matrix.
    """

    opset: int
    ir_version: int
    domains: tuple[str, ...]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    ops: Mapping[str, int]
    parameters: int
    external_data: bool
    precision: str
    token_rows: int | None


def load_onnx(file: Path | bytes, name: Path | None = None) -> onnx.ModelProto:
    """Parse an ONNX file, or its content, as `name` in errors. Raises ArtifactError if it is not one."""
    with boundary(ArtifactError, f"{name or file!s:.200}: not an ONNX file"):
        if isinstance(file, bytes):
            return onnx.load_model_from_string(file)
        return onnx.load(str(file), load_external_data=False)


def load_graph(artifact: Artifact) -> onnx.ModelProto:
    """Parse the graph that runners run. Raises ArtifactError, also if the file has changed."""
    return load_onnx(artifact.read(artifact.graph_file), artifact.graph_file)


def read_facts(model: onnx.ModelProto, path: Path) -> GraphFacts:
    """Collect the facts of a model that was loaded from `path`. Raises ArtifactError if it is not valid."""
    with boundary(ArtifactError, f"{path}: not a valid ONNX graph"):
        opsets = {entry.domain: entry.version for entry in model.opset_import}
        return GraphFacts(
            opset=opsets.get("", 0),
            ir_version=model.ir_version,
            domains=tuple(entry.domain for entry in model.opset_import),
            inputs=tuple(map(as_tensor, model.graph.input)),
            outputs=tuple(map(as_tensor, model.graph.output)),
            ops=dict(sorted(Counter(node.op_type for node in model.graph.node).items())),
            parameters=sum(map(_size, model.graph.initializer)),
            external_data=bool(external_tensors(model)),
            precision=_precision(model.graph),
            token_rows=_token_rows(model.graph),
        )


def as_tensor(value: ValueInfoProto) -> Tensor:
    """Name, dtype and dims of a graph value; a dim without a number or name is "?"."""
    tensor = value.type.tensor_type
    shape = tuple(
        dim.dim_value if dim.HasField("dim_value") else dim.dim_param or "?" for dim in tensor.shape.dim
    )
    dtype = TensorProto.DataType.Name(tensor.elem_type).lower()
    return Tensor(value.name, _DTYPES.get(dtype, dtype), shape)


def _precision(graph: onnx.GraphProto) -> str:
    """What the graph computes in: by its operators, and by the types of its weights."""
    constants = (
        attribute.t
        for node in graph.node
        for attribute in node.attribute
        if node.op_type == "Constant" and attribute.name == "value"
    )
    # Numbers of one value are settings, such as a zero point, and no weights.
    weights = [tensor for tensor in (*graph.initializer, *constants) if _size(tensor) > 1]
    types = {tensor.data_type for tensor in weights}
    if types & _INTEGER_WEIGHTS or any(node.op_type in _INTEGER_OPS for node in graph.node):
        return "int8"
    half = types & {TensorProto.FLOAT16, TensorProto.BFLOAT16}
    return TensorProto.DataType.Name(min(half)).lower() if half else "float32"


def _token_rows(graph: onnx.GraphProto) -> int | None:
    """The rows of the matrix in which the graph looks up `input_ids`, also if it is stored as int8."""
    rows = {tensor.name: tensor.dims[0] for tensor in graph.initializer if len(tensor.dims) == 2}
    ids = {"input_ids"}
    for node in graph.node:  # in the order in which they run
        if node.op_type in _PASS_ON and node.input[0] in rows:
            rows[node.output[0]] = rows[node.input[0]]
        elif node.op_type in _PASS_ON and node.input[0] in ids:
            ids.add(node.output[0])
        elif node.op_type == "Gather" and node.input[0] in rows and node.input[1] in ids:
            return int(rows[node.input[0]])
    return None


def _size(tensor: TensorProto) -> int:
    size: int = prod(tensor.dims)
    if any(dim < 0 for dim in tensor.dims) or size > _MAX_SIZE:
        shape = ", ".join(map(str, tensor.dims))
        raise ValueError(f"{tensor.name!r:.80} has the shape [{shape:.80}]; expected at most 2^40 numbers")
    return size
