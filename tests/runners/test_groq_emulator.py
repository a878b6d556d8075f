"""groq-emulator: every value is a float16 number, and values that float16 cannot hold are reported."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from tests.conftest import reseal

from minilmx.models.artifact import Artifact, open_artifact
from minilmx.models.onnx_file import load_onnx
from minilmx.models.tokenizer import Tokenizer
from minilmx.runners.groq_emulator import round_to_float16
from minilmx.runners.registry import open_runner

Floats = NDArray[np.float32]


def as_half(values: Floats) -> Floats:
    with np.errstate(over="ignore"):
        return values.astype(np.float16).astype(np.float32)


def run(model: onnx.ModelProto, feeds: dict[str, object], outputs: list[str]) -> list[Floats]:
    settings = onnxruntime.SessionOptions()
    settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), settings, providers=["CPUExecutionProvider"]
    )
    found: list[Floats] = session.run(outputs, feeds)
    return found


def small_graph(nodes: list[onnx.NodeProto], **weights: object) -> onnx.ModelProto:
    """x float32 [4] through `nodes` to y float32 [4]."""
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [4]) for name in ("x", "y")]
    tensors = [numpy_helper.from_array(np.array(array, np.float32), name) for name, array in weights.items()]
    graph = helper.make_graph(nodes, "small", value[:1], value[1:], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 16)], ir_version=8)


def converted(values: list[float]) -> Floats:
    """One number at a time, as onnxconverter-common documents its float16."""
    result = []
    for value in values:
        if value != 0 and np.isfinite(value):
            size = min(max(abs(value), 1e-7), 1e4)
            value = size if value > 0 else -size
        result.append(np.float32(np.float16(value)))
    return np.array(result, np.float32)


WEIGHTS = [0.1, -0.1, 0.0, 1e-9, -1e-9, 3e5, -3e5, 65504.0, float("inf"), float("-inf"), 1e-5]


def test_weights_are_clamped_and_rounded() -> None:
    graph = small_graph([helper.make_node("Identity", ["x"], ["y"])], w=WEIGHTS)
    rounded = numpy_helper.to_array(round_to_float16(graph).graph.initializer[0])
    np.testing.assert_array_equal(rounded, converted(WEIGHTS))


def test_tensors_in_constant_nodes_are_clamped_and_rounded_too() -> None:
    value = numpy_helper.from_array(np.array([0.1, 1e-9, -3e5, 0], np.float32))
    nodes = [
        helper.make_node("Constant", [], ["c"], value=value),
        helper.make_node("Add", ["x", "c"], ["y"]),
    ]
    found = run(round_to_float16(small_graph(nodes)), {"x": np.zeros(4, np.float32)}, ["y"])[0]
    np.testing.assert_array_equal(found, converted([0.1, 1e-9, -3e5, 0]))


def test_numbers_in_constant_nodes_are_rounded_too() -> None:
    nodes = [
        helper.make_node("Constant", [], ["c"], value_floats=[0.1, 0.2, 0.3, 0.7]),
        helper.make_node("Mul", ["x", "c"], ["y"]),
    ]
    found = run(round_to_float16(small_graph(nodes)), {"x": np.ones(4, np.float32)}, ["y"])[0]
    np.testing.assert_array_equal(found, as_half(np.array([0.1, 0.2, 0.3, 0.7], np.float32)))


def test_integer_weights_do_not_change() -> None:
    graph = small_graph([helper.make_node("Identity", ["x"], ["y"])])
    graph.graph.initializer.append(numpy_helper.from_array(np.array([70001]), "ids"))
    assert numpy_helper.to_array(round_to_float16(graph).graph.initializer[0]) == 70001


def test_the_given_graph_is_not_changed() -> None:
    graph = small_graph([helper.make_node("Identity", ["x"], ["y"])], w=WEIGHTS)
    before = graph.SerializeToString()
    round_to_float16(graph)
    assert graph.SerializeToString() == before


def test_every_value_is_rounded_before_the_next_node() -> None:
    nodes = [
        helper.make_node("Mul", ["x", "w"], ["product"]),
        helper.make_node("Add", ["product", "w"], ["sum"]),
        helper.make_node("Sqrt", ["sum"], ["y"]),
    ]
    x, w = np.array([1.5, 2.7, 30.1, 411.3], np.float32), [0.1, 0.7, 3.3, 77.7]
    found, largest = run(round_to_float16(small_graph(nodes, w=w)), {"x": x}, ["y", "largest_magnitude"])
    weights = converted(w)
    product = x * weights
    total = as_half(product) + weights
    np.testing.assert_array_equal(found, as_half(np.sqrt(as_half(total))))
    assert float(largest) == max(np.abs(product).max(), np.abs(total).max())


def test_a_value_above_65504_becomes_infinite_and_is_reported() -> None:
    nodes = [
        helper.make_node("Mul", ["x", "w"], ["product"]),
        helper.make_node("Tanh", ["product"], ["y"]),
    ]
    graph = round_to_float16(small_graph(nodes, w=[10.0, 10.0, 10.0, 10.0]))
    graph.graph.output.append(helper.make_tensor_value_info("product", TensorProto.FLOAT, [4]))
    x = np.array([1.0, 6550.0, 7000.0, -8000.0], np.float32)
    y, largest, product = run(graph, {"x": x}, ["y", "largest_magnitude", "product"])
    np.testing.assert_array_equal(product, [10, 65504, np.inf, -np.inf])
    np.testing.assert_array_equal(y, [1, 1, 1, -1])
    assert float(largest) == 80000


def test_every_value_of_the_real_model_is_a_float16_number(artifact: Artifact) -> None:
    model = load_onnx(artifact.fixed_graph)
    values = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    names = [
        value.name
        for value in (*values.value_info, *values.output)
        if value.type.tensor_type.elem_type == TensorProto.FLOAT
    ]
    rounded = round_to_float16(model)
    known = {value.name for value in rounded.graph.output}
    for name in names:
        if name not in known:
            rounded.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    texts = ["A man is playing a guitar.", "Yes.", "Twelve birds sat on the old stone wall."]
    batch = next(Tokenizer(artifact.tokenizer_file, artifact.shape).encode(texts).batches())
    found = run(rounded, dict(batch.feeds()), names)
    assert len(found) > 200
    for name, value in zip(names, found, strict=True):
        assert np.array_equal(value, as_half(value)), f"{name} is not rounded"


def test_the_largest_magnitude_of_the_real_model_is_found(artifact: Artifact) -> None:
    """It equals the largest of all values before rounding, fetched from the graph one by one."""
    batch = next(Tokenizer(artifact.tokenizer_file, artifact.shape).encode(["A cat."]).batches())
    rounded = round_to_float16(load_onnx(artifact.fixed_graph))
    names = [name for node in rounded.graph.node for name in node.output if name.endswith("/exact")]
    for name in names:
        rounded.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    slow = max(float(np.abs(value).max()) for value in run(rounded, dict(batch.feeds()), names))
    with open_runner("groq-emulator", artifact) as runner:
        runner.run(batch)
        assert runner.details["largest_magnitude"] == slow
        assert runner.details["float16_max"] == 65504
    assert slow > 10_000


def test_the_details_say_that_it_is_an_emulation(tiny: Path) -> None:
    with open_runner("groq-emulator", open_artifact(tiny)) as runner:
        assert "not from a GroqCard" in str(runner.details["emulation"])


def test_an_infinite_magnitude_is_none_in_the_details(tiny: Path) -> None:
    """JSON has no infinity."""
    graph = open_artifact(tiny).fixed_graph
    model = load_onnx(graph)
    for tensor in model.graph.initializer:
        if list(tensor.dims) == [2, 8]:
            infinite = np.full((2, 8), np.inf, np.float32)
            tensor.CopyFrom(numpy_helper.from_array(infinite, tensor.name))
    onnx.save(model, graph)
    broken = reseal(tiny)
    batch = next(Tokenizer(broken.tokenizer_file, broken.shape).encode(["a cat"]).batches())
    with open_runner("groq-emulator", broken) as runner:
        assert runner.details["largest_magnitude"] == 0
        runner.run(batch)
        assert runner.details["largest_magnitude"] is None
