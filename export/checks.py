"""What a graph must be before it may be called an artifact's."""

from collections.abc import Mapping
from pathlib import Path

import onnx

from minilmx.errors import ExportError
from minilmx.models.interface import INPUT_NAMES, MAX_IR_VERSION, OUTPUT_NAMES, PACKED_INPUT_NAMES
from minilmx.models.manifest import Shape
from minilmx.models.onnx_file import GraphFacts, as_tensor, load_onnx, read_facts

Dims = tuple[int, ...]


def check_fixed_graph(path: Path, shape: Shape, dimension: int, opset: int) -> GraphFacts:
    """Check the fixed-shape graph and return its facts. Raises ExportError, naming the fault.

    ONNX's own checker and strict shape inference pass; every dim of every value is a number;
    inputs and outputs have our names, dtypes and shapes; opset and IR are as wanted; there is
    one operator domain and one file.
    """
    size = (shape.batch_size, shape.sequence_length)
    outputs = dict(zip(OUTPUT_NAMES, ((*size, dimension), (shape.batch_size, dimension)), strict=True))
    return _check_static(path, opset, dict.fromkeys(INPUT_NAMES, size), outputs)


def check_packed_graph(path: Path, shape: Shape, segments: int, dimension: int, opset: int) -> GraphFacts:
    """Check the packed graph as the fixed one; its one output is [B, N, D]. Raises ExportError."""
    size = (shape.batch_size, shape.sequence_length)
    outputs = {OUTPUT_NAMES[1]: (shape.batch_size, segments, dimension)}
    return _check_static(path, opset, dict.fromkeys(PACKED_INPUT_NAMES, size), outputs)


def check_dynamic_graph(path: Path, opset: int) -> GraphFacts:
    """Check the dynamic-axes twin and return its facts. Raises ExportError, naming the fault."""
    _, facts = _check_common(path, opset, INPUT_NAMES, OUTPUT_NAMES)
    for tensor in facts.inputs:
        if tensor.dtype != "int64" or not all(isinstance(dim, str) for dim in tensor.shape):
            raise ExportError(f"the twin's input is {tensor}, expected int64 with dynamic axes")
    return facts


def _check_static(
    path: Path, opset: int, inputs: Mapping[str, Dims], outputs: Mapping[str, Dims]
) -> GraphFacts:
    model, facts = _check_common(path, opset, tuple(inputs), tuple(outputs))
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    values = [*inferred.graph.input, *inferred.graph.value_info, *inferred.graph.output]
    for tensor in map(as_tensor, values):
        if not all(isinstance(dim, int) and dim > 0 for dim in tensor.shape):
            raise ExportError(f"{path.name} has a dim that is not static: {tensor}")
    for tensor in facts.inputs:
        if tensor.dtype != "int64" or tensor.shape != inputs[tensor.name]:
            expected = list(inputs[tensor.name])
            raise ExportError(f"{path.name} has the input {tensor}, expected int64 {expected}")
    for tensor in facts.outputs:
        if tensor.shape != outputs[tensor.name]:
            expected = list(outputs[tensor.name])
            raise ExportError(f"{path.name} has the output {tensor}, expected {expected}")
    return facts


def _check_common(
    path: Path, opset: int, input_names: tuple[str, ...], output_names: tuple[str, ...]
) -> tuple[onnx.ModelProto, GraphFacts]:
    model = load_onnx(path)
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(f"ONNX's checker refuses {path.name}: {error}") from error
    facts = read_facts(model)
    if facts.opset != opset or facts.ir_version > MAX_IR_VERSION:
        raise ExportError(
            f"{path.name} came out as opset {facts.opset} and IR {facts.ir_version}, expected "
            f"opset {opset} and IR at most {MAX_IR_VERSION}"
        )
    if facts.domains != ("",):
        raise ExportError(f"{path.name} uses operators of {', '.join(filter(None, facts.domains))}")
    if facts.external_data:
        raise ExportError(f"{path.name} keeps weights in another file, expected a single file")
    inputs = tuple(tensor.name for tensor in facts.inputs)
    if inputs != input_names:
        raise ExportError(f"{path.name} has inputs {inputs}, expected {input_names}")
    outputs = tuple((tensor.name, tensor.dtype) for tensor in facts.outputs)
    if outputs != tuple((name, "float32") for name in output_names):
        raise ExportError(f"{path.name} has outputs {outputs}, expected float32 {output_names}")
    return model, facts
