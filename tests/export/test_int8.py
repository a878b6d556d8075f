"""An int8 artifact: made from a proven float32 graph, smaller, with its cost measured."""

import pickle
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, numpy_helper
from tests.conftest import MakeOnce, Mlx

from minilmx.embedding.embedder import Embedder
from minilmx.errors import ExportError, OutputError, RunnerFailed, RunnerUnavailable
from minilmx.eval.datasets.pairs import load_pairs
from minilmx.eval.metrics.correlation import correlate, pair_similarities
from minilmx.export.exporter import ExportedArtifact, export_model
from minilmx.export.options import ExportOptions
from minilmx.export.plan import artifact_name
from minilmx.export.quantize import measure_cost
from minilmx.models.artifact import Artifact, open_artifact
from minilmx.models.manifest import GraphKind, Shape
from minilmx.models.model_folder import ModelSource
from minilmx.models.onnx_file import load_onnx, read_facts
from minilmx.models.sample_texts import sample_texts
from minilmx.models.tokenizer import Tokenizer
from minilmx.runners.groq.preflight import check_before_build
from minilmx.runners.registry import default_runners, open_runner

STSB = Path(__file__).parents[3] / "shared" / "stsb" / "stsb-en-test.csv"


OPTIONS = ExportOptions(Shape(4, 48), segments=4, precision="int8")


@pytest.fixture(scope="session")
def int8(real_source: ModelSource, make_once: MakeOnce) -> ExportedArtifact:
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
        facts = read_facts(load_onnx(view.graph_file), view.graph_file)
        # 36 weights; the query, key and value of each of 6 layers share their activations.
        assert (facts.ops["QuantizeLinear"], facts.ops["DequantizeLinear"]) == (24, 36 + 24)
        assert facts.domains == ("",)
        assert view.graph_file.stat().st_size < 60e6  # float32 has 90 MB


@pytest.mark.parametrize("graph", ["fixed", "dynamic", "packed"])
def test_onnxruntime_multiplies_integers(int8: ExportedArtifact, graph: str, tmp_path: Path) -> None:
    settings = onnxruntime.SessionOptions()
    settings.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    settings.log_severity_level = 3
    onnxruntime.InferenceSession(int8.with_graph(graph).graph_file, settings)
    file = tmp_path / "optimized.onnx"
    ops = read_facts(load_onnx(file), file).ops
    assert (ops["MatMulIntegerToFloat"], ops.get("DequantizeLinear")) == (36, None)


def test_its_integers_are_exact_on_every_cpu(int8: ExportedArtifact) -> None:
    """Without VNNI, the sum of two products of a uint8 and a weight must fit into 16 bits."""
    weights = [
        numpy_helper.to_array(tensor)
        for tensor in load_onnx(int8.graph_file).graph.initializer
        if tensor.data_type == TensorProto.INT8
    ]
    largest = max(int(np.abs(values.astype(int)).max()) for values in weights)
    assert largest == 64
    assert 2 * 255 * largest <= 2**15 - 1


@pytest.mark.parametrize("graph", ["fixed", "dynamic", "packed"])
def test_an_embedding_is_the_same_alone_in_any_batch_and_in_any_order(
    int8: ExportedArtifact, graph: str
) -> None:
    texts = [*load_pairs("bundled").texts[::40], "", "word " * 60, "Ein Zug fährt nach Köln."]
    order = np.random.default_rng(0).permutation(len(texts))
    with Embedder(int8, "onnxruntime", graph) as embedder:
        together = embedder.encode(texts).astype(np.float64)
        others = [
            np.concatenate(
                [embedder.encode(texts[start : start + size]) for start in range(0, len(texts), size)]
            )
            for size in (1, 2, 7, 32)
        ]
        others.append(embedder.encode([texts[row] for row in order])[np.argsort(order)])
    for found in others:
        assert np.abs(found - together).max() < 1e-6
        assert 1 - (found * together).sum(axis=1).min() < 1e-6


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


def test_before_it_is_quantised_the_real_model_has_the_embeddings_of_sentence_transformers(
    int8: ExportedArtifact,
) -> None:
    report = int8.report.text_parity
    assert report is not None
    assert report.reference.startswith("sentence-transformers ")
    assert report.max_abs <= 1e-5
    assert not report.overridden


def test_the_cost_is_measured_against_the_model(int8: ExportedArtifact) -> None:
    parity, cost = int8.report.parity, int8.report.cost
    assert parity is not None and parity.max_abs_embedding <= 1e-5
    assert cost is not None
    assert 1e-3 < cost.max_abs < 0.1
    assert 0.95 < cost.min_cosine < 1


def test_the_cost_is_that_of_the_worst_graph(int8: ExportedArtifact, artifact: Artifact) -> None:
    texts = sample_texts(int8.shape.sequence_length)
    with Embedder(artifact, "onnxruntime", "dynamic") as runner:
        expected = runner.encode(texts)
    costs = {}
    for kind in ("fixed", "dynamic", "packed"):
        with Embedder(int8, "onnxruntime", kind) as runner:
            costs[kind] = float(np.abs(runner.encode(texts) - expected).max())
    cost = int8.report.cost
    assert cost is not None
    assert cost.max_abs == pytest.approx(max(costs.values()), abs=1e-5)


def test_a_graph_that_quantising_damages_is_refused(int8: ExportedArtifact) -> None:
    def run(batch: Any) -> Any:
        rows = np.random.default_rng(0).standard_normal((4, 384)).astype(np.float32)
        return rows, rows

    other_model: Any = SimpleNamespace(run=run)
    graphs, tokenizer = {GraphKind.FIXED: int8.fixed_graph}, Tokenizer(int8.tokenizer_file, int8.shape)
    with pytest.raises(ExportError, match=r"cosine similarity .* after quantising; expected at least 0\.9"):
        measure_cost(graphs, OPTIONS, tokenizer, other_model)


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


def test_the_command_shows_its_cost(bert_original: Path, mlx: Mlx, tmp_path: Path) -> None:
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
    spearman = correlate(pair_similarities(found, "cosine"), pairs.gold).spearman
    assert spearman is not None
    assert abs(100 * spearman - 82.0325) < 0.4
