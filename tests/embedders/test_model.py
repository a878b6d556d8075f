"""Static embeddings as a side of a comparison: sentence-transformers itself embeds, whatever the layout."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.conftest import Mlx, needs
from tests.export.model_kinds import make_static

pytestmark = needs("torch", "sentence_transformers")

TEXTS = ["the quick brown fox", "a", "1, 2; 3!", "this and that", "x y " * 300]


def read_tokens(folder: Path) -> NDArray[np.float32]:
    from safetensors.numpy import load_file

    [tokens] = load_file(folder / "model.safetensors").values()
    return np.asarray(tokens)


def expected(folder: Path, tokens: NDArray[np.float32]) -> NDArray[np.float32]:
    """The mean of the vectors of all tokens of a text, without special tokens, at unit length."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_truncation()
    ids = [tokenizer.encode(text, add_special_tokens=False).ids for text in TEXTS]
    means = np.array([tokens[each].mean(axis=0) for each in ids])
    return np.asarray(means / np.linalg.norm(means, axis=1, keepdims=True), dtype=np.float32)


def keep(folder: Path) -> NDArray[np.float32]:
    return read_tokens(folder)


def make_old(folder: Path) -> NDArray[np.float32]:
    """The layout of sentence-transformers 3 and 4: the module in a folder of its own."""
    tokens = read_tokens(folder)
    (folder / "0_StaticEmbedding").mkdir()
    for name in ("model.safetensors", "tokenizer.json"):
        (folder / name).rename(folder / "0_StaticEmbedding" / name)
    modules = json.loads((folder / "modules.json").read_text("utf-8"))
    modules[0] |= {"path": "0_StaticEmbedding", "type": "sentence_transformers.models.StaticEmbedding"}
    (folder / "modules.json").write_text(json.dumps(modules), "utf-8")
    return tokens


def make_model2vec(folder: Path) -> NDArray[np.float32]:
    """What model2vec itself saves: fewer vectors than tokens, and a weight of each token."""
    from safetensors.numpy import save_file

    tokens = read_tokens(folder)
    mapping = np.arange(len(tokens)) // 2
    weights = np.linspace(0.5, 2, len(tokens), dtype=np.float32)
    tensors: dict[str, NDArray[Any]] = {
        "embeddings": tokens[: len(tokens) // 2 + 1],
        "mapping": mapping,
        "weights": weights,
    }
    save_file(tensors, folder / "model.safetensors")
    kinds = (".", "StaticEmbedding"), ("1_Normalize", "Normalize")
    modules = [
        {"idx": index, "name": str(index), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for index, (path, kind) in enumerate(kinds)
    ]
    (folder / "modules.json").write_text(json.dumps(modules), "utf-8")
    (folder / "config.json").write_text(json.dumps({"model_type": "model2vec", "normalize": True}), "utf-8")
    (folder / "config_sentence_transformers.json").unlink()
    shutil.rmtree(folder / "1_Normalize", ignore_errors=True)
    return np.asarray(tokens[mapping] * weights[:, None])


@pytest.mark.parametrize("change", [keep, make_old, make_model2vec], ids=lambda change: change.__name__)
def test_static_embeddings_are_a_side_of_a_comparison(
    tmp_path: Path, mlx: Mlx, change: Callable[[Path], NDArray[np.float32]]
) -> None:
    folder = make_static(tmp_path)
    tokenizer = folder / "tokenizer.json"
    shutil.copy(tokenizer, tmp_path)
    np.save(tmp_path / "mean.npy", expected(tmp_path, change(folder)))
    (tmp_path / "t.txt").write_text("\n".join(TEXTS), "utf-8")
    outcome = mlx("compare", "mean.npy", "model:./model", "--texts", "t.txt", "-o", "r.json")
    assert outcome.code == 0, outcome
    assert outcome.stdout.startswith("SAME: 2: model:model, compared with 1: mean.npy"), outcome
    assert "no limit of tokens" in outcome.stdout
    [evaluation] = json.loads((tmp_path / "r.json").read_text("utf-8"))["evaluations"]
    assert evaluation["runners"][1]["details"]["sequence_length"] is None


def test_static_weights_that_are_only_a_pickle_are_not_read(tmp_path: Path, mlx: Mlx) -> None:
    folder = make_static(tmp_path)
    make_old(folder)
    weights = folder / "0_StaticEmbedding" / "model.safetensors"
    weights.rename(weights.with_name("pytorch_model.bin"))
    (tmp_path / "t.txt").write_text("\n".join(TEXTS), "utf-8")
    outcome = mlx("compare", "model:./model", "model:./model", "--texts", "t.txt")
    assert outcome.code == 3, outcome
    assert "only as a pickle" in outcome.stderr
