"""The rules that a graph of an artifact must follow."""

from collections.abc import Mapping
from pathlib import Path

import onnx

from minilmx.errors import ExportError, boundary
from minilmx.export.options import ExportOptions
from minilmx.models.external_data import data_file, external_fault
from minilmx.models.interface import (
    GROQ_MAX_IR_VERSION,
    GROQ_MAX_OPSET,
    INPUT_NAMES,
    LAST_HIDDEN_STATE,
    MAX_IR_VERSION,
    PACKED_INPUT_NAMES,
    SCORE,
    SENTENCE_EMBEDDING,
)
from minilmx.models.manifest import GraphKind, Tensor, input_dtype
from minilmx.models.onnx_file import GraphFacts, as_tensor, load_onnx, read_facts

Tensors = tuple[Tensor, ...]


def check_graphs(
    graphs: Mapping[GraphKind, Path],
    options: ExportOptions,
    dimension: int,
    hidden_dimension: int,
    output: str = SENTENCE_EMBEDDING,
) -> dict[GraphKind, GraphFacts]:
    """Check the ONNX files of an artifact and return their facts. Raises ExportError, naming the fault.

    ONNX's own checker and strict shape inference pass; opset and IR version are as wanted; there is one
    operator domain; the weights are in the file, or beside it if it would be too large; inputs and outputs
    have our names, dtypes and shapes; and all but the dynamic-shape graph have a number for every dim of
    every value. Embeddings have `dimension` numbers and token embeddings `hidden_dimension`; the graphs of a
    model whose `output` is a score do not give the latter.
    """
    return {
        kind: _check(path, kind, options, _interface(kind, options, dimension, hidden_dimension, output))
        for kind, path in graphs.items()
    }


def _check(
    path: Path, kind: GraphKind, options: ExportOptions, interface: tuple[Tensors, Tensors]
) -> GraphFacts:
    static = kind != GraphKind.DYNAMIC
    model = load_onnx(path)
    with boundary(ExportError, f"{path.name}: ONNX's checker refuses it"):
        onnx.checker.check_model(str(path))
        # What the checker's full_check does, with the result kept.
        inferred = onnx.shape_inference.infer_shapes(
            model, check_type=True, strict_mode=True, data_prop=static
        )
    facts = read_facts(model, path)
    newest = GROQ_MAX_IR_VERSION if facts.opset <= GROQ_MAX_OPSET else MAX_IR_VERSION
    if facts.opset != options.opset or facts.ir_version > newest:
        raise ExportError(
            f"{path.name}: opset {facts.opset} and IR version {facts.ir_version}; expected opset "
            f"{options.opset} and an IR version of at most {newest}"
        )
    if facts.domains != ("",):
        domains = ", ".join(filter(None, facts.domains))
        raise ExportError(f"{path.name}: operators of {domains}; expected only ONNX's own")
    if fault := external_fault(path, path.parent, data_file(path)):
        raise ExportError(f"{path.name}: {fault}")
    inputs, outputs = interface
    # PyTorch may leave a dim of a dynamic output without a name.
    for what, found, expected, with_shape in (
        ("inputs", facts.inputs, inputs, True),
        ("outputs", facts.outputs, outputs, static),
    ):
        first, second = (
            [(each.name, each.dtype, with_shape and each.shape) for each in tensors]
            for tensors in (found, expected)
        )
        if first != second:
            raise ExportError(f"{path.name}: {what} {_join(found)}; expected {_join(expected)}")
    values = (*inferred.graph.input, *inferred.graph.value_info, *inferred.graph.output)
    for tensor in map(as_tensor, values if static else ()):
        if not all(isinstance(dim, int) and dim > 0 for dim in tensor.shape):
            raise ExportError(f"{path.name}: {tensor}; expected a number for every dim")
    return facts


def _interface(
    kind: GraphKind, options: ExportOptions, dimension: int, hidden_dimension: int, output: str
) -> tuple[Tensors, Tensors]:
    """The inputs and outputs that docs/artifact.md states."""
    names = INPUT_NAMES
    batch: int | str = options.shape.batch_size
    length: int | str = options.shape.sequence_length
    if kind == GraphKind.DYNAMIC:
        batch, length = "batch_size", "sequence_length"
    outputs: Tensors = (Tensor(output, "float32", (batch, dimension)),)
    if output != SCORE:
        outputs = (Tensor(LAST_HIDDEN_STATE, "float32", (batch, length, hidden_dimension)), *outputs)
    if kind == GraphKind.PACKED:
        names = PACKED_INPUT_NAMES
        outputs = (Tensor(output, "float32", (batch, options.segments or 1, dimension)),)
    return tuple(
        Tensor(name, input_dtype(kind, name, options.mask), (batch, length)) for name in names
    ), outputs


def _join(tensors: Tensors) -> str:
    return ", ".join(map(str, tensors))
