"""The table of model kinds: each gives sentence-transformers' own vectors, or is refused with what to do."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.conftest import MakeOnce, Mlx, needs
from tests.export.model_kinds import KINDS, REFUSED, make_kind, make_refused

import minilmx
from minilmx.errors import ArtifactError, EvalError, MinilmxError
from minilmx.eval.consumers.form import require_own_form
from minilmx.eval.consumers.snippets.template import render_snippet
from minilmx.export.parity import open_session, relative_difference
from minilmx.models.architectures import ARCHITECTURES
from minilmx.models.artifact import Artifact, open_artifact
from minilmx.models.manifest import POOLINGS
from minilmx.models.read_manifest import parse_manifest
from minilmx.models.tokenizer import open_tokenizer

TEXTS = ["a", "", "the quick brown fox", "1, 2; 3!", "this and that", "z" * 40, "x y " * 30]
LIMIT = 1e-5
pytestmark = needs("torch", "sentence_transformers")


def reference(folder: Path, **settings: Any) -> Any:
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    model.max_seq_length = 24
    return model.encode(TEXTS, batch_size=3, **settings)


# Every kind takes some two seconds: those of BERT, and the two that differ most, are in every run.
QUICK = ("bert", "mpnet", "qwen3")


@pytest.mark.parametrize(
    "name",
    [
        name if name.startswith(QUICK) else pytest.param(name, marks=pytest.mark.slow, id=name)
        for name in KINDS
    ],
)
def test_a_kind_gives_the_vectors_of_sentence_transformers(name: str, tmp_path: Path) -> None:
    folder = make_kind(name, tmp_path)
    artifact = minilmx.export_model(str(folder), tmp_path / "out", batch_size=2, sequence_length=24)
    expected = reference(folder)
    for graph in ("fixed", "dynamic"):
        with minilmx.load(artifact, graph=graph) as model:
            found = model.encode(TEXTS)
        assert found.shape == expected.shape
        assert relative_difference(found, expected) <= LIMIT, graph
    manifest = artifact.manifest
    assert manifest.opset == 16  # which GroqFlow takes
    # What follows the encoder, as sentence-transformers reads it from the artifact, gives the same vectors.
    assert np.abs(_finish(artifact.path) - expected[:2]).max() <= LIMIT * np.abs(expected).max()


def _finish(path: Path) -> Any:
    """The token embeddings of two texts, through the modules that the artifact's modules.json names."""
    import torch
    from sentence_transformers import models

    artifact = open_artifact(path)
    [batch] = open_tokenizer(artifact, artifact.prompt).encode(TEXTS[:2]).batches()
    hidden = open_session(artifact.fixed_graph).run(["last_hidden_state"], batch.feeds())[0]
    arrays = {"token_embeddings": hidden, "attention_mask": batch.attention_mask}
    features = {name: torch.from_numpy(array) for name, array in arrays.items()}
    for stated in json.loads((path / "modules.json").read_text())[1:]:
        kind = getattr(models, stated["type"].rsplit(".", 1)[-1])
        features = kind.load(str(path), subfolder=stated["path"])(features)
    pooled = features["sentence_embedding"].detach().numpy()
    return pooled[:, : artifact.manifest.embedding_dimension]


@pytest.mark.parametrize("name", REFUSED)
def test_a_kind_is_refused_with_what_to_do(name: str, tmp_path: Path, mlx: Mlx) -> None:
    folder = make_refused(name, tmp_path)
    with pytest.raises(MinilmxError) as caught:
        minilmx.export_model(str(folder), tmp_path / "out")
    assert REFUSED[name] in str(caught.value)
    assert caught.value.hint
    assert not (tmp_path / "out").exists()
    shown = mlx("inspect", folder)  # says the same, before anything is loaded
    assert shown.code == 3
    assert caught.value.message in shown.stdout
    assert caught.value.hint in shown.stdout


def test_every_architecture_and_pooling_that_is_offered_is_in_the_table() -> None:
    kinds = KINDS.values()
    assert {each.model_type for each in kinds} == set(ARCHITECTURES)
    assert {mode for each in kinds for mode in each.modules[0].split("+")} == set(POOLINGS)
    assert len(KINDS) >= 28
    assert len(KINDS) + len(REFUSED) >= 33


@pytest.fixture(scope="module")
def dense(make_once: MakeOnce) -> Artifact:
    """Two poolings, a Dense module and a normalisation."""
    name = "bert, two poolings and Dense"

    def export(folder: Path) -> None:
        model = make_kind(name, folder / "made")
        minilmx.export_model(str(model), folder / "out", batch_size=2, sequence_length=24)

    return open_artifact(make_once("dense", export) / "out")


def test_the_manifest_states_what_follows_the_encoder(dense: Artifact) -> None:
    stated = json.loads((dense.path / "mlx.json").read_text())
    assert stated["pooling"] == "mean+lasttoken"
    assert stated["head"] == [{"activation": "relu", "bias": True, "out_features": 16, "type": "Dense"}]
    assert (stated["token_dimension"], stated["embedding_dimension"]) == (32, 16)
    assert stated["normalized"] is True
    require_own_form(dense)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"pooling": "mean+sum"}, "pooling: 'mean+sum'; expected mean, cls, max"),
        ({"pooling": "mean+mean"}, "pooling: 'mean+mean'; expected mean, cls, max"),
        ({"pooling": ""}, "pooling: ''; expected mean, cls, max"),
        ({"head": []}, "head: embeddings of 64 numbers; expected 16"),
        ({"head": [{"type": "Python"}]}, "head"),
        (
            {"head": [{"type": "Dense", "out_features": 16, "bias": True, "activation": "os.system"}]},
            "expected identity, tanh, relu, gelu, sigmoid",
        ),
    ],
    ids=["no pooling", "twice", "empty", "width", "module", "activation"],
)
def test_a_manifest_of_other_modules_is_refused(
    dense: Artifact, changes: dict[str, object], words: str
) -> None:
    content = json.loads((dense.path / "mlx.json").read_text()) | changes
    with pytest.raises(ArtifactError) as caught:
        parse_manifest(json.dumps(content).encode())
    assert words in str(caught.value)


@pytest.mark.parametrize("name", ["fastembed", "optimum"])
def test_a_snippet_that_pools_itself_is_not_offered(dense: Artifact, name: str) -> None:
    with pytest.raises(EvalError, match=r"mean\+lasttoken pooling and more modules, which") as caught:
        render_snippet(name, dense)
    assert caught.value.hint
    assert "sentence_embedding" in render_snippet("onnxruntime", dense)


def test_a_check_names_only_the_libraries_that_can_do_it(dense: Artifact) -> None:
    found = {finding.consumer: finding for finding in minilmx.check(dense)}
    assert found["onnxruntime"].state == "agrees"
    assert not {"fastembed", "optimum"} & set(found)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"pack": 4}, "the model cannot be packed: mean+lasttoken pooling"),
        ({"dimension": 8}, "dimension: 8; expected none for a model with Dense modules"),
        ({"fixed_consumers": True}, "has Dense modules; expected none"),
    ],
    ids=["packed", "dimension", "fixed consumers"],
)
def test_what_a_dense_module_rules_out(tmp_path: Path, options: dict[str, Any], words: str) -> None:
    model = make_kind("bert, two poolings and Dense", tmp_path)
    with pytest.raises(MinilmxError) as caught:
        minilmx.export_model(str(model), tmp_path / "out", sequence_length=24, **options)
    assert words in str(caught.value)
    assert caught.value.hint


def test_an_architecture_that_cannot_be_packed_is_named(tmp_path: Path) -> None:
    model = make_kind("distilbert", tmp_path)
    with pytest.raises(MinilmxError, match="architecture 'distilbert'; expected bert, electra"):
        minilmx.export_model(str(model), tmp_path / "out", sequence_length=24, pack=4)


def test_inspect_and_models_use_the_same_words(tmp_path: Path, mlx: Mlx) -> None:
    shown = mlx("inspect", make_kind("qwen3", tmp_path / "qwen")).stdout
    assert "architecture qwen3\n" in shown
    assert "embedding    32 numbers, lasttoken pooling, normalized" in shown
    shown = mlx("inspect", make_kind("bert, two poolings and Dense", tmp_path / "bert")).stdout
    assert "embedding    16 numbers, mean+lasttoken pooling, normalized" in shown
    assert "modules      Transformer + Pooling + Dense + Normalize\n" in shown
    assert "prompts" not in shown
    prompted = make_kind("bert, prompts", tmp_path / "prompts")
    assert "prompts      query; by default query\n" in mlx("inspect", prompted).stdout
    stated = json.loads(mlx("inspect", prompted, "--json").stdout)
    assert stated["modules"] == ["Transformer", "Pooling", "Normalize"]
    assert stated["prompts"]["query"]
    listed = mlx("models").stdout
    for name, architecture in ARCHITECTURES.items():
        assert re.search(rf"^architecture {name} +{re.escape(architecture.models)}$", listed, re.M), name
