"""Every consumer, installed from package registries into separate environments, on real weights."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import Mlx

from minilmx.eval.consumers.registry import CONSUMERS
from minilmx.eval.consumers.snippets.template import render_snippet
from minilmx.models.artifact import Artifact

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

OLDER = ("sentence-transformers", "fastembed", "langchain")


def check(mlx: Mlx, artifact: Artifact, names: list[str], *options: object) -> list[dict[str, Any]]:
    chosen = [word for name in names for word in ("--consumer", name)]
    outcome = mlx("check", artifact.path, "--json", *chosen, *options)
    findings: list[dict[str, Any]] = json.loads(outcome.stdout)
    for finding in findings:
        assert finding["state"] == "agrees", finding
        assert finding["max_abs"] <= CONSUMERS[finding["consumer"]].tolerance, finding
    assert outcome.code == 0, outcome
    return findings


@pytest.mark.parametrize("name", [name for name, found in CONSUMERS.items() if found.language == "py"])
def test_all_python_consumers_agree(name: str, packed: Artifact, consumers_python: Path, mlx: Mlx) -> None:
    found = check(mlx, packed, [name], "--python", consumers_python)
    there = [finding["consumer"] for finding in found if finding["place"] == str(consumers_python)]
    assert there == [name]


def test_older_versions_agree(packed: Artifact, older_python: Path, mlx: Mlx) -> None:
    found = check(mlx, packed, list(OLDER), "--python", older_python)
    versions = {finding["consumer"]: finding["version"] for finding in found}
    assert versions["sentence-transformers"] == "5.1.2"


def test_transformers_js_agrees(packed: Artifact, node_modules: Path, mlx: Mlx) -> None:
    if shutil.which("node") is None:
        pytest.skip("needs node")
    check(mlx, packed, ["transformers-js"], "--node-modules", node_modules)


def test_spark_runs_its_snippet_as_printed_and_reads_the_shards_of_a_corpus(
    packed: Artifact, tiny: Path, consumers_python: Path, mlx: Mlx, tmp_path: Path
) -> None:
    """In one program: Spark takes long to start."""
    if shutil.which("java") is None:
        pytest.skip("needs java")
    (tmp_path / "in.txt").write_text("a text\n" * 50)
    assert mlx("run", tiny, "in.txt", "-o", "out/", "--shard-rows", "20").code == 0
    program = (
        mlx("inspect", packed.path, "--snippet", "spark").stdout
        + "\nprint('ROW', [len(row.embedding) for row in frame.collect()])\n"
        "from pyspark.sql import SparkSession\n"
        "rows = SparkSession.builder.getOrCreate().read.parquet('out/').collect()\n"
        "ids, lengths = [row.id for row in rows], {len(row.embedding) for row in rows}\n"
        "print('ROWS', sorted(ids) == list(range(50)), lengths)\n"
    )
    (tmp_path / "program.py").write_text(program, encoding="utf-8")
    done = subprocess.run(
        [consumers_python, "program.py"],
        cwd=tmp_path,
        env=os.environ | {"PYSPARK_PYTHON": str(consumers_python)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "ROW [384, 384]" in done.stdout
    assert "ROWS True {8}" in done.stdout


def test_triton_reads_its_configuration(packed: Artifact, consumers_python: Path) -> None:
    read = (
        "import sys; from google.protobuf import text_format; from tritonclient.grpc import model_config_pb2;"
        "c = text_format.Parse(sys.stdin.read(), model_config_pb2.ModelConfig());"
        "print([list(t.dims) for t in [*c.input, *c.output]])"
    )
    text = render_snippet("triton", packed)
    command = [str(consumers_python), "-c", read]
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=60)
    tensors = (*packed.manifest.fixed.inputs, *packed.manifest.fixed.outputs)
    assert done.stdout.strip() == str([list(tensor.shape) for tensor in tensors]), done.stderr
