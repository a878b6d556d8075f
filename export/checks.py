"""The rules that a graph of an artifact must follow."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import onnx

from minilmx.errors import ExportError, boundary
from minilmx.export.model import ExportableModel
from minilmx.export.options import ExportOptions
from minilmx.models.external_data import data_file, external_fault
from minilmx.models.interface import GROQ_MAX_IR_VERSION, GROQ_MAX_OPSET, MAX_IR_VERSION
from minilmx.models.manifest import GraphKind, Interface, Tensor, graph_interface
from minilmx.models.onnx_file import GraphFacts, as_tensor, load_onnx, read_facts


def check_graphs(
    graphs: Mapping[GraphKind, Path], options: ExportOptions, model: ExportableModel
) -> dict[GraphKind, GraphFacts]:
    """Check the ONNX files of an artifact and return their facts. Raises ExportError, naming the fault.

    ONNX's own checker and strict shape inference pass; opset and IR version are as wanted; there is one
    operator domain; the weights are in the file, or beside it if it would be too large; inputs and outputs
    have our names, dtypes and shapes; and all but the dynamic-shape graph have a number for every dim of
    every value.
    """
    return {kind: _check(path, kind, options, model) for kind, path in graphs.items()}


def interface_of(kind: GraphKind, options: ExportOptions, model: ExportableModel) -> Interface:
    """The inputs and outputs that a model's graph must have."""
    widths = (model.embedding_dimension, model.hidden_dimension)
    return graph_interface(kind, options.shape, *widths, model.output, options.mask, options.segments or 1)


def _check(path: Path, kind: GraphKind, options: ExportOptions, exported: ExportableModel) -> GraphFacts:
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
    inputs, outputs = interface_of(kind, options, exported)
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


def _join(tensors: Sequence[Tensor]) -> str:
    return ", ".join(map(str, tensors))
