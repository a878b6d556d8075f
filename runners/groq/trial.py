"""A build of a tiny graph, as far as the SDK on this machine allows: does GroqFlow work at all?"""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from minilmx.errors import RunnerFailed
from minilmx.runners.groq.bridge import Worker
from minilmx.runners.groq.environment import GroqFlowEnvironment

# The stages before GroqFlow first needs a tool of the SDK.
_OPEN_STAGES = {"receive_onnx", "optimize_onnx"}


def try_environment(environment: GroqFlowEnvironment) -> str:
    """Build a tiny graph and say which stages passed.

    Raises RunnerFailed if the build fails before it needs a tool of the SDK.
    """
    with TemporaryDirectory(prefix="minilmx-groq-") as name:
        folder = Path(name)
        graph, inputs = folder / "tiny.onnx", folder / "inputs.npz"
        onnx.save(_tiny_graph(), str(graph))
        np.savez(inputs, x=np.ones((1, 4), np.float32))
        job = {
            "verb": "build",
            "onnx": str(graph),
            "build_name": "tiny",
            "cache_dir": str(folder / "cache"),
            "inputs": str(inputs),
            "chips": 1,
        }
        # The trial is of GroqFlow, not of the SDK's packages.
        variables = environment.variables() | {"GROQFLOW_SKIP_SDK_CHECK": "True"}
        done = []
        with Worker(environment.python, job, folder / "trial.log", variables) as worker:
            try:
                for event in worker.events():
                    if event["event"] == "stage" and event["status"] == "done":
                        done.append(event["stage"])
            except RunnerFailed as error:
                if not set(done) >= _OPEN_STAGES:
                    raise
                return f"as far as the SDK here allows ({', '.join(done)}); {error.message}"
    return f"complete ({', '.join(done)})"


def _tiny_graph() -> onnx.ModelProto:
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4])],
        [numpy_helper.from_array(np.eye(4, dtype=np.float32), "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 16)], ir_version=8)
