"""Model folders that cannot be exported: each error names the fault."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minilmx.errors import ExportError, MinilmxError, ModelError
from minilmx.export.exporter import export_model
from minilmx.export.options import ExportOptions
from minilmx.models.manifest import Shape
from minilmx.models.source import resolve_model

Tensors = dict[str, Any]


@pytest.fixture
def folder(bert_original: Path, tmp_path: Path) -> Path:
    """A small BERT of this test's own, to damage."""
    return Path(shutil.copytree(bert_original, tmp_path / "models" / "bert"))


def export(folder: Path) -> None:
    export_model(resolve_model(str(folder)), folder.parents[1] / "out", ExportOptions(Shape(2, 8)))


def refusal(folder: Path, kind: type[MinilmxError] = ModelError) -> str:
    with pytest.raises(kind) as caught:
        export(folder)
    left = {path.name for path in folder.parents[1].iterdir()}
    assert left == {"models"}
    return str(caught.value)


def change_json(path: Path, **values: object) -> None:
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | values))


def change_weights(folder: Path, change: Callable[[Tensors], object]) -> None:
    from safetensors.numpy import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def put_nan(tensors: Tensors) -> None:
    name = "encoder.layer.1.output.dense.weight"
    tensors[name] = np.full_like(tensors[name], np.nan)


def test_an_untouched_copy_is_exported(folder: Path) -> None:
    export(folder)
    assert (folder.parents[1] / "out" / "mlx.json").is_file()


def test_a_folder_that_is_not_a_model(tmp_path: Path) -> None:
    folder = tmp_path / "models" / "holiday photos"
    folder.mkdir(parents=True)
    assert "is not a sentence-transformers model: it has no config.json" in refusal(folder)


def test_a_checkpoint_that_is_only_a_pickle(folder: Path) -> None:
    weights = folder / "model.safetensors"
    mark = folder / "unpickled"
    weights.unlink()
    pickle = f"cbuiltins\nexec\n(Vopen({str(mark)!r}, 'w')\ntR."
    (folder / "pytorch_model.bin").write_text(pickle)
    before = (folder / "pytorch_model.bin").stat().st_atime_ns
    os.utime(folder / "pytorch_model.bin", ns=(before - 10**15, before - 10**15))
    stamp = (folder / "pytorch_model.bin").stat().st_atime_ns
    assert "only as a pickle (pytorch_model.bin), which can run code and is never opened" in refusal(folder)
    assert (folder / "pytorch_model.bin").stat().st_atime_ns == stamp
    assert not mark.exists()


def test_a_pickle_beside_safetensors_is_left_alone(folder: Path) -> None:
    mark = folder / "unpickled"
    pickle = f"cbuiltins\nexec\n(Vopen({str(mark)!r}, 'w')\ntR."
    (folder / "pytorch_model.bin").write_text(pickle)
    export(folder)
    assert not mark.exists()


@pytest.mark.parametrize("size", [0, 20, -100])
def test_weights_that_were_cut_short(folder: Path, size: int) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:size])
    message = refusal(folder)
    assert f"{folder}: cannot be loaded as a model" in message


def test_weights_with_tensors_missing(folder: Path) -> None:
    def remove(tensors: Tensors) -> None:
        del tensors["encoder.layer.0.output.dense.weight"]
        del tensors["encoder.layer.0.output.dense.bias"]

    change_weights(folder, remove)
    message = refusal(folder)
    assert "2 tensors are missing" in message
    assert "encoder.layer.0.output.dense.bias" in message


def test_weights_of_another_size_than_the_config_says(folder: Path) -> None:
    change_json(folder / "config.json", vocab_size=99)
    message = refusal(folder)
    assert "word_embeddings.weight is [140, 32]; expected [99, 32], as config.json says" in message


def test_weights_with_a_number_that_is_not_finite(folder: Path) -> None:
    change_weights(folder, put_nan)
    assert "sentence_embedding differs from the model's by up to nan" in refusal(folder, ExportError)


@pytest.mark.parametrize("architecture", ["xlnet", "gpt2", "", None])
def test_an_architecture_outside_the_family(folder: Path, architecture: object) -> None:
    change_json(folder / "config.json", model_type=architecture)
    message = refusal(folder)
    assert f"bert: architecture {architecture!r}; expected one of" in message
    assert "bert, electra, roberta, xlm-roberta, mpnet" in message


@pytest.mark.parametrize(
    "values", [{"hidden_size": "x"}, {"num_attention_heads": 5}, {"hidden_act": "nope"}], ids=str
)
def test_a_config_that_transformers_refuses(folder: Path, values: dict[str, Any]) -> None:
    change_json(folder / "config.json", **values)
    assert f"{folder}: cannot be loaded as a model" in refusal(folder)


@pytest.mark.parametrize(
    "name", ["config.json", "modules.json", "1_Pooling/config.json", "tokenizer_config.json"]
)
@pytest.mark.parametrize(
    ("content", "words"),
    [("{", "cannot be read as JSON"), ('"text"', "holds a JSON str; expected a ")],
)
def test_a_settings_file_that_is_not_json(folder: Path, name: str, content: str, words: str) -> None:
    (folder / name).write_text(content)
    message = refusal(folder)
    assert f"{folder / name} {words}" in message


@pytest.mark.parametrize("name", ["config.json", "1_Pooling/config.json", "tokenizer.json"])
def test_a_file_that_every_model_needs(folder: Path, name: str) -> None:
    (folder / name).unlink()
    assert f"{folder}" in (message := refusal(folder))
    assert f"no {name}" in message


def test_a_tokenizer_file_that_is_not_one(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("{}")
    assert f"{folder / 'tokenizer.json'} is not a tokenizer file" in refusal(folder, MinilmxError)


def module(kind: str, path: str = "") -> dict[str, str]:
    return {"path": path, "type": f"sentence_transformers.models.{kind}"}


TRANSFORMER, POOLING = module("Transformer"), module("Pooling", "1_Pooling")


@pytest.mark.parametrize(
    ("modules", "words"),
    [
        ([TRANSFORMER, POOLING, module("LSTM", "2_LSTM")], "Transformer + Pooling + LSTM"),
        ([TRANSFORMER], "Transformer; expected Transformer + Pooling, then Dense and Normalize modules"),
        ([POOLING, TRANSFORMER], "Pooling + Transformer"),
        ([TRANSFORMER, module("Normalize"), POOLING], "Transformer + Normalize + Pooling"),
        ([module("CLIPModel")], "CLIPModel"),
        ([], "none; expected Transformer + Pooling, then Dense and"),
        ([{"path": ""}], "expected modules with a type and a path"),
        ([1], "expected modules with a type and a path"),
    ],
    ids=["lstm", "no pooling", "order", "normalize first", "clip", "none", "no type", "number"],
)
def test_modules_that_minilmx_does_not_know(folder: Path, modules: object, words: str) -> None:
    (folder / "modules.json").write_text(json.dumps(modules))
    assert words in refusal(folder)


@pytest.mark.parametrize(
    ("pooling", "words"),
    [
        ({"pooling_mode": ["mean", "sum"]}, ": mean + sum; expected one or several of mean, cls, max"),
        ({"pooling_mode": ["mean", "mean"]}, ": mean + mean; expected one or several of mean, cls, max"),
        ({"pooling_mode": "sum"}, ": sum; expected one or several of mean, cls, max"),
        ({"pooling_mode_sum_tokens": True}, ": pooling_mode_sum_tokens; expected one or several of mean,"),
        ({"pooling_mode_mean_tokens": False}, ": none; expected one or several of mean, cls, max"),
    ],
    ids=["one of two", "twice", "one", "older form", "none"],
)
def test_poolings_that_minilmx_does_not_know(folder: Path, pooling: dict[str, object], words: str) -> None:
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    message = refusal(folder)
    assert words in message


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"activation_function": "os.system"}, "activation_function 'os.system'; expected one of torch.nn"),
        ({"out_features": "8"}, "out_features '8'; expected a number from 1"),
        ({"bias": 1}, "bias 1; expected true or false"),
        ({"module_input_name": "token_embeddings"}, "module_input_name 'token_embeddings'; expected sent"),
        ({"use_residual": True}, "use_residual True; expected it unset"),
        ({}, "not a safetensors file"),
    ],
    ids=lambda value: next(iter(value), "weights") if isinstance(value, dict) else "",
)
def test_a_dense_module_that_is_not_a_layer_and_an_activation(
    folder: Path, settings: dict[str, object], words: str
) -> None:
    (folder / "modules.json").write_text(json.dumps([TRANSFORMER, POOLING, module("Dense", "2_Dense")]))
    (folder / "2_Dense").mkdir()
    (folder / "2_Dense" / "config.json").write_text(json.dumps({"out_features": 8, "bias": True} | settings))
    (folder / "2_Dense" / "model.safetensors").write_bytes(b"")
    assert words in refusal(folder)


def test_a_dense_module_whose_weights_are_missing(folder: Path) -> None:
    (folder / "modules.json").write_text(json.dumps([TRANSFORMER, POOLING, module("Dense", "2_Dense")]))
    (folder / "2_Dense").mkdir()
    (folder / "2_Dense" / "config.json").write_text(json.dumps({"out_features": 8, "bias": True}))
    assert "2_Dense has no model.safetensors; expected the weights of a Dense module" in refusal(folder)


@pytest.mark.parametrize("key", ["mean_tokens", "cls_token", "max_tokens"])
def test_the_older_form_of_a_pooling_is_read(folder: Path, key: str) -> None:
    content = {"word_embedding_dimension": 32, f"pooling_mode_{key}": True}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(content))
    export(folder)
    manifest = json.loads((folder.parents[1] / "out" / "mlx.json").read_text())
    assert manifest["pooling"] == key.split("_")[0]


def test_a_tokenizer_with_more_ids_than_the_model_has(folder: Path) -> None:
    content = json.loads((folder / "tokenizer.json").read_text())
    content["model"]["vocab"]["a"] = 5000
    (folder / "tokenizer.json").write_text(json.dumps(content))
    message = refusal(folder)
    assert "the token 'a' has the id 5000, and the model has 140 token embeddings" in message
