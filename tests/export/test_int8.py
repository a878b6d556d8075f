"""An int8 artifact: made from a proven float32 graph, smaller, and honest about its cost."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minilmx.embedding.embedder import Embedder
from minilmx.errors import ExportError, OutputError, RunnerFailed, RunnerUnavailable
from minilmx.eval.datasets.pairs import load_pairs
from minilmx.eval.metrics.correlation import score_pairs
from minilmx.export.exporter import ExportReport, artifact_name, export_model
from minilmx.export.quantize import measure_cost
from minilmx.models.artifact import Artifact, open_artifact
from minilmx.models.manifest import Shape
from minilmx.models.onnx_file import load_onnx, read_facts
from minilmx.models.source import ModelSource
from minilmx.runners.groq.preflight import check_before_build
from minilmx.runners.registry import default_runners, open_runner

STSB = Path(__file__).parents[3] / "shared" / "stsb" / "stsb-en-test.csv"


@pytest.fixture(scope="session")
def report(real_source: ModelSource, make_once: Callable[..., Path]) -> ExportReport:
    def export(folder: Path) -> None:
        made = export_model(real_source, folder / "int8", Shape(4, 48), segments=4, precision="int8")
        (folder / "report.pickle").write_bytes(pickle.dumps(made))

    saved = (make_once("int8", export) / "report.pickle").read_bytes()
    made: ExportReport = pickle.loads(saved)  # noqa: S301 - this run's own
    return made


def test_its_matrix_products_are_int8_and_its_operators_onnx_own(report: ExportReport) -> None:
    artifact = open_artifact(report.artifact.path)
    assert artifact.manifest.precision == "int8"
    for view in (artifact, artifact.with_graph("dynamic"), artifact.with_graph("packed")):
        facts = read_facts(load_onnx(view.graph_file))
        assert facts.ops["MatMulInteger"] == 36
        assert facts.domains == ("",)
        assert view.graph_file.stat().st_size < 60e6  # float32 has 90 MB


def test_every_graph_of_it_gives_nearly_the_models_embeddings(
    report: ExportReport, artifact: Artifact
) -> None:
    texts = ["A cat sleeps.", "The committee postponed its decision.", "word " * 60, "", "Ein Zug"]
    with Embedder(artifact, "onnxruntime", artifact.graph_kind) as runner:
        expected = runner.encode(texts)
    int8 = report.artifact
    for view in (int8, int8.with_graph("dynamic"), int8.with_graph("packed")):
        with Embedder(view, "onnxruntime", view.graph_kind) as runner:
            found = runner.encode(texts)
        assert 1e-4 < np.abs(found - expected).max() < 0.1
        assert (found * expected).sum(axis=1).min() > 0.95


def test_the_cost_is_measured_against_the_model(report: ExportReport) -> None:
    assert report.parity is not None and report.parity.max_abs_embedding <= 1e-5
    assert report.cost is not None
    assert 1e-3 < report.cost.max_abs < 0.1
    assert 0.95 < report.cost.min_cosine < 1


def test_a_graph_that_is_damaged_by_it_is_refused(report: ExportReport) -> None:
    artifact = report.artifact

    def other_model(batch: Any) -> Any:
        rows = np.random.default_rng(0).standard_normal((4, 384)).astype(np.float32)
        return rows, rows

    with pytest.raises(ExportError, match=r"int8 does not suit this model: .* the limit is 0\.9"):
        measure_cost(artifact.fixed_graph, artifact.tokenizer_file, artifact.shape, other_model)


def test_it_is_not_taken_for_the_float32_artifact(report: ExportReport, real_source: ModelSource) -> None:
    assert artifact_name(real_source, Shape(4, 48), "int8") == "all-MiniLM-L6-v2-b4-s48-int8"
    with pytest.raises(OutputError, match="made from another precision"):
        export_model(real_source, report.artifact.path, Shape(4, 48), segments=4)


def test_runners_of_other_precisions_refuse_it(report: ExportReport) -> None:
    with pytest.raises(
        RunnerUnavailable, match="the artifact is int8; expected float32, which the emulation rounds"
    ):
        open_runner("groq-emulator", report.artifact)
    with pytest.raises(RunnerFailed, match="it is int8, and GroqFlow converts float32 graphs itself"):
        check_before_build(report.artifact)
    assert default_runners(report.artifact)[0] == ["torch", "onnxruntime"]


def test_the_command_says_what_it_costs(bert_original: Path, mlx: Callable[..., Any], tmp_path: Path) -> None:
    outcome = mlx("export", bert_original, "--sequence-length", "16", "--precision", "int8", "-o", "q")
    assert outcome.code == 0, outcome
    assert "before quantising" in outcome.stdout
    assert "int8        max abs 0.0" in outcome.stdout
    assert "Precision int8" in (tmp_path / "q" / "README.md").read_text()


@pytest.mark.slow
def test_its_spearman_is_within_what_is_promised(report: ExportReport) -> None:
    if not STSB.exists():
        pytest.skip(f"needs the STS benchmark at {STSB}")
    pairs = load_pairs(str(STSB))
    view = report.artifact.with_graph("dynamic")
    with Embedder(view, "onnxruntime", view.graph_kind) as runner:
        found = runner.encode(pairs.texts)
    spearman = score_pairs(found[: len(pairs)], found[len(pairs) :], pairs.gold).spearman
    assert spearman is not None
    assert abs(100 * spearman - 82.0325) < 0.4
