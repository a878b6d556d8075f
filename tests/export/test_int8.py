"""An int8 artifact: made from a proven float32 graph, smaller, with its cost measured."""

import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minilmx.embedding.embedder import Embedder
from minilmx.errors import ExportError, OutputError, RunnerFailed, RunnerUnavailable
from minilmx.eval.datasets.pairs import load_pairs
from minilmx.eval.metrics.correlation import score_pairs
from minilmx.export.exporter import ExportedArtifact, artifact_name, export_model
from minilmx.export.options import ExportOptions
from minilmx.export.quantize import measure_cost
from minilmx.models.artifact import Artifact, open_artifact
from minilmx.models.manifest import Shape
from minilmx.models.onnx_file import load_onnx, read_facts
from minilmx.models.source import ModelSource
from minilmx.runners.groq.preflight import check_before_build
from minilmx.runners.registry import default_runners, open_runner

STSB = Path(__file__).parents[3] / "shared" / "stsb" / "stsb-en-test.csv"


OPTIONS = ExportOptions(Shape(4, 48), segments=4, precision="int8")


@pytest.fixture(scope="session")
def int8(real_source: ModelSource, make_once: Callable[..., Path]) -> ExportedArtifact:
    def export(folder: Path) -> None:
        exported = export_model(real_source, folder / "int8", OPTIONS)
        (folder / "exported.pickle").write_bytes(pickle.dumps(exported))

    saved = (make_once("int8", export) / "exported.pickle").read_bytes()
    exported: ExportedArtifact = pickle.loads(saved)  # noqa: S301 - written by this test run
    return exported


def test_its_matrix_products_are_int8_and_its_operators_are_onnx_own(int8: ExportedArtifact) -> None:
    artifact = open_artifact(int8.path)
    assert artifact.manifest.precision == "int8"
    for view in (artifact, artifact.with_graph("dynamic"), artifact.with_graph("packed")):
        facts = read_facts(load_onnx(view.graph_file))
        assert facts.ops["MatMulInteger"] == 36
        assert facts.domains == ("",)
        assert view.graph_file.stat().st_size < 60e6  # float32 has 90 MB


def test_every_graph_of_it_gives_nearly_the_models_embeddings(
    int8: ExportedArtifact, artifact: Artifact
) -> None:
    texts = ["A cat sleeps.", "The committee postponed its decision.", "word " * 60, "", "Ein Zug"]
    with Embedder(artifact, "onnxruntime", artifact.graph_kind) as runner:
        expected = runner.encode(texts)
    for view in (int8, int8.with_graph("dynamic"), int8.with_graph("packed")):
        with Embedder(view, "onnxruntime", view.graph_kind) as runner:
            found = runner.encode(texts)
        assert 1e-4 < np.abs(found - expected).max() < 0.1
        assert (found * expected).sum(axis=1).min() > 0.95


def test_the_cost_is_measured_against_the_model(int8: ExportedArtifact) -> None:
    parity, cost = int8.report.parity, int8.report.cost
    assert parity is not None and parity.max_abs_embedding <= 1e-5
    assert cost is not None
    assert 1e-3 < cost.max_abs < 0.1
    assert 0.95 < cost.min_cosine < 1


def test_a_graph_that_quantising_damages_is_refused(int8: ExportedArtifact) -> None:
    def other_model(batch: Any) -> Any:
        rows = np.random.default_rng(0).standard_normal((4, 384)).astype(np.float32)
        return rows, rows

    with pytest.raises(ExportError, match=r"cosine similarity .* after quantising; expected at least 0\.9"):
        measure_cost(int8.fixed_graph, int8.tokenizer_file, int8.shape, other_model)


def test_it_is_not_reused_as_the_float32_artifact(int8: ExportedArtifact, real_source: ModelSource) -> None:
    assert artifact_name(real_source, OPTIONS) == "all-MiniLM-L6-v2-b4-s48-int8"
    with pytest.raises(OutputError, match="made from another precision"):
        export_model(real_source, int8.path, replace(OPTIONS, precision="float32"))


def test_runners_of_other_precisions_refuse_it(int8: ExportedArtifact) -> None:
    with pytest.raises(RunnerUnavailable, match="the precision of the artifact: int8; expected float32"):
        open_runner("groq-emulator", int8)
    with pytest.raises(RunnerFailed, match="precision int8, expected float32"):
        check_before_build(int8)
    assert default_runners(int8)[0] == ["torch", "onnxruntime"]


def test_the_command_shows_its_cost(bert_original: Path, mlx: Callable[..., Any], tmp_path: Path) -> None:
    outcome = mlx("export", bert_original, "--sequence-length", "16", "--precision", "int8", "-o", "q")
    assert outcome.code == 0, outcome
    assert "before quantising" in outcome.stdout
    assert "int8        max abs 0.0" in outcome.stdout
    assert "Precision int8" in (tmp_path / "q" / "README.md").read_text()


@pytest.mark.slow
def test_its_spearman_is_within_the_documented_range(int8: ExportedArtifact) -> None:
    if not STSB.exists():
        pytest.skip(f"needs the STS benchmark at {STSB}")
    pairs = load_pairs(str(STSB))
    view = int8.with_graph("dynamic")
    with Embedder(view, "onnxruntime", view.graph_kind) as runner:
        found = runner.encode(pairs.texts)
    spearman = score_pairs(found[: len(pairs)], found[len(pairs) :], pairs.gold).spearman
    assert spearman is not None
    assert abs(100 * spearman - 82.0325) < 0.4
