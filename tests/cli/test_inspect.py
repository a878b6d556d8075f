import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.conftest import Mlx

from minilmx.models.artifact import Artifact


def test_inspect_verifies_an_undamaged_artifact(tiny: Path, mlx: Mlx) -> None:
    outcome = mlx("inspect", tiny)
    assert outcome.code == 0, outcome
    assert "verified    yes" in outcome.stdout


def test_inspect_names_the_damaged_file(tiny: Path, mlx: Mlx) -> None:
    with (tiny / "onnx" / "model.onnx").open("r+b") as stream:
        stream.seek(100)
        stream.write(b"\xff")
    outcome = mlx("inspect", tiny)
    assert outcome.code == 3, outcome
    assert "onnx/model.onnx" in outcome.stdout
    assert "no: 1 damaged" in outcome.stdout


@pytest.fixture
def model(tiny_folder: Path, tmp_path: Path) -> Path:
    """A model folder of this test's own, with weights that are never opened."""
    folder = Path(shutil.copytree(tiny_folder, tmp_path / "models" / "tiny"))
    (folder / "model.safetensors").write_bytes(b"")
    return folder


def change(path: Path, **values: object) -> None:
    content = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(content | values))


def test_inspect_says_that_a_model_is_supported(model: Path, mlx: Mlx) -> None:
    outcome = mlx("inspect", model)
    assert outcome.code == 0, outcome
    assert "architecture bert" in outcome.stdout
    assert "embedding    8 numbers, mean pooling, normalized" in outcome.stdout
    assert "tokens       up to 64" in outcome.stdout
    assert "tokenizer    tokenizer.json" in outcome.stdout
    assert "weights      model.safetensors" in outcome.stdout
    assert "supported    yes" in outcome.stdout


def test_inspect_says_that_a_cross_encoder_is_supported(
    reranker: Artifact, reranker_folder: Path, mlx: Mlx
) -> None:
    outcome = mlx("inspect", reranker_folder)
    assert outcome.code == 0, outcome
    assert "score        one per pair of texts (a cross-encoder)" in outcome.stdout
    assert "supported    yes" in outcome.stdout
    assert "cross-encoders with one score: bert, " in mlx("models").stdout
    outcome = mlx("inspect", reranker.path)
    assert outcome.code == 0, outcome
    assert "score       one float32 per pair of texts (a cross-encoder)" in outcome.stdout
    assert "output      score float32 [4, 1]" in outcome.stdout


def test_inspect_shows_the_most_tokens_that_a_model_reads(model: Path, mlx: Mlx) -> None:
    change(model / "sentence_bert_config.json", max_seq_length=24)
    assert "tokens       up to 24" in mlx("inspect", model).stdout


def test_inspect_describes_a_model_as_json(model: Path, mlx: Mlx) -> None:
    (model / "modules.json").unlink()
    (model / "model.safetensors").unlink()
    shards = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    (model / "model.safetensors.index.json").write_text(json.dumps(shards))
    for name in shards["weight_map"].values():
        (model / name).write_bytes(b"")
    (model / "tokenizer.json").rename(model / "vocab.txt")
    outcome = mlx("inspect", model, "--json")
    assert outcome.code == 0, outcome
    assert json.loads(outcome.stdout) == {
        "model": "tiny",
        "revision": None,
        "origin": "folder",
        "architecture": "bert",
        "modules": ["Transformer", "Pooling"],
        "prompts": {},
        "default_prompt": None,
        "output": "sentence_embedding",
        "pooling": "mean",
        "normalized": False,
        "embedding_dimension": 8,
        "max_sequence_length": 64,
        "tokenizer": "made from vocab.txt",
        "weights": "2 shards",
        "supported": True,
        "reason": None,
        "hint": None,
    }


def make_pickled(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def make_lstm(folder: Path) -> None:
    modules = json.loads((folder / "modules.json").read_text())
    modules.insert(2, {"path": "2_LSTM", "type": "sentence_transformers.models.LSTM"})
    (folder / "modules.json").write_text(json.dumps(modules))


def make_reranker(folder: Path) -> None:
    (folder / "modules.json").unlink()
    change(folder / "config.json", architectures=["BertForSequenceClassification"])


def make_named_reranker(folder: Path) -> None:
    change(folder / "config_sentence_transformers.json", model_type="CrossEncoder")


def make_sparse(folder: Path) -> None:
    change(folder / "config_sentence_transformers.json", model_type="SparseEncoder")


def make_foreign_module(folder: Path) -> None:
    modules = json.loads((folder / "modules.json").read_text())
    modules[0]["type"] = "custom_st.Transformer"
    (folder / "modules.json").write_text(json.dumps(modules))


def make_adapter(folder: Path) -> None:
    (folder / "adapter_config.json").write_text("{}")


def make_bare_adapter(folder: Path) -> None:
    make_adapter(folder)
    (folder / "config.json").unlink()
    (folder / "modules.json").unlink()


def make_unsaved(folder: Path) -> None:
    (folder / "config.json").unlink()


@pytest.mark.parametrize(
    ("damage", "reason", "hint"),
    [
        (make_pickled, "has its weights only as a pickle (pytorch_model.bin)", "Save the model with safe"),
        (make_lstm, "modules of tiny: Transformer + Pooling + LSTM", "Choose a model of these modules"),
        (make_reranker, "tiny gives 2 scores per pair of texts", "Choose a cross-encoder with one label"),
        (make_named_reranker, "tiny is a cross-encoder of Transformer + Pooling", "Choose a cross-encoder"),
        (make_sparse, "tiny is a SparseEncoder of sentence-transformers", "Choose a model that gives one"),
        (make_foreign_module, "modules of tiny: custom_st.Transformer", "A model's own code is never run"),
        (make_adapter, "tiny is an adapter (adapter_config.json)", "Merge the adapter"),
        (make_bare_adapter, "tiny is an adapter (adapter_config.json)", "Merge the adapter"),
        (make_unsaved, "not a sentence-transformers model: it has no config.json", "Give a folder that"),
    ],
)
def test_inspect_says_why_a_model_is_not_supported_and_what_to_do(
    model: Path, mlx: Mlx, damage: Callable[[Path], None], reason: str, hint: str
) -> None:
    damage(model)
    outcome = mlx("inspect", model)
    assert outcome.code == 3, outcome
    assert "supported    no: " in outcome.stdout
    assert reason in outcome.stdout
    assert hint in outcome.stdout
    found = json.loads(mlx("inspect", model, "--json").stdout)
    assert found["supported"] is False
    assert reason in found["reason"]
    assert hint in found["hint"]
    # An export says the same.
    refused = mlx("export", model)
    assert refused.code == 3
    assert reason in refused.stderr
    assert hint in refused.stderr


def test_a_snippet_needs_an_artifact(model: Path, mlx: Mlx) -> None:
    outcome = mlx("inspect", model, "--snippet", "onnxruntime")
    assert outcome.code == 3
    assert "is not an artifact: it has no mlx.json" in outcome.stderr


@pytest.mark.parametrize("name", ["nowhere", "./some/where", "empty"])
def test_inspect_of_what_is_neither_an_artifact_nor_a_model(name: str, mlx: Mlx) -> None:
    Path("empty").mkdir()
    outcome = mlx("inspect", name)
    assert outcome.code == 3
    assert f"{Path(name)} is not an artifact" in outcome.stderr


def test_inspect_of_a_model_that_is_out_of_reach(mlx: Mlx) -> None:
    outcome = mlx("inspect", "some-org/no-such-model")
    assert outcome.code == 3
    assert "some-org/no-such-model is not in the hub cache" in outcome.stderr
