"""What the benchmarks' programs compute, on a few texts."""

import importlib
import re
from pathlib import Path
from types import ModuleType

import onnx
import onnxruntime
import pytest

from minilmx.models.artifact import Artifact

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
TEXTS = ["a cat", "the dog sleeps on the mat", "a bird sings", "rain"] * 8


@pytest.fixture
def operators(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """benchmarks/operators.py, a program that imports its neighbours."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("operators")


def optimized_operators(graph: Path, scratch: Path) -> set[str]:
    """The operators of a graph as onnxruntime runs it."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # or it warns that the saved graph is for this machine only
    options.optimized_model_filepath = str(scratch / "optimized.onnx")
    onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
    return {node.op_type for node in onnx.load(scratch / "optimized.onnx").graph.node}


def test_the_operators_are_those_of_the_graph_and_their_shares_add_up(
    operators: ModuleType, artifact: Artifact, tmp_path: Path
) -> None:
    workload = operators.Workload("few", "a few texts", TEXTS, None)
    usage = operators.measure(artifact.path, "dynamic", workload, rounds=2)
    named = {name.split()[0] for name in usage.parts}
    assert named == optimized_operators(artifact.path / "onnx" / "model.onnx", tmp_path)
    # Groups of equal lengths have no padding: the products do the work that the texts need.
    flops = operators.count_flops(operators.count_tokens(TEXTS, artifact.path / "tokenizer.json"))
    assert sum(usage.flops.values()) == flops
    assert 0 < sum(usage.parts.values()) <= usage.runs <= usage.total

    shown = operators.render("few", usage, flops, 1e12)
    *shares, whole = map(float, re.findall(r"^\| .+? \| [\d.]+ \| ([\d.]+)% \|", shown, re.MULTILINE))
    assert whole == 100
    assert sum(shares) == pytest.approx(100, abs=0.05 * len(shares))
    parts = [int(share) for share in re.findall(r"(-?\d+)% ", shown.partition("All CPU seconds:")[2])]
    assert sum(parts) == pytest.approx(100, abs=0.5 * len(parts))
