"""Every architecture, pooling and opset gives the embeddings of sentence-transformers."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.conftest import MakeModel
from tests.export.conftest import embed_fixed

from minilmx.errors import ExportError
from minilmx.export.exporter import ExportedArtifact, export_model
from minilmx.export.options import ExportOptions
from minilmx.models.artifact import open_artifact
from minilmx.models.manifest import Shape
from minilmx.models.onnx_file import load_onnx, read_facts
from minilmx.models.source import resolve_model

TEXTS = ["a", "", "hello world", "the quick brown fox", "1, 2; 3!", "z" * 40, "x y " * 30]
LIMIT = 1e-5


def export(folder: Path, output: Path, opset: int | None = None) -> ExportedArtifact:
    return export_model(resolve_model(str(folder)), output, ExportOptions(Shape(3, 24), opset))


def expected(folder: Path) -> NDArray[np.float32]:
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    assert model.max_seq_length == 24
    return np.asarray(model.encode(TEXTS, batch_size=3))


@pytest.mark.parametrize(
    ("kind", "pooling", "normalized"),
    [
        ("Bert", "mean", True),
        ("Bert", "cls", False),
        ("Bert", "max", True),
        ("Electra", "max", False),
        ("Roberta", "mean", True),
        ("XLMRoberta", "cls", True),
        ("XLMRoberta", "mean", False),
    ],
)
def test_embeddings_are_those_of_sentence_transformers(
    make_model: MakeModel, tmp_path: Path, kind: str, pooling: str, normalized: bool
) -> None:
    folder = make_model(kind, pooling, normalized)
    artifact = export(folder, tmp_path / "out")
    manifest = artifact.manifest
    assert (manifest.pooling, manifest.normalized) == (pooling, normalized)
    assert manifest.embedding_dimension == 32
    embeddings = embed_fixed(artifact, TEXTS)
    assert np.abs(embeddings - expected(folder)).max() <= LIMIT
    lengths = np.linalg.norm(embeddings, axis=1)
    assert np.allclose(lengths, 1, atol=1e-5) == normalized


@pytest.mark.parametrize("opset", [13, 14, 15, 16, 17])
def test_each_opset_is_kept_and_changes_no_embedding(bert_original: Path, tmp_path: Path, opset: int) -> None:
    artifact = export(bert_original, tmp_path / "out", opset)
    for graph in (artifact.fixed_graph, artifact.dynamic_graph):
        assert read_facts(load_onnx(graph), graph).opset == opset
    assert artifact.manifest.opset == opset
    assert artifact.report.facts.ir_version <= 9
    assert np.abs(embed_fixed(artifact, TEXTS) - expected(bert_original)).max() <= LIMIT


@pytest.mark.parametrize("opset", [12, 18])
def test_another_opset_is_refused(bert_original: Path, tmp_path: Path, opset: int) -> None:
    with pytest.raises(ExportError, match=f"the opset: {opset}; expected 13 to 17"):
        export(bert_original, tmp_path / "out", opset)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("batch_size", "length"), [(1, 3), (1, 40), (7, 5)])
def test_shapes_from_the_smallest_to_all_positions(
    bert_original: Path, tmp_path: Path, batch_size: int, length: int
) -> None:
    options = ExportOptions(Shape(batch_size, length))
    parity = export_model(resolve_model(str(bert_original)), tmp_path / "out", options).report.parity
    assert parity is not None
    assert parity.longest == length
    assert parity.truncated >= 1
    name = f"model_b{batch_size}_s{length}.onnx"
    assert open_artifact(tmp_path / "out").fixed_graph.name == name


@pytest.mark.parametrize("kind", ["Bert", "Roberta"])
def test_a_sequence_longer_than_the_model_has_positions_is_refused(
    make_model: MakeModel, tmp_path: Path, kind: str
) -> None:
    source = resolve_model(str(make_model(kind)))
    with pytest.raises(ExportError, match="sequence length: 41; expected at most 40, the number"):
        export_model(source, tmp_path / "out", ExportOptions(Shape(1, 41)))
    assert not (tmp_path / "out").exists()


def test_a_sequence_without_room_for_a_token_is_refused(bert_original: Path, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="sequence length: 2; expected at least 3"):
        export_model(resolve_model(str(bert_original)), tmp_path / "out", ExportOptions(Shape(1, 2)))
    assert list(tmp_path.iterdir()) == []
