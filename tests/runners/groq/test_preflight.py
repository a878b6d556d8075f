"""What GroqFlow would refuse is reported before it starts."""

import re

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from tests.conftest import change_graph, reseal

from minilmx.models.artifact import read_artifact
from minilmx.runners.groq.preflight import chips_needed


@pytest.fixture
def crafted(tiny):
    """Change the fixed graph of an artifact, and seal it again so that its digests fit."""

    def craft(change, **saving):
        change_graph(read_artifact(tiny).fixed_graph, change, **saving)
        return reseal(tiny).path

    return craft


def opset(version):
    def change(model):
        model.opset_import[0].version = version

    return change


def first_domain(model):
    model.opset_import.insert(0, helper.make_opsetid("com.example", 1))


def ir_version(model):
    model.ir_version = 10


def symbolic_input(model):
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "sequence"


def symbolic_output(model):
    model.graph.output[0].type.tensor_type.shape.dim[0].dim_param = "batch"


def renamed_input(model):
    model.graph.input[1].name = "mask"
    for node in model.graph.node:
        node.input[:] = ["mask" if name == "attention_mask" else name for name in node.input]


def narrow_input(model):
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.INT32


def several(model):
    ir_version(model)
    opset(18)(model)


REFUSED = {
    "opset 18": (opset(18), ["opset 18, expected 13 to 17"]),
    "opset 12": (opset(12), ["opset 12, expected 13 to 17"]),
    "IR 10": (ir_version, ["IR version 10, expected at most 9"]),
    "all at once": (several, ["opset 18", "IR version 10"]),
    "other domain first": (first_domain, ["operator sets ('com.example', ''), expected ONNX's own first"]),
    "symbolic input": (
        symbolic_input,
        ["input input_ids int64 [4, sequence], expected int64 and a static shape"],
    ),
    "symbolic output": (
        symbolic_output,
        ["output last_hidden_state float32 [batch, 16, 8], expected a static"],
    ),
    "name": (renamed_input, ["mask int64 [4, 16]", "expected input_ids int64 [4, 16], attention_mask int64"]),
    "dtype": (narrow_input, ["input input_ids int32 [4, 16], expected int64"]),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_graph_beyond_groqflows_limits_is_refused_before_groqflow_starts(machine, crafted, case):
    change, fragments = REFUSED[case]
    message = machine.fails("groq", "build", crafted(change))
    assert "GroqFlow cannot build model_b4_s16.onnx: " in message
    for fragment in fragments:
        assert fragment in message
    assert not list(machine.cache.glob("*/build.log"))


def test_weights_in_another_file_are_refused(machine, crafted):
    saving = {"save_as_external_data": True, "location": "model_b4_s16.onnx_data", "size_threshold": 0}
    message = machine.fails("groq", "build", crafted(lambda model: None, **saving))
    assert "weights in another file" in message
    assert not list(machine.cache.glob("*/build.log"))


def large(model):
    """One parameter more than a chip takes, as integers: the multilingual L12 has 117 million."""
    values = np.zeros(50_000_001, np.uint8)
    model.graph.initializer.append(onnx.numpy_helper.from_array(values, "unused"))


def test_a_model_of_several_chips_is_refused_before_groqflow_starts(machine, crafted):
    message = machine.fails("groq", "build", crafted(large))
    assert re.search(r"50,00\d,\d{3} parameters, which take 2 chips; expected at most 50,000,000", message)
    assert "programs of one chip only. Use a smaller model, or the runner groq-emulator" in message
    assert not list(machine.cache.glob("*/build.log"))


def scaled(factor):
    def change(model):
        for tensor in model.graph.initializer:
            if tensor.name.endswith("mix"):
                values = onnx.numpy_helper.to_array(tensor) * factor
                tensor.CopyFrom(onnx.numpy_helper.from_array(values.astype("float32"), tensor.name))

    return change


def test_values_that_float16_cannot_hold_are_refused(machine, crafted):
    message = machine.fails("groq", "build", crafted(scaled(1e5)))
    assert "the largest value in model_b4_s16.onnx: " in message
    assert "float16" in message
    assert "65,504" in message
    assert not list(machine.cache.glob("*/build.log"))


@pytest.mark.parametrize(
    ("parameters", "chips"),
    [
        (0, 1),
        (22_713_216, 1),
        (50_000_000, 1),
        (50_000_001, 2),
        (100_000_001, 4),
        (200_000_001, 8),
        (1_000_000_000, 32),
    ],
)
def test_chips_are_one_per_50_million_parameters_rounded_up_to_a_power_of_two(parameters, chips):
    assert chips_needed(parameters) == chips
