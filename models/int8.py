"""Rounding the weights of matrix products to int8, inside an ONNX graph."""

import numpy as np
import onnx
from onnx import helper, numpy_helper


def round_weights_to_int8(model: onnx.ModelProto, steps: int = 127) -> list[onnx.NodeProto]:
    """Store the constant right operand [K, N] of each MatMul as int8, in place, and return these nodes.

    Symmetric, |w| <= `steps`, with one scale per column; a DequantizeLinear follows, so that the graph
    still multiplies float32 numbers. onnxruntime and OpenVINO read it as a weight that is stored as int8.
    """
    graph = model.graph
    weights = {tensor.name: tensor for tensor in graph.initializer if len(tensor.dims) == 2}
    products = [node for node in graph.node if node.op_type == "MatMul" and node.input[1] in weights]
    dequantized = []
    for name in dict.fromkeys(node.input[1] for node in products):
        exact = numpy_helper.to_array(weights[name])
        scale = np.maximum(np.abs(exact).max(axis=0), np.finfo(np.float32).tiny) / steps
        rounded = np.round(exact / scale).astype(np.int8)
        parts = (rounded, scale.astype(np.float32), np.zeros(scale.shape, np.int8))
        names = [f"{name}/{part}" for part in ("int8", "scale", "zero")]
        graph.initializer.remove(weights[name])
        graph.initializer.extend(map(numpy_helper.from_array, parts, names))
        dequantized.append(
            helper.make_node("DequantizeLinear", names, [name], name=f"{name}/dequantize", axis=1)
        )
    nodes = list(graph.node)
    del graph.node[:]
    graph.node.extend([*dequantized, *nodes])
    return [node for node in graph.node if node.op_type == "MatMul" and node.input[1] in weights]
