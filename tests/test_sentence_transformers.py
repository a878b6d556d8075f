"""The artifact in sentence-transformers 6, which opens no ONNX file without optimum."""

import importlib.metadata
import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from msgspec import structs

import minilmx
from minilmx.errors import OutputError
from minilmx.models.artifact import Artifact, open_artifact, seal

TEXTS = ["One sentence.", "", "A sentence that is longer than the artifact reads. " * 20, "Another one."]


@pytest.fixture(scope="module")
def library() -> ModuleType:
    """sentence-transformers, which takes seconds to import."""
    found: ModuleType = pytest.importorskip("sentence_transformers", reason="needs sentence-transformers 6")
    if int(importlib.metadata.version("sentence_transformers").split(".")[0]) < 6:
        pytest.skip("needs sentence-transformers 6")
    return found


@pytest.fixture(scope="module")
def ours(library: ModuleType) -> ModuleType:
    return importlib.import_module("minilmx.sentence_transformers")


@pytest.mark.parametrize("graph", ["dynamic", "fixed"])
def test_it_opens_the_artifact_and_gives_our_vectors(
    library: ModuleType, ours: ModuleType, artifact: Artifact, graph: str
) -> None:
    with minilmx.load(artifact, graph=graph) as loaded:
        expected = loaded.encode(TEXTS)
    model = ours.SentenceTransformer(artifact.path, graph=graph)
    found = model.encode(TEXTS, batch_size=3)
    assert isinstance(model, library.SentenceTransformer)
    assert found.dtype == np.float32
    assert np.abs(found - expected).max() <= 1e-6
    assert (model.get_embedding_dimension(), model.max_seq_length) == (384, 48)
    assert model.similarity_fn_name == "cosine"


def test_it_gives_the_vectors_of_the_pytorch_model(
    library: ModuleType, ours: ModuleType, artifact: Artifact
) -> None:
    from minilmx.models.source import bundled_model

    source = bundled_model()
    assert source is not None
    original = library.SentenceTransformer(str(source.folder), device="cpu")
    original.max_seq_length = 48
    difference = ours.SentenceTransformer(artifact.path).encode(TEXTS) - original.encode(TEXTS)
    assert np.abs(difference).max() <= 1e-5


def test_without_this_class_it_opens_no_artifact(library: ModuleType, artifact: Artifact) -> None:
    if importlib.util.find_spec("optimum") is not None:
        pytest.skip("needs an environment without optimum")
    with pytest.raises(Exception, match="requires installing Optimum"):
        library.SentenceTransformer(str(artifact.path), backend="onnx")


def test_prompts_are_prepended_once_and_can_be_chosen(ours: ModuleType, tiny: Path) -> None:
    manifest = open_artifact(tiny).manifest
    prompts = {"query": "q q ", "document": "d "}
    artifact = seal(tiny, structs.replace(manifest, prompts=prompts, default_prompt="query"))
    model = ours.SentenceTransformer(artifact)
    for name in (None, "document"):
        with minilmx.load(artifact, prompt=name) as loaded:
            expected = loaded.encode(["a b c", "d e"])
        assert np.allclose(model.encode(["a b c", "d e"], prompt_name=name), expected, atol=1e-6)
    assert np.allclose(model.encode_document(["a b c"]), model.encode(["d a b c"], prompt=""), atol=1e-6)


def test_the_module_can_be_one_of_several(library: ModuleType, ours: ModuleType, artifact: Artifact) -> None:
    from sentence_transformers.base.modules import Normalize

    model = library.SentenceTransformer(modules=[ours.Module(artifact), Normalize()], device="cpu")
    assert model.encode(TEXTS).shape == (4, 384)


def test_it_is_not_saved(ours: ModuleType, tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="sentence-transformers cannot save an artifact"):
        ours.SentenceTransformer(tiny).save(str(tmp_path / "saved"))
