"""From the dynamic-shape graph of an artifact to the fixed one."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
import onnxruntime
from onnx import helper

from minilmx.errors import ExportError, boundary
from minilmx.models.external_data import data_file, external_tensors, save_model
from minilmx.models.manifest import Interface
from minilmx.models.onnx_file import load_onnx
from minilmx.models.session_options import session_options

# The first IR that holds opset 17.
_IR_VERSION = 8


def write_fixed(dynamic: Path, interface: Interface, path: Path) -> None:
    """Write the graph of the ONNX file `dynamic` with these inputs and outputs, all of fixed shapes.

    What was computed from the shape is folded to numbers, by onnxruntime's basic optimisations: they use
    only standard operators. Raises ExportError.
    """
    proto = load_onnx(dynamic)
    del proto.graph.input[:], proto.graph.output[:], proto.graph.value_info[:]
    for values, tensors in zip((proto.graph.input, proto.graph.output), interface, strict=True):
        for tensor in tensors:
            dtype = helper.np_dtype_to_tensor_dtype(np.dtype(tensor.dtype))
            values.append(helper.make_tensor_value_info(tensor.name, dtype, tensor.shape))
    with TemporaryDirectory(dir=path.parent) as temporary:
        folded = Path(temporary) / "folded.onnx"
        _fold(proto, dynamic.parent, folded)
        frozen = load_onnx(folded)
        used = {node.domain for node in frozen.graph.node}
        kept = [entry for entry in frozen.opset_import if entry.domain in used]
        del frozen.opset_import[:]
        frozen.opset_import.extend(kept)
        frozen.ir_version = lowest_ir_version(frozen)
        save_model(frozen, path, folded.parent)


def _fold(proto: onnx.ModelProto, weights: Path, target: Path) -> None:
    """Write what onnxruntime's basic optimisations make of a graph with its external data in `weights`."""
    options = session_options("basic", threads=None)
    options.optimized_model_filepath = str(target)
    options.add_session_config_entry("session.disable_prepacking", "1")  # it runs nothing
    if external_tensors(proto):
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(weights))
        options.add_session_config_entry(
            "session.optimized_model_external_initializers_file_name", data_file(target).name
        )
    with boundary(ExportError, "the graph: onnxruntime cannot freeze it"):
        onnxruntime.InferenceSession(
            proto.SerializeToString(),
            options,
            providers=["CPUExecutionProvider"],
            disabled_optimizers=["MatMulAddFusion"],  # would bring in Gemm
        )


def lowest_ir_version(proto: onnx.ModelProto) -> int:
    """The lowest that holds the model's opset, which older tools read."""
    return max(_IR_VERSION, helper.find_min_ir_version_for(proto.opset_import, ignore_unknown=True))
