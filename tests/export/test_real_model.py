"""all-MiniLM-L6-v2 with its real weights: the graphs, and how other libraries run them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from tests.conftest import GROQFLOW_PYTHON
from tests.export.conftest import embed_fixed
from tokenizers import Tokenizer as HubTokenizer

from minilmx.export.exporter import export_model
from minilmx.export.options import ExportOptions
from minilmx.export.parity import open_session
from minilmx.models.artifact import Artifact
from minilmx.models.manifest import Shape
from minilmx.models.model_folder import ModelSource
from minilmx.models.onnx_file import load_onnx, read_facts
from minilmx.models.sample_texts import sample_texts
from minilmx.models.source import resolve_model
from minilmx.models.tokenizer import Tokenizer

Vectors = NDArray[np.float32]
LIMIT = 1e-5
INPUTS = ("input_ids", "attention_mask", "token_type_ids")

# Section 2 of the GroqFlow contract.
ENCODER_OPS = {
    *("Add", "Cast", "Div", "Erf", "Gather", "MatMul", "Mul", "Pow", "ReduceMean"),
    *("Reshape", "Softmax", "Sqrt", "Sub", "Transpose", "Unsqueeze"),
}
POOLING_OPS = {"ReduceSum", "Clip"}


@pytest.fixture(scope="module")
def texts() -> list[str]:
    return sample_texts(48)


@pytest.fixture(scope="module")
def truth(real_source: ModelSource, texts: list[str]) -> Vectors:
    """sentence-transformers' own embeddings, from PyTorch, truncated as the artifact's."""
    made = pytest.importorskip("sentence_transformers", reason="needs sentence-transformers")
    model = made.SentenceTransformer(str(real_source.folder), device="cpu", local_files_only=True)
    model.max_seq_length = 48
    return np.asarray(model.encode(texts, batch_size=8))


def test_the_fixed_graph_has_exactly_the_operators_of_the_contract(artifact: Artifact) -> None:
    facts = read_facts(load_onnx(artifact.fixed_graph), artifact.fixed_graph)
    assert set(facts.ops) == ENCODER_OPS | POOLING_OPS
    assert facts.domains == ("",)


def test_every_dim_of_the_fixed_graph_is_a_number(artifact: Artifact) -> None:
    model = onnx.shape_inference.infer_shapes(
        onnx.load(artifact.fixed_graph), strict_mode=True, data_prop=True
    )
    values = [*model.graph.input, *model.graph.value_info, *model.graph.output]
    assert len(values) > 300
    for value in values:
        assert all(dim.dim_value > 0 for dim in value.type.tensor_type.shape.dim), value.name


def test_both_graphs_have_the_interface_that_the_design_states(artifact: Artifact) -> None:
    fixed, dynamic = (
        read_facts(load_onnx(path), path) for path in (artifact.fixed_graph, artifact.dynamic_graph)
    )
    assert [str(tensor) for tensor in (*fixed.inputs, *fixed.outputs)] == [
        *(f"{name} int64 [8, 48]" for name in INPUTS),
        "last_hidden_state float32 [8, 48, 384]",
        "sentence_embedding float32 [8, 384]",
    ]
    assert [str(tensor) for tensor in (*dynamic.inputs, *dynamic.outputs)] == [
        *(f"{name} int64 [batch_size, sequence_length]" for name in INPUTS),
        "last_hidden_state float32 [batch_size, sequence_length, 384]",
        "sentence_embedding float32 [batch_size, 384]",
    ]
    for facts in (fixed, dynamic):
        assert (facts.opset, facts.ir_version) == (16, 8)
        assert not facts.external_data
    manifest = artifact.manifest
    assert (manifest.fixed.inputs, manifest.fixed.outputs) == (fixed.inputs, fixed.outputs)
    assert (manifest.dynamic.inputs, manifest.dynamic.outputs) == (dynamic.inputs, dynamic.outputs)


def test_the_manifest_says_where_the_model_came_from(artifact: Artifact) -> None:
    source = artifact.manifest.source
    assert source.id == "sentence-transformers/all-MiniLM-L6-v2"
    assert source.origin == "bundled"
    assert source.weights_sha256.startswith("53aa51172d142c89d9012cce15ae4d6cc0ca6895")
    assert {"minilmx", "onnx", "tokenizers", "torch", "transformers"} == set(artifact.manifest.tools)


def test_one_file_is_called_model_onnx_and_every_file_states_the_same_length(
    artifact: Artifact,
) -> None:
    folder = artifact.path
    assert [path.parent.name for path in folder.rglob("model.onnx")] == ["onnx"]
    assert json.loads((folder / "tokenizer.json").read_text())["truncation"]["max_length"] == 48
    stated = {"tokenizer_config.json": "model_max_length"}
    stated["sentence_bert_config.json"] = "max_seq_length"
    for name, key in stated.items():
        assert json.loads((folder / name).read_text())[key] == 48


def test_the_fixed_graph_gives_sentence_transformers_embeddings(
    artifact: Artifact, texts: list[str], truth: Vectors
) -> None:
    assert np.abs(embed_fixed(artifact, texts) - truth).max() <= LIMIT


@pytest.mark.parametrize("size", [1, 2, 7, 30])
def test_onnxruntime_and_the_folders_tokenizer_alone_give_the_same_embeddings(
    artifact: Artifact, texts: list[str], truth: Vectors, size: int
) -> None:
    # What the model card shows. sentence-transformers' backend="onnx" would do the same, but
    # needs optimum-onnx, which cannot be installed with transformers 5.
    tokenizer = HubTokenizer.from_file(str(artifact.path / "tokenizer.json"))
    session = onnxruntime.InferenceSession(
        artifact.path / "onnx" / "model.onnx", providers=["CPUExecutionProvider"]
    )
    widths = set()
    for start in range(0, len(texts), size):
        encoded = tokenizer.encode_batch(texts[start : start + size])
        feeds = {
            "input_ids": np.array([encoding.ids for encoding in encoded]),
            "attention_mask": np.array([encoding.attention_mask for encoding in encoded]),
            "token_type_ids": np.array([encoding.type_ids for encoding in encoded]),
        }
        widths.add(feeds["input_ids"].shape[1])
        embeddings = session.run(["sentence_embedding"], feeds)[0]
        assert np.abs(embeddings - truth[start : start + size]).max() <= LIMIT
    assert max(widths) == 48
    assert size > 7 or len(widths) > 4


def test_token_embeddings_come_first_and_pool_to_the_sentence_embedding(
    artifact: Artifact, texts: list[str]
) -> None:
    batch = next(Tokenizer(artifact.tokenizer_file, artifact.shape).encode(texts).batches())
    hidden, pooled = open_session(artifact.fixed_graph).run(None, batch.feeds())
    mask = batch.attention_mask[:, :, None]
    mean = (hidden * mask).sum(axis=1) / mask.sum(axis=1)
    assert np.abs(mean / np.linalg.norm(mean, axis=1, keepdims=True) - pooled).max() <= LIMIT


LEGACY = """
import sys
import numpy, onnx, onnxruntime
onnx.checker.check_model(onnx.load(sys.argv[1]), full_check=True)
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
feeds = numpy.load(sys.argv[2])
numpy.save(sys.argv[3], session.run(["sentence_embedding"], dict(feeds))[0])
print(onnx.__version__, onnxruntime.__version__)
"""


def test_groqflows_onnx_and_onnxruntime_give_the_same_embeddings(
    artifact: Artifact, texts: list[str], truth: Vectors, tmp_path: Path
) -> None:
    if not GROQFLOW_PYTHON:
        pytest.skip("set MINILMX_GROQFLOW_PYTHON to the Python that `mlx groq setup` makes")
    batch = next(Tokenizer(artifact.tokenizer_file, artifact.shape).encode(texts).batches())
    np.savez(tmp_path / "feeds.npz", allow_pickle=False, **batch.feeds())
    arguments = [artifact.fixed_graph, tmp_path / "feeds.npz", tmp_path / "out.npy"]
    done = subprocess.run(
        [GROQFLOW_PYTHON, "-I", "-c", LEGACY, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["1.14.0", "1.15.1"]
    embeddings = np.load(tmp_path / "out.npy")
    assert np.abs(embeddings - truth[: len(embeddings)]).max() <= LIMIT


EXPORT = """
import sys
from pathlib import Path
from minilmx.export.exporter import export_model
from minilmx.export.options import ExportOptions
from minilmx.models.manifest import Shape
from minilmx.models.source import bundled_model
print(export_model(bundled_model(), Path(sys.argv[1]), ExportOptions(Shape(8, 48))).digest)
"""


@pytest.mark.slow
def test_another_process_exports_the_same_bytes(artifact: Artifact, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", EXPORT, str(tmp_path / "again")],
        env={**os.environ, "PYTHONHASHSEED": "77", "TZ": "Asia/Tokyo", "LC_ALL": "C"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [artifact.digest]


def test_freezing_the_dynamic_shape_graph_gives_the_same_embeddings(
    artifact: Artifact, texts: list[str], truth: Vectors, tmp_path: Path
) -> None:
    source = resolve_model(str(artifact.path))
    frozen = export_model(source, tmp_path / "frozen", ExportOptions(Shape(5, 40), from_onnx=True))
    assert frozen.report.parity is not None
    assert set(frozen.report.facts.ops) <= ENCODER_OPS | POOLING_OPS
    short = [index for index, text in enumerate(texts) if len(text.split()) < 20]
    embeddings = embed_fixed(frozen, [texts[index] for index in short])
    assert np.abs(embeddings - truth[short]).max() <= LIMIT
    assert np.abs(embeddings - embed_fixed(artifact, texts)[short]).max() <= LIMIT
