"""Drive runners/groq/worker.py as its parent does, with GroqFlow and the stand-in SDK of tests/groqware."""

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from minilmx.runners.groq import worker as protocol
from minilmx.runners.groq.environment import LEAN_MODULES

WORKER = Path(protocol.__file__)
GROQWARE = Path(__file__).parents[3] / "groqware"
INPUTS = ("input_ids", "attention_mask", "token_type_ids")


def environment(python, **switches):
    """The environment of the worker: the lean modules, the stand-in tools first on PATH, the switches."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "GROQ"))}
    return {
        **kept,
        "PYTHONPATH": str(LEAN_MODULES),
        "PATH": f"{GROQWARE / 'bin'}:{os.environ['PATH']}",
        "GROQWARE_PYTHON": python,
        **switches,
    }


class Worker:
    """One worker process, and the parent's side of the protocol."""

    def __init__(self, job, log, groqflow_python, python=None, **switches):
        self.log = log
        with open(log, "wb") as stderr:
            self.process = subprocess.Popen(
                [python or groqflow_python, "-u", WORKER],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                env=environment(groqflow_python, **switches),
                start_new_session=True,
            )
        line = job if isinstance(job, bytes) else json.dumps(job).encode()
        self.process.stdin.write(line + b"\n")
        self.process.stdin.flush()

    def receive(self):
        """The next (event, tensors); (None, None) when the worker has ended."""
        return protocol.read_frame(self.process.stdout) or (None, None)

    def call(self, *batches):
        """Run batches in one message: the event, and the outputs, stacked unless there is one batch."""
        stacked = {name: np.stack([batch[name] for batch in batches]) for name in batches[0]}
        protocol.write_frame(self.process.stdin, {}, stacked)
        event, outputs = self.receive()
        if len(batches) == 1 and outputs:
            outputs = {name: value[0] for name, value in outputs.items()}
        return event, outputs

    def wait_for(self, stage):
        while (event := self.receive()[0]) != {"event": "stage", "stage": stage, "status": "started"}:
            assert event["event"] == "stage", event

    def finish(self):
        """The last event; the worker must have ended by itself, with its exit code and no process left."""
        events = iter(lambda: self.receive()[0], None)
        last = next((event for event in events if event["event"] in ("result", "error")), None)
        assert self.process.wait(10) == (0 if last and last["event"] == "result" else 1)
        assert self.members() == []
        return last

    def close(self):
        self.process.stdin.close()
        assert self.process.wait(10) == 0
        assert self.members() == []

    def members(self):
        """The processes of the worker's session, [(pid, command line)], zombies left out."""
        found = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                state, _, _, session = stat.read_text().rpartition(")")[2].split()[:4]
                command = (stat.parent / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(session) == self.process.pid and state != "Z":
                found.append((int(stat.parent.name), command))
        return found

    def is_gone(self, seconds=5):
        """Whether every process of the session ends within a few seconds."""
        deadline = time.monotonic() + seconds
        while self.members() and time.monotonic() < deadline:
            self.process.poll()
            time.sleep(0.02)
        return self.members() == []

    def kill_session(self):
        if self.members():
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(10)
        self.process.stdin.close()
        self.process.stdout.close()


@pytest.fixture(scope="session")
def groqware_environment(groqflow_python):
    return lambda **switches: environment(groqflow_python, **switches)


@pytest.fixture
def start(tmp_path, groqflow_python):
    """Start workers; those that a failed test leaves are killed after it."""
    workers = []

    def start(job, **options):
        workers.append(Worker(job, tmp_path / f"worker-{len(workers)}.log", groqflow_python, **options))
        return workers[-1]

    yield start
    for worker in workers:
        worker.kill_session()


def write_tiny(
    path, outputs=("last_hidden_state", "sentence_embedding"), opset=16, ir=8, sequence=8, width=4
):
    """A graph with MiniLM's inputs and outputs: embeddings, one matrix product, masked sum."""
    random = np.random.default_rng(0)
    weights = {
        "words": random.standard_normal((50, width), dtype=np.float32),
        "matrix": random.standard_normal((width, width), dtype=np.float32),
        "last": np.array([2]),
    }
    nodes = [
        helper.make_node("Gather", ["words", "input_ids"], ["embedded"]),
        helper.make_node("Add", ["input_ids", "token_type_ids"], ["unused"]),
        helper.make_node("MatMul", ["embedded", "matrix"], ["last_hidden_state"]),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "last"], ["wide_mask"]),
        helper.make_node("Mul", ["last_hidden_state", "wide_mask"], ["masked"]),
        helper.make_node("ReduceMean", ["masked"], ["sentence_embedding"], axes=[1], keepdims=0),
    ]
    shapes = {"last_hidden_state": [1, sequence, width], "sentence_embedding": [1, width]}
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(name, TensorProto.INT64, [1, sequence]) for name in INPUTS],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shapes[name]) for name in outputs],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir), path)


class Project:
    """An ONNX file, its example inputs, a cache beside them, empty at first, and the jobs for them."""

    def __init__(self, folder):
        self.onnx, self.inputs, self.cache = folder / "tiny.onnx", folder / "inputs.npz", folder / "cache"
        if not self.onnx.exists():
            self.write()
            np.savez(self.inputs, **self.batch())
        self.build = {
            "verb": "build",
            "onnx": str(self.onnx),
            "build_name": "tiny",
            "cache_dir": str(self.cache),
            "inputs": str(self.inputs),
        }

    def write(self, **graph):
        write_tiny(self.onnx, **graph)

    def batch(self, seed=0, sequence=8):
        mask = np.ones((1, sequence), np.int64)
        mask[0, -2:] = 0
        ids = np.random.default_rng(seed).integers(0, 50, (1, sequence))
        return {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(mask)}

    def job(self, verb, **fields):
        fields = {
            "outputs": ["sentence_embedding"],
            "runtime_path": str(GROQWARE / "site-packages"),
            **fields,
        }
        if verb == "groqflow-run":
            return {"verb": verb, "build_name": "tiny", "cache_dir": str(self.cache), **fields}
        return {"verb": verb, "iop": str(self.cache / "tiny" / "compile" / "output.iop"), **fields}

    def expected(self, inputs):
        return onnxruntime.InferenceSession(self.onnx).run(["sentence_embedding"], inputs)[0]


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path)


@pytest.fixture(scope="session")
def built_once(make_once, groqflow_python):
    def build(folder):
        worker = Worker(Project(folder).build, folder / "worker.log", groqflow_python)
        assert worker.finish()["event"] == "result"

    return make_once("built-project", build)


@pytest.fixture
def built(built_once, tmp_path):
    """A project that is built: a copy, because GroqFlow's own run writes files beside the program."""
    return Project(Path(shutil.copytree(built_once, tmp_path / "built")))
