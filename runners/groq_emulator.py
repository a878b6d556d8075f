"""The runner `groq-emulator`: GroqFlow's conversion to float16, emulated on the CPU.

Its results are not from a GroqCard. GroqFlow converts weights and every value between operators to
float16. So the emulator clamps weights to 1e-7 <= |x| <= 1e4, as GroqFlow's onnxconverter-common does,
and rounds them and every node's float output to float16; the sums inside a node stay float32, because
it is not known how a card sums.

It also reports the largest magnitude of any intermediate value, because values past 65,504
are infinite in float16, and LayerNorm's square comes near it.
"""

from threading import Lock

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from minilmx.errors import RunnerFailed, RunnerUnavailable
from minilmx.models.artifact import Artifact
from minilmx.models.manifest import FLOAT32
from minilmx.models.onnx_file import load_graph
from minilmx.progress import Progress
from minilmx.runners.base import FLOAT16_MAX, Batch, Details, Runner, RunnerEntry, ThreadOptions
from minilmx.runners.onnxruntime import SessionRunner

# onnxconverter-common 1.13.0, float16.convert_float_to_float16: min_positive_val, max_finite_val.
_CLAMP_MIN, _CLAMP_MAX = 1e-7, 1e4
_LARGEST = "largest_magnitude"


EMULATION = "float16 weights and node outputs, float32 sums; not from a GroqCard"


class EmulatorRunner(SessionRunner):
    """The graph with every value rounded to float16, run by onnxruntime."""

    name = "groq-emulator"

    def __init__(self, artifact: Artifact, threads: int | None) -> None:
        graph = round_to_float16(load_graph(artifact))
        # No optimization: it would fuse nodes and skip the rounding between them.
        super().__init__(
            graph.SerializeToString(),
            threads=threads,
            graph_optimization="disable",
            precision="float16",
            output=artifact.output_name,
        )
        self._largest = 0.0
        self._lock = Lock()

    @property
    def details(self) -> Details:
        """The session's details, and the largest magnitude seen against float16's limit.

        The magnitude is None if an intermediate value was infinite or NaN: JSON has neither.
        """
        return {
            **super().details,
            "emulation": EMULATION,
            _LARGEST: self._largest if np.isfinite(self._largest) else None,
            "float16_max": FLOAT16_MAX,
        }

    def run(self, batch: Batch) -> NDArray[np.float32]:
        """The output as float16 would hold it, float32 [B, D]. Raises RunnerFailed."""
        embeddings, largest = self._outputs([self._output, _LARGEST], batch)
        with self._lock:
            self._largest = float(np.maximum(self._largest, largest))  # keeps NaN, unlike max
        return embeddings


def round_to_float16(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy whose weights and node outputs are float16 numbers, held as float32.

    It has one more output, `largest_magnitude`, a float32 scalar: the largest absolute value of any
    node's output before rounding.
    """
    rounded = onnx.ModelProto()
    rounded.CopyFrom(model)
    graph = rounded.graph
    for tensor in graph.initializer:
        _round_weight(tensor)
    for node in graph.node:
        for attribute in node.attribute:
            if _is_weight(node) and attribute.name == "value":
                _round_weight(attribute.t)
    floats = _float_values(model)
    nodes, maxima = [], []
    for node in graph.node:
        nodes.append(node)
        if _is_weight(node):
            continue
        for index, name in enumerate(node.output):
            if name in floats:
                exact = node.output[index] = f"{name}/exact"
                nodes += _rounding_nodes(exact, name)
                maxima.append(f"{exact}/max")
    nodes.append(helper.make_node("Max", maxima, [_LARGEST], name=_LARGEST))
    del graph.node[:], graph.value_info[:]
    graph.node.extend(nodes)
    graph.output.append(helper.make_tensor_value_info(_LARGEST, TensorProto.FLOAT, []))
    return rounded


def _rounding_nodes(exact: str, name: str) -> list[NodeProto]:
    """Round `exact` to float16 as `name`, and take its largest magnitude."""
    half, magnitude = f"{exact}/float16", f"{exact}/abs"
    return [
        helper.make_node("Cast", [exact], [half], name=half, to=TensorProto.FLOAT16),
        helper.make_node("Cast", [half], [name], name=f"{exact}/rounded", to=TensorProto.FLOAT),
        helper.make_node("Abs", [exact], [magnitude], name=magnitude),
        helper.make_node("ReduceMax", [magnitude], [f"{exact}/max"], name=f"{exact}/max", keepdims=0),
    ]


def _float_values(model: onnx.ModelProto) -> set[str]:
    """The names of all float32 outputs of nodes."""
    types = onnx.ModelProto()
    types.CopyFrom(model)
    for tensor in types.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            tensor.ClearField("raw_data")  # which says nothing of types, and would be copied four times
    inferred = onnx.shape_inference.infer_shapes(types, strict_mode=True).graph
    values = (*inferred.value_info, *inferred.output)
    return {value.name for value in values if value.type.tensor_type.elem_type == TensorProto.FLOAT}


def _is_weight(node: NodeProto) -> bool:
    """Whether a node holds a tensor, as the initializers do."""
    return node.op_type == "Constant" and node.attribute[0].name == "value"


def _round_weight(tensor: TensorProto) -> None:
    """Clamp and round a float32 tensor in place, as GroqFlow's converter does.

    Zero, NaN and infinity do not change.
    """
    if tensor.data_type != TensorProto.FLOAT:
        return
    exact = numpy_helper.to_array(tensor)
    magnitude = np.abs(exact).clip(_CLAMP_MIN, _CLAMP_MAX)
    keep = (exact == 0) | ~np.isfinite(exact)
    clamped = np.where(keep, exact, np.copysign(magnitude, exact))
    half = clamped.astype(np.float16).astype(np.float32)
    tensor.CopyFrom(numpy_helper.from_array(half, tensor.name))


def _open(artifact: Artifact, options: ThreadOptions, progress: Progress) -> Runner:
    if artifact.manifest.precision != FLOAT32:
        raise RunnerUnavailable(
            f"the precision of the artifact: {artifact.manifest.precision}; expected float32",
            "Export the model in float32.",
        )
    if artifact.graph_data:
        raise RunnerUnavailable(
            f"the weights of the artifact: in {artifact.graph_data.name}, as they have more than 2 GiB; "
            "expected them in the graph",
            "Use another runner.",
        )
    try:
        return EmulatorRunner(artifact, options.threads)
    except onnx.shape_inference.InferenceError as error:
        raise RunnerFailed(f"the graph cannot be emulated: {error}") from error


ENTRY = RunnerEntry(
    "groq-emulator",
    "the fixed graph with GroqFlow's float16 rounding, emulated on the CPU",
    lambda options: None,
    _open,
    ThreadOptions,
    verifies=True,
)
