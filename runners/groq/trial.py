"""A tiny graph in GroqFlow's environment: does its conversion work, and how far does a build come?"""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from minilmx.errors import RunnerFailed
from minilmx.files.scratch import private_folder
from minilmx.runners.groq.bridge import Worker
from minilmx.runners.groq.environment import GroqFlowEnvironment, wrong_pins

# The stages before GroqFlow first needs a tool of the SDK.
_OPEN_STAGES = {"receive_onnx", "optimize_onnx"}
_CONVERSION_SECONDS = 120
# Relative error of one product of small numbers after its conversion to float16.
_MAX_CONVERSION_ERROR = 0.01


def conversion_problem(environment: GroqFlowEnvironment) -> str | None:
    """Why GroqFlow's conversion to float16 does not work here, or None.

    Converts and runs a tiny graph, unless all packages are the pinned ones, which are known to work.
    """
    if not wrong_pins(environment):
        return None
    with private_folder("minilmx-groq-") as folder:
        graph, inputs = _write_tiny(folder)
        job = {"verb": "convert", "onnx": str(graph), "inputs": str(inputs)}
        log = folder / "convert.log"
        with Worker(environment.python, job, log, environment.variables()) as worker:
            worker.limit(_CONVERSION_SECONDS)
            try:
                error = next(worker.events())["error"]
            except RunnerFailed as failure:
                if worker.timed_out:
                    return f"GroqFlow did not convert a tiny graph within {_CONVERSION_SECONDS} s"
                return failure.message
    if error is None or error > _MAX_CONVERSION_ERROR:
        return f"GroqFlow's conversion to float16 changes a tiny graph: relative error {error}"
    return None


def try_environment(environment: GroqFlowEnvironment) -> str:
    """Build a tiny graph and say which stages passed.

    Raises RunnerFailed if the build fails before it needs a tool of the SDK.
    """
    with private_folder("minilmx-groq-") as folder:
        graph, inputs = _write_tiny(folder)
        job = {
            "verb": "build",
            "onnx": str(graph),
            "build_name": "tiny",
            "cache_dir": str(folder / "cache"),
            "inputs": str(inputs),
            "chips": 1,
        }
        stages = []
        with Worker(environment.python, job, folder / "trial.log", environment.variables()) as worker:
            try:
                for event in worker.events():
                    if event["event"] == "stage" and event["status"] == "done":
                        stages.append(event["stage"])
            except RunnerFailed as error:
                if not set(stages) >= _OPEN_STAGES:
                    raise
                return f"as far as the SDK here allows ({', '.join(stages)}); {error.message}"
    return f"complete ({', '.join(stages)})"


def _write_tiny(folder: Path) -> tuple[Path, Path]:
    """A graph and its inputs; like MiniLM, it casts an integer mask, which one wrong converter fails at."""
    graph, inputs = folder / "tiny.onnx", folder / "inputs.npz"
    onnx.save(_tiny_graph(), str(graph))
    np.savez(inputs, x=np.ones((1, 4), np.float32), mask=np.array([[1, 1, 1, 0]], np.int64))
    return graph, inputs


def _tiny_graph() -> onnx.ModelProto:
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["mask"], ["float_mask"], to=TensorProto.FLOAT),
            helper.make_node("Mul", ["x", "float_mask"], ["masked"]),
            helper.make_node("MatMul", ["masked", "w"], ["y"]),
        ],
        "tiny",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4]),
            helper.make_tensor_value_info("mask", TensorProto.INT64, [1, 4]),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4])],
        [numpy_helper.from_array(np.eye(4, dtype=np.float32) / 3, "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 16)], ir_version=8)
