"""A file of an artifact is exchanged after the artifact was opened and verified."""

import importlib.util
import shutil
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from onnx import numpy_helper
from tests.conftest import reseal

import minilmx
from minilmx.embedding.corpus.worker import Job, ShardEmbedder
from minilmx.embedding.embedder import Embedder
from minilmx.errors import ArtifactError
from minilmx.eval.bisect.bisect import bisect
from minilmx.eval.datasets.pairs import load_pairs
from minilmx.models.artifact import Artifact, open_artifact
from minilmx.models.manifest import GraphKind
from minilmx.models.onnx_file import load_graph
from minilmx.runners.base import Runner, RunnerEntry
from minilmx.runners.groq.preflight import check_before_build

GRAPH = "onnx/model.onnx"


def other_weights(path: Path) -> None:
    """A valid graph of the same interface and size, with other embeddings."""
    model = onnx.load(str(path))
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT:
            tensor.CopyFrom(numpy_helper.from_array(-numpy_helper.to_array(tensor), tensor.name))
    path.write_bytes(model.SerializeToString())


def other_words(path: Path) -> None:
    """A valid tokenizer of the same size, in which two letters have changed places."""
    text = path.read_text("utf-8")
    path.write_text(text.replace('"a":', '"#":').replace('"b":', '"a":').replace('"#":', '"b":'), "utf-8")


def replace(path: Path, change: Callable[[Path], None]) -> None:
    """Put a changed copy into a file's place, as `mv` does."""
    copy = path.with_suffix(".new")
    shutil.copyfile(path, copy)
    change(copy)
    copy.rename(path)


def overwrite(path: Path, change: Callable[[Path], None]) -> None:
    change(path)


def embed(artifact: Artifact, runner: str) -> None:
    with Embedder(artifact, runner) as embedder:
        embedder.encode(["a cat"])


def refuses(act: Callable[[], object], file: str) -> None:
    with pytest.raises(ArtifactError, match=rf"is damaged: {file} has SHA-256 [0-9a-f]+; expected [0-9a-f]+"):
        act()


@pytest.mark.parametrize("swap", [replace, overwrite])
@pytest.mark.parametrize("runner", ["onnxruntime", "openvino", "groq-emulator"])
def test_a_runner_does_not_open_a_graph_that_was_exchanged(
    tiny: Path, runner: str, swap: Callable[..., None]
) -> None:
    if runner == "openvino" and importlib.util.find_spec("openvino") is None:
        pytest.skip("needs openvino")
    artifact = open_artifact(tiny)
    embed(artifact, runner)
    file = artifact.manifest.fixed.path if runner == "groq-emulator" else GRAPH
    swap(tiny / file, other_weights)
    refuses(lambda: embed(artifact, runner), file)


@pytest.mark.parametrize("runner", ["onnxruntime", "openvino", "groq-emulator"])
def test_load_verifies_the_graph_that_it_opens(tiny: Path, runner: str) -> None:
    if runner == "openvino" and importlib.util.find_spec("openvino") is None:
        pytest.skip("needs openvino")
    file = open_artifact(tiny).manifest.fixed.path if runner == "groq-emulator" else GRAPH
    overwrite(tiny / file, other_weights)
    refuses(lambda: minilmx.load(tiny, runner), file)


@pytest.mark.parametrize("file", ["modules.json", "tokenizer.json", GRAPH, "model_b4_s16.onnx"])
def test_a_runner_of_another_package_opens_an_artifact_of_which_every_byte_was_verified(
    tiny: Path, file: str
) -> None:
    def by_path(artifact: Artifact, *_: object) -> Runner:
        pytest.fail(f"opened {artifact.graph_file}")

    content = bytearray((tiny / file).read_bytes())
    content[len(content) // 2] ^= 1
    (tiny / file).write_bytes(content)
    refuses(lambda: minilmx.load(tiny, RunnerEntry("other", "", lambda options: None, by_path)), file)


@pytest.mark.parametrize("runner", ["onnxruntime", "groq-emulator"])
def test_a_graph_with_a_weight_in_an_unlisted_file_is_not_loaded(tiny: Path, runner: str) -> None:
    """Not even if its author exchanged it while the artifact was opened."""
    artifact = open_artifact(tiny)
    file = artifact.manifest.fixed.path if runner == "groq-emulator" else GRAPH
    model = onnx.load(str(tiny / file))
    model.graph.initializer[0].external_data.add(key="location", value="/etc/passwd")
    model.graph.initializer[0].data_location = onnx.TensorProto.EXTERNAL
    (tiny / file).write_bytes(model.SerializeToString())
    hostile = reseal(tiny)
    for opened in (hostile, tiny):
        with pytest.raises(
            ArtifactError, match=rf"{file} has the weight .* in '/etc/passwd'; expected a file in"
        ):
            minilmx.load(opened, runner)


@pytest.mark.parametrize("swap", [replace, overwrite])
def test_no_text_is_tokenized_by_a_tokenizer_that_was_exchanged(
    tiny: Path, swap: Callable[..., None]
) -> None:
    artifact = open_artifact(tiny)
    swap(tiny / "tokenizer.json", other_words)
    refuses(lambda: embed(artifact, "onnxruntime"), "tokenizer.json")


@pytest.mark.parametrize(("file", "change"), [(GRAPH, other_weights), ("tokenizer.json", other_words)])
def test_a_worker_of_a_corpus_does_not_open_what_was_exchanged(
    tiny: Path, file: str, change: Callable[[Path], None]
) -> None:
    job = Job(open_artifact(tiny).with_graph(GraphKind.DYNAMIC), "onnxruntime", {})
    ShardEmbedder(job).close()
    replace(tiny / file, change)
    refuses(lambda: ShardEmbedder(job), file)


def test_bisect_preflight_and_inspect_do_not_read_a_graph_that_was_exchanged(tiny: Path) -> None:
    artifact = open_artifact(tiny)
    file = artifact.manifest.fixed.path
    replace(tiny / file, other_weights)
    refuses(lambda: check_before_build(artifact), file)
    refuses(lambda: load_graph(artifact), file)
    refuses(lambda: bisect(artifact, "onnxruntime", "groq-emulator", load_pairs("bundled")), file)


def test_a_graph_that_runs_cannot_be_changed_while_it_is_loaded(tiny: Path) -> None:
    artifact = open_artifact(tiny)
    with artifact.private_graph() as graph:
        assert isinstance(graph, Path)
        verified = graph.read_bytes()
        overwrite(artifact.graph_file, other_weights)
        with pytest.raises(PermissionError), graph.open("r+b") as stream:
            stream.write(b"\0")
            stream.flush()
        assert graph.read_bytes() == verified
    assert verified != artifact.graph_file.read_bytes()


def test_a_pipe_in_the_place_of_a_file_is_refused_at_once(tiny: Path) -> None:
    import os

    artifact = open_artifact(tiny)
    (tiny / "tokenizer.json").unlink()
    os.mkfifo(tiny / "tokenizer.json")
    with pytest.raises(ArtifactError, match="not a regular file"):
        embed(artifact, "onnxruntime")
