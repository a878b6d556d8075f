"""The facts of an ONNX file, read without running it."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx
from onnx import TensorProto, ValueInfoProto

from minilmx.errors import ArtifactError
from minilmx.models.manifest import Tensor


@dataclass(frozen=True, slots=True)
class GraphFacts:
    """The facts of one ONNX file.

    `ops` counts nodes by operator, `parameters` counts the numbers in all initializers.
    """

    opset: int
    ir_version: int
    domains: tuple[str, ...]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    ops: Mapping[str, int]
    parameters: int
    external_data: bool


def load_onnx(path: Path) -> onnx.ModelProto:
    """Parse an ONNX file. Raises ArtifactError if it is not one."""
    try:
        return onnx.load(str(path), load_external_data=False)
    except Exception as error:
        raise ArtifactError(f"{path}: not an ONNX file: {error}") from error


def read_facts(model: onnx.ModelProto) -> GraphFacts:
    """Collect the facts of a loaded ONNX model."""
    opsets = {entry.domain: entry.version for entry in model.opset_import}
    initializers = model.graph.initializer
    return GraphFacts(
        opset=opsets.get("", 0),
        ir_version=model.ir_version,
        domains=tuple(entry.domain for entry in model.opset_import),
        inputs=tuple(as_tensor(value) for value in model.graph.input),
        outputs=tuple(as_tensor(value) for value in model.graph.output),
        ops=dict(sorted(Counter(node.op_type for node in model.graph.node).items())),
        parameters=sum(_size(tensor) for tensor in initializers),
        external_data=any(tensor.data_location == TensorProto.EXTERNAL for tensor in initializers),
    )


def as_tensor(value: ValueInfoProto) -> Tensor:
    """Name, dtype and dims of a graph value; a dim without a number or name is "?"."""
    tensor = value.type.tensor_type
    shape = tuple(
        dim.dim_value if dim.HasField("dim_value") else dim.dim_param or "?" for dim in tensor.shape.dim
    )
    dtype = TensorProto.DataType.Name(tensor.elem_type).lower()
    return Tensor(value.name, {"float": "float32", "double": "float64"}.get(dtype, dtype), shape)


def _size(tensor: TensorProto) -> int:
    size = 1
    for dim in tensor.dims:
        size *= dim
    return size
