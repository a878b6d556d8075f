"""What a graph must be before it may be called an artifact's."""

from pathlib import Path

import onnx

from minilmx.errors import ExportError
from minilmx.export.names import OUTPUT_NAMES
from minilmx.models.graph import GraphFacts, as_tensor, load_onnx, read_facts
from minilmx.models.manifest import Shape
from minilmx.models.tokenizer import INPUT_NAMES

# The newest IR that GroqFlow 4.3.1's onnx 1.14.0 reads.
MAX_IR_VERSION = 9


def check_fixed_graph(path: Path, shape: Shape, dimension: int, opset: int) -> GraphFacts:
    """Check the fixed-shape graph and return its facts. Raises ExportError, naming the fault.

    ONNX's own checker and strict shape inference pass; every dim of every value is a number;
    inputs and outputs have our names, dtypes and shapes; opset and IR are as wanted; there is
    one operator domain and one file.
    """
    model, facts = _check_common(path, opset)
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    values = [*inferred.graph.input, *inferred.graph.value_info, *inferred.graph.output]
    for tensor in map(as_tensor, values):
        if not all(isinstance(dim, int) and dim > 0 for dim in tensor.shape):
            raise ExportError(f"the fixed graph has a dim that is not static: {tensor}")
    size = (shape.batch_size, shape.sequence_length)
    for tensor in facts.inputs:
        if tensor.dtype != "int64" or tensor.shape != size:
            raise ExportError(f"the fixed graph's input is {tensor}, expected int64 {list(size)}")
    hidden, pooled = facts.outputs
    expected = (*size, dimension), (shape.batch_size, dimension)
    if (hidden.shape, pooled.shape) != expected:
        raise ExportError(
            f"the fixed graph's outputs are {hidden} and {pooled}, expected shapes "
            f"{list(expected[0])} and {list(expected[1])}"
        )
    return facts


def check_dynamic_graph(path: Path, opset: int) -> GraphFacts:
    """Check the dynamic-axes twin and return its facts. Raises ExportError, naming the fault."""
    _, facts = _check_common(path, opset)
    for tensor in facts.inputs:
        if tensor.dtype != "int64" or not all(isinstance(dim, str) for dim in tensor.shape):
            raise ExportError(f"the twin's input is {tensor}, expected int64 with dynamic axes")
    return facts


def _check_common(path: Path, opset: int) -> tuple[onnx.ModelProto, GraphFacts]:
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
    if inputs != INPUT_NAMES:
        raise ExportError(f"{path.name} has inputs {inputs}, expected {INPUT_NAMES}")
    outputs = tuple((tensor.name, tensor.dtype) for tensor in facts.outputs)
    if outputs != tuple((name, "float32") for name in OUTPUT_NAMES):
        raise ExportError(f"{path.name} has outputs {outputs}, expected float32 {OUTPUT_NAMES}")
    return model, facts
