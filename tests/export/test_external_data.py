"""Weights in other files than the graph: taken from a model folder, and written if they are large."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from tests.conftest import Mlx

import minilmx
from minilmx.errors import ArtifactError, ExportError, MinilmxError, RunnerFailed, RunnerUnavailable
from minilmx.export.exporter import ExportedArtifact
from minilmx.models import external_data
from minilmx.models.artifact import Artifact
from minilmx.runners.groq.preflight import check_before_build

TEXTS = ["a", "", "hello world", "the quick brown fox", "z" * 40]
Damage = Callable[[Path], object]


@pytest.fixture
def folder(tiny_folder: Path, tmp_path: Path) -> Path:
    """A model folder of this test's own, whose ONNX file has its weights in model.onnx_data."""
    return move_weights(Path(shutil.copytree(tiny_folder, tmp_path / "models" / "tiny")))


def move_weights(folder: Path, **saving: Any) -> Path:
    path = folder / "onnx" / "model.onnx"
    settings: dict[str, Any] = {"location": "model.onnx_data", "size_threshold": 0} | saving
    onnx.save(onnx.load(path), path, save_as_external_data=True, **settings)
    return folder


def export(folder: Path, name: str = "out", **options: Any) -> ExportedArtifact:
    output = folder.parents[1] / name
    return minilmx.export_model(
        str(folder), output, batch_size=3, sequence_length=16, from_onnx=True, **options
    )


def refusal(folder: Path, **options: Any) -> str:
    with pytest.raises(MinilmxError) as caught:
        export(folder, **options)
    assert not (folder.parents[1] / "out").exists()
    return str(caught.value)


def files(artifact: ExportedArtifact) -> dict[str, bytes]:
    """The files but the manifest, which states the digest of the weights."""
    return {each.path: (artifact.path / each.path).read_bytes() for each in artifact.manifest.files}


@pytest.mark.parametrize("together", [True, False], ids=["one file", "a file per weight"])
def test_external_data_gives_the_artifact_of_a_single_file(
    tiny_folder: Path, tmp_path: Path, together: bool
) -> None:
    plain = Path(shutil.copytree(tiny_folder, tmp_path / "plain" / "tiny"))
    copy = Path(shutil.copytree(tiny_folder, tmp_path / "models" / "tiny"))
    moved = move_weights(copy, all_tensors_to_one_file=together)
    assert len(list((moved / "onnx").iterdir())) == (2 if together else 4)
    first, second = export(plain, "one"), export(moved, "two")
    assert files(first) == files(second)
    assert first.manifest.source.weights_sha256 != second.manifest.source.weights_sha256


def test_other_weights_in_the_data_file_are_another_model(folder: Path) -> None:
    export(folder)
    data = folder / "onnx" / "model.onnx_data"
    data.write_bytes(data.read_bytes()[:-4] + np.float32(0.5).tobytes())
    with pytest.raises(MinilmxError, match="exists, made from another model"):
        export(folder)


def set_entries(folder: Path, **entries: str | None) -> None:
    """Change the external data of the first weight, `words`; None removes an entry."""
    path = folder / "onnx" / "model.onnx"
    model = onnx.load(path, load_external_data=False)
    (tensor,) = (tensor for tensor in model.graph.initializer if tensor.name == "words")
    fields = {entry.key: entry.value for entry in tensor.external_data} | entries
    del tensor.external_data[:]
    for key, value in fields.items():
        if value is not None:
            tensor.external_data.add(key=key, value=value)
    path.write_bytes(model.SerializeToString())


def put_outside(folder: Path) -> None:
    shutil.copy(folder / "onnx" / "model.onnx_data", folder / "outside")
    set_entries(folder, location="../outside")


def make_absolute(folder: Path) -> None:
    set_entries(folder, location=str(folder / "onnx" / "model.onnx_data"))


def link_outside(folder: Path) -> None:
    data = folder / "onnx" / "model.onnx_data"
    data.rename(folder.parent / "elsewhere")
    data.symlink_to(folder.parent / "elsewhere")


def link_inside(folder: Path) -> None:
    data = folder / "onnx" / "model.onnx_data"
    data.rename(folder / "onnx" / "other")
    data.symlink_to("other")


def link_a_folder(folder: Path) -> None:
    (folder.parent / "elsewhere").mkdir()
    shutil.copy(folder / "onnx" / "model.onnx_data", folder.parent / "elsewhere")
    (folder / "onnx" / "sub").symlink_to(folder.parent / "elsewhere")
    set_entries(folder, location="sub/model.onnx_data")


def link_hard(folder: Path) -> None:
    os.link(folder / "onnx" / "model.onnx_data", folder.parent / "elsewhere")


def remove_data(folder: Path) -> None:
    (folder / "onnx" / "model.onnx_data").unlink()


def put_a_pipe(folder: Path) -> None:
    remove_data(folder)
    os.mkfifo(folder / "onnx" / "model.onnx_data")


def cut(folder: Path) -> None:
    data = folder / "onnx" / "model.onnx_data"
    data.write_bytes(data.read_bytes()[:-1])


def repeat_an_entry(folder: Path) -> None:
    path = folder / "onnx" / "model.onnx"
    model = onnx.load(path, load_external_data=False)
    model.graph.initializer[0].external_data.add(key="location", value="other")
    path.write_bytes(model.SerializeToString())


def set_type(folder: Path, data_type: int) -> None:
    path = folder / "onnx" / "model.onnx"
    model = onnx.load(path, load_external_data=False)
    model.graph.initializer[0].data_type = data_type
    path.write_bytes(model.SerializeToString())


def hide_in_a_subgraph(folder: Path) -> None:
    """An unused branch of an If, in which a Constant has its number in another file."""
    path = folder / "onnx" / "model.onnx"
    model = onnx.load(path)
    value = TensorProto(name="hidden", data_type=TensorProto.FLOAT, dims=[1], raw_data=bytes(4))
    onnx.external_data_helper.set_external_data(value, "../secret", 0, 4)
    value.ClearField("raw_data")
    result = helper.make_tensor_value_info("result", TensorProto.FLOAT, [1])
    branch = helper.make_graph([helper.make_node("Constant", [], ["result"], value=value)], "b", [], [result])
    condition = helper.make_tensor("true", TensorProto.BOOL, [], [True])
    model.graph.initializer.append(condition)
    model.graph.node.insert(
        0, helper.make_node("If", ["true"], ["any"], then_branch=branch, else_branch=branch)
    )
    path.write_bytes(model.SerializeToString())


SIZE = 140 * 8 * 4

REFUSED: dict[str, tuple[Damage, str]] = {
    "outside": (put_outside, "'../outside'; expected a file in the folder of the graph"),
    "absolute": (make_absolute, "; expected a file in the folder of the graph"),
    "no location": (
        lambda folder: set_entries(folder, location=None),
        "in ''; expected the name of one file",
    ),
    "backslash": (lambda folder: set_entries(folder, location="..\\x"), "; expected the name of one file"),
    "NUL": (lambda folder: set_entries(folder, location="a\0b"), "; expected the name of one file"),
    "folder": (lambda folder: set_entries(folder, location="."), "in '.'; expected the name of one file"),
    "link": (link_outside, "'model.onnx_data', a symbolic link; expected a regular file"),
    "link inside": (link_inside, "'model.onnx_data', a symbolic link; expected a regular file"),
    "linked folder": (link_a_folder, "'sub/model.onnx_data', a symbolic link; expected a regular file"),
    "hard link": (link_hard, "model.onnx_data: 2 hard links; expected a file of its own. Copy the file"),
    "missing": (remove_data, "'model.onnx_data', which is missing; expected a regular file"),
    "pipe": (put_a_pipe, "'model.onnx_data', which is not a regular file; expected a regular file"),
    "too short": (cut, "expected them within the file's"),
    "beyond": (lambda folder: set_entries(folder, offset="99999"), f"{SIZE} bytes at 99999; expected them"),
    "negative": (lambda folder: set_entries(folder, offset="-4"), f"at -4; expected {SIZE} bytes"),
    "no number": (lambda folder: set_entries(folder, offset="x"), f"at x; expected {SIZE} bytes"),
    "huge": (lambda folder: set_entries(folder, offset="9" * 5000), f"expected {SIZE} bytes"),
    "length": (lambda folder: set_entries(folder, length="8"), f"8 bytes at 0; expected {SIZE} bytes"),
    "repeated": (repeat_an_entry, "; expected the name of one file"),
    "strings": (
        lambda folder: set_type(folder, TensorProto.STRING),
        "of the type string [140, 8]; expected numbers",
    ),
    "unknown type": (lambda folder: set_type(folder, 99), "; expected numbers"),
    "subgraph": (hide_in_a_subgraph, "'../secret'; expected a file in the folder of the graph"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_external_data_that_is_not_a_file_of_the_model_is_refused(folder: Path, case: str) -> None:
    damage, words = REFUSED[case]
    damage(folder)
    for precision in ("float32", "int8"):
        message = refusal(folder, precision=precision)
        assert words in message
        assert "onnx/model.onnx" in message


def test_a_snapshot_in_the_hubs_cache_is_taken(folder: Path) -> None:
    """Its files are links to blobs of the same repository."""
    repo = folder.parent / "models--some-org--tiny"
    snapshot = repo / "snapshots" / ("0123456789" * 4)
    (repo / "blobs").mkdir(parents=True)
    for number, file in enumerate(sorted(path for path in folder.rglob("*") if path.is_file())):
        file.rename(repo / "blobs" / str(number))
        link = snapshot / file.relative_to(folder)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(repo / "blobs" / str(number), link.parent))
    output = folder.parents[1] / "out"
    artifact = minilmx.export_model(str(snapshot), output, sequence_length=16, from_onnx=True)
    assert artifact.manifest.source.id == "some-org/tiny"
    assert artifact.graph_data is None


@pytest.fixture
def small_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """A graph file of at most 3 kB, in place of 2 GiB, which no test can write."""
    monkeypatch.setattr(external_data, "MAX_FILE_BYTES", 3000)


def embed(artifact: Artifact, runner: str = "onnxruntime", graph: str = "auto", **options: Any) -> Any:
    with minilmx.load(artifact, runner, graph, **options) as model:
        return model.encode(TEXTS)


@pytest.fixture(scope="module", params=["onnx", "onnx with external data", "pytorch"])
def large(
    request: pytest.FixtureRequest, tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[ExportedArtifact, ExportedArtifact]:
    """An artifact of a model that exceeds the limit, and one of the same model that does not."""
    made = tmp_path_factory.mktemp("large")
    options: dict[str, Any] = {"from_onnx": True, "batch_size": 3, "sequence_length": 16}
    if request.param == "pytorch":
        source = request.getfixturevalue("bert_original")
        options["from_onnx"] = False
    else:
        source = Path(shutil.copytree(tiny_folder, made / "models" / "tiny"))
        if request.param == "onnx with external data":
            move_weights(source)
    plain = minilmx.export_model(str(source), made / "plain", **options)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(external_data, "MAX_FILE_BYTES", 3000)
        return minilmx.export_model(str(source), made / "large", **options), plain


Pair = tuple[ExportedArtifact, ExportedArtifact]


def test_large_weights_are_beside_each_graph_and_listed(large: Pair) -> None:
    artifact, plain = large
    listed = {file.path: file.size_bytes for file in artifact.manifest.files}
    added = {"model_b3_s16.onnx_data", "onnx/model.onnx_data"}
    assert set(listed) == {file.path for file in plain.manifest.files} | added
    assert all(listed[name] >= 4480 for name in added)
    assert listed["onnx/model.onnx"] < 4480 or listed["onnx/model.onnx_data"] > listed["onnx/model.onnx"]
    assert artifact.manifest.opset == plain.manifest.opset
    again = minilmx.open_artifact(artifact.path)
    assert again.graph_data == artifact.path / "model_b3_s16.onnx_data"
    assert again.with_graph("dynamic").graph_data == artifact.path / "onnx" / "model.onnx_data"


@pytest.mark.parametrize("graph", ["fixed", "dynamic"])
@pytest.mark.parametrize("runner", ["onnxruntime", "openvino"])
def test_large_weights_give_the_same_embeddings(large: Pair, runner: str, graph: str) -> None:
    artifact, plain = large
    assert np.array_equal(embed(artifact, runner, graph), embed(plain, runner, graph))


def test_a_large_artifact_is_reused_and_has_the_same_bytes_again(large: Pair, tmp_path: Path) -> None:
    artifact, _ = large
    copy = shutil.copytree(artifact.path, tmp_path / "copy")
    assert minilmx.open_artifact(copy).digest == artifact.digest


def test_what_needs_one_file_refuses_large_weights(large: Pair, mlx: Mlx) -> None:
    artifact, _ = large
    words = "model_b3_s16.onnx_data, as they have more than 2 GiB; expected them in the graph"
    with pytest.raises(RunnerUnavailable, match=words):
        embed(artifact, "groq-emulator", "fixed")
    with pytest.raises(RunnerUnavailable, match=words):
        embed(artifact, "openvino", "fixed", precision="int8")
    with pytest.raises(RunnerFailed, match="weights in another file, expected them in the ONNX file"):
        check_before_build(artifact)
    outcome = mlx("bisect", artifact.path, "--candidate", "groq-emulator")
    assert outcome.code == 3
    assert words in outcome.stderr


@pytest.mark.usefixtures("small_limit")
def test_large_weights_are_not_quantised(folder: Path, bert_original: Path, tmp_path: Path) -> None:
    words = "precision int8: 4,800 bytes of weights; expected less than 2 GiB"
    assert words in refusal(folder, precision="int8")
    with pytest.raises(ExportError, match=r"precision int8: .* bytes of weights; expected less than 2 GiB"):
        minilmx.export_model(str(bert_original), tmp_path / "out", sequence_length=16, precision="int8")


def test_a_damaged_data_file_is_reported(large: Pair, tmp_path: Path) -> None:
    artifact, _ = large
    copy = shutil.copytree(artifact.path, tmp_path / "copy")
    data = copy / "onnx" / "model.onnx_data"
    content = bytearray(data.read_bytes())
    content[100] ^= 1
    data.write_bytes(content)
    with pytest.raises(ArtifactError, match=r"onnx/model\.onnx_data has SHA-256"):
        minilmx.open_artifact(copy)
