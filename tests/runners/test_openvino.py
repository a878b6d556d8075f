"""The runner openvino: its graphs and precisions, which the contract does not cover."""

import subprocess
import sys

import numpy as np
import pytest

from minilmx.embedding.embedder import Embedder
from minilmx.errors import RunnerUnavailable
from minilmx.models.artifact import Artifact
from minilmx.runners.registry import open_runner

openvino = pytest.importorskip("openvino", reason="needs openvino")
TEXTS = ["A cat.", "The committee postponed its decision.", "", "word " * 80, "Ein Zug fährt nach Köln."] * 3


@pytest.mark.parametrize(
    ("precision", "largest", "least_cosine"), [("f32", 1e-6, 1 - 1e-6), ("int8", 0.05, 0.98)]
)
def test_each_graph_agrees_with_onnxruntime(
    precision: str, largest: float, least_cosine: float, artifact: Artifact
) -> None:
    with Embedder(artifact, "onnxruntime", artifact.graph_kind) as reference:
        expected = reference.encode(TEXTS)
    for view in (artifact, artifact.with_graph("dynamic")):
        with Embedder(view, "openvino", view.graph_kind, precision=precision) as runner:
            found = runner.encode(TEXTS)
            assert runner.runner.details["precision"] == precision
        assert np.abs(found - expected).max() < largest
        assert (found * expected).sum(axis=1).min() > least_cosine
        assert precision == "f32" or np.abs(found - expected).max() > 1e-4


def test_bf16_is_close_to_float32_or_refused(artifact: Artifact) -> None:
    if "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        with pytest.raises(RunnerUnavailable, match="this CPU has no bf16 instructions"):
            open_runner("openvino", artifact, precision="bf16")
        return
    with Embedder(artifact, "onnxruntime", artifact.graph_kind) as reference:
        expected = reference.encode(TEXTS)
    with Embedder(artifact, "openvino", artifact.graph_kind, precision="bf16") as runner:
        found = runner.encode(TEXTS)
    assert 1e-4 < np.abs(found - expected).max() < 0.01
    assert (found * expected).sum(axis=1).min() > 0.999


def test_openvino_is_imported_without_its_telemetry(artifact: Artifact) -> None:
    code = (
        "import sys; from pathlib import Path; from minilmx.models.artifact import open_artifact; "
        "from minilmx.runners.registry import open_runner; "
        f"open_runner('openvino', open_artifact(Path({str(artifact.path)!r}))); "
        "print(any(name.startswith('openvino_telemetry.') for name in sys.modules), "
        "'openvino' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]


def test_threads_that_start_at_the_same_time_do_not_deadlock(artifact: Artifact) -> None:
    """OpenVINO's Python binding makes its table of types at the first use, and deadlocks if two do."""
    code = (
        "import sys; from pathlib import Path; from minilmx.models.artifact import open_artifact; "
        "from minilmx.embedding.embedder import Embedder; "
        "sys.setswitchinterval(1e-6); "
        f"view = open_artifact(Path({str(artifact.path)!r})); "
        "runner = Embedder(view, 'openvino', 'dynamic', threads=4); "
        "print(len(runner.encode(['word ' * n for n in range(1, 9)])))"
    )
    for _ in range(3):
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
        )
        assert done.stdout == "8\n"
