"""What is at the output before, during and after an export."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import contents

import minilmx
from minilmx.errors import ExportError, ModelError, OutputError, RunnerFailed
from minilmx.export.exporter import ExportedArtifact, export_model
from minilmx.export.options import ExportOptions
from minilmx.export.plan import artifact_name
from minilmx.models.artifact import Artifact, open_artifact
from minilmx.models.manifest import Shape
from minilmx.models.source import resolve_model
from minilmx.progress import SILENT, Progress

SHAPE = Shape(4, 16)
STEPS = [
    "loading the model",
    "writing the graphs",
    "checking the graphs",
    "comparing the graphs with the model",
]


@pytest.fixture
def folder(tiny_folder: Path, tmp_path: Path) -> Path:
    """A dynamic ONNX model that the test may change."""
    return Path(shutil.copytree(tiny_folder, tmp_path / "models" / "tiny"))


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "artifacts" / "out"


def export(
    folder: Path,
    output: Path,
    shape: Shape = SHAPE,
    *,
    replace: bool = False,
    progress: Progress = SILENT,
) -> ExportedArtifact:
    options = ExportOptions(shape, from_onnx=True, replace=replace)
    return export_model(resolve_model(str(folder)), output, options, progress)


def times(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in (folder, *folder.rglob("*"))}


def test_two_exports_are_byte_identical(folder: Path, tmp_path: Path) -> None:
    export(folder, tmp_path / "one")
    export(folder, tmp_path / "two")
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_two_exports_from_pytorch_are_byte_identical(bert_original: Path, tmp_path: Path) -> None:
    source = resolve_model(str(bert_original))
    export_model(source, tmp_path / "one", ExportOptions(Shape(2, 8)))
    export_model(source, tmp_path / "two", ExportOptions(Shape(2, 8)))
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


FREEZE = """
import sys
sys.modules |= dict.fromkeys(("torch", "transformers"))  # as if they were not installed
from pathlib import Path
from minilmx.export.exporter import export_model
from minilmx.export.options import ExportOptions
from minilmx.models.manifest import Shape
from minilmx.models.source import resolve_model
source = resolve_model(sys.argv[1])
export_model(source, Path(sys.argv[2]), ExportOptions(Shape(4, 16), from_onnx=True))
"""


def test_another_process_freezes_the_same_bytes_without_torch(folder: Path, output: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FREEZE, str(folder), str(output)],
        env={**os.environ, "PYTHONHASHSEED": "77"},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout == ""
    assert contents(export(folder, output.parent / "here").path) == contents(output)


def test_the_default_name_states_model_and_shape(folder: Path) -> None:
    assert artifact_name(resolve_model(str(folder)), ExportOptions(Shape(4, 16))) == "tiny-b4-s16"


def identity(artifact: Artifact) -> object:
    return artifact.path, artifact.manifest, artifact.digest


def test_the_artifact_is_returned_under_its_final_name_with_a_report(folder: Path, output: Path) -> None:
    artifact = export(folder, output)
    report = artifact.report
    assert identity(artifact) == identity(open_artifact(output))
    assert report.parity is not None
    assert report.parity.max_abs_embedding <= 1e-5
    weights = 140 * 8 + 2 * 8 + 8 * 8
    assert weights <= report.facts.parameters < weights + 10  # and a few pooling constants
    assert report.seconds > 0


def test_an_artifact_of_the_same_inputs_is_left_as_it_is(folder: Path, output: Path) -> None:
    first = export(folder, output)
    before = times(output.parent)
    again = export(folder, output)
    assert times(output.parent) == before
    assert again.report.parity is None
    assert identity(again) == identity(first)
    assert again.report.facts == first.report.facts


def test_a_pytorch_artifact_is_left_as_it_is_and_another_opset_is_refused(
    bert_original: Path, output: Path
) -> None:
    source = resolve_model(str(bert_original))
    export_model(source, output, ExportOptions(Shape(2, 8)))
    before = times(output)
    assert export_model(source, output, ExportOptions(Shape(2, 8), 16)).report.parity is None
    with pytest.raises(OutputError, match="made from another opset"):
        export_model(source, output, ExportOptions(Shape(2, 8), 15))
    assert times(output) == before


@pytest.mark.parametrize("shape", [Shape(5, 16), Shape(4, 15)], ids=str)
def test_an_artifact_of_another_shape_is_kept_unless_asked(folder: Path, output: Path, shape: Shape) -> None:
    export(folder, output)
    before = contents(output)
    with pytest.raises(OutputError) as caught:
        export(folder, output, shape)
    assert f"{output} exists, made from another shape" in str(caught.value)
    assert "Choose another output, or allow it to be replaced." in str(caught.value)
    assert contents(output) == before


@pytest.mark.parametrize(
    "name",
    ["config.json", "1_Pooling/config.json", "tokenizer_config.json", "vocab.txt", "name"],
)
def test_an_artifact_of_another_model_is_kept_unless_asked(folder: Path, output: Path, name: str) -> None:
    export(folder, output)
    if name == "name":
        folder = folder.rename(folder.with_name("other"))
    elif name == "vocab.txt":
        (folder / name).write_text("other")
    else:
        path = folder / name
        content = json.loads(path.read_text()) if path.is_file() else {}
        path.write_text(json.dumps(content | {"another": "setting"}))
    with pytest.raises(OutputError, match="made from another model"):
        export(folder, output)


def test_another_pooling_is_noticed_wherever_modules_json_says_it_is(folder: Path, output: Path) -> None:
    (folder / "1_Pooling").rename(folder / "pooled")
    modules = json.loads((folder / "modules.json").read_text())
    modules[1]["path"] = "pooled"
    (folder / "modules.json").write_text(json.dumps(modules))
    export(folder, output)
    (folder / "pooled" / "config.json").write_text('{"pooling_mode_cls_token": true}')
    with pytest.raises(OutputError, match="made from another model"):
        export(folder, output)
    assert export(folder, output, replace=True).manifest.pooling == "cls"


@pytest.fixture
def apart(folder: Path) -> Path:
    """The encoder's folder of a model in the old layout; beside the modules are files of the same names."""
    encoder = folder / "0_Transformer"
    encoder.mkdir()
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (folder / name).rename(encoder / name)
        (folder / name).write_text('{"__version__": "0.2.0"}')
    modules = json.loads((folder / "modules.json").read_text())
    modules[0]["path"] = encoder.name
    (folder / "modules.json").write_text(json.dumps(modules))
    return encoder


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json", "special_tokens_map.json"])
def test_of_an_encoder_in_its_own_folder_its_files_count(apart: Path, output: Path, name: str) -> None:
    export(apart.parent, output)
    assert (output / "config.json").read_bytes() == (apart / "config.json").read_bytes()
    (apart.parent / name).write_text('{"__version__": "0.3.0"}')  # nothing reads it
    export(apart.parent, output)
    path = apart / name
    content = json.loads(path.read_text()) if path.is_file() else {}
    path.write_text(json.dumps(content | {"another": "setting"}))
    with pytest.raises(OutputError, match="made from another model"):
        export(apart.parent, output)


def test_an_artifact_is_replaced_when_asked(folder: Path, output: Path) -> None:
    export(folder, output)
    export(folder, output, Shape(2, 8), replace=True)
    assert open_artifact(output).shape == Shape(2, 8)
    assert not (output / "model_b4_s16.onnx").exists()
    assert [path.name for path in output.parent.iterdir()] == ["out"]


def test_a_damaged_artifact_is_not_reused_and_can_be_replaced(folder: Path, output: Path) -> None:
    export(folder, output)
    (output / "tokenizer.json").write_text("{}")
    with pytest.raises(OutputError, match=r"cannot be reused: .*tokenizer\.json has 2 bytes"):
        export(folder, output)
    export(folder, output, replace=True)
    assert open_artifact(output).shape == Shape(4, 16)


REFUSALS = [(False, "exists and cannot be reused"), (True, "not an artifact, so it is not replaced")]


@pytest.mark.parametrize(("replace", "words"), REFUSALS)
def test_another_folder_is_never_replaced(folder: Path, output: Path, replace: bool, words: str) -> None:
    output.mkdir(parents=True)
    (output / "thesis.tex").write_text("years of work")
    with pytest.raises(OutputError, match=words):
        export(folder, output, replace=replace)
    assert contents(output) == {"thesis.tex": b"years of work"}


@pytest.mark.parametrize(("replace", "words"), [REFUSALS[0], (True, "it is a file; expected a folder")])
def test_a_file_is_never_replaced(folder: Path, output: Path, replace: bool, words: str) -> None:
    output.parent.mkdir()
    output.write_text("mine")
    with pytest.raises(OutputError, match=words):
        export(folder, output, replace=replace)
    assert output.read_text() == "mine"


def test_an_empty_folder_is_replaced_when_asked(folder: Path, output: Path) -> None:
    output.mkdir(parents=True)
    export(folder, output, replace=True)
    assert open_artifact(output).shape == Shape(4, 16)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("replace", [False, True], ids=["new", "over an older one"])
def test_an_interruption_leaves_what_was_there(folder: Path, output: Path, step: str, replace: bool) -> None:
    output.parent.mkdir()
    if replace:
        export(folder, output)
    before = contents(output.parent)

    class Interrupt(Progress):
        def message(self, text: str) -> None:
            if text == step:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export(folder, output, Shape(2, 8), replace=replace, progress=Interrupt())
    assert contents(output.parent) == before
    assert [path.name for path in output.parent.iterdir()] == ["out"] * replace


def test_the_steps_are_reported_in_order(folder: Path, output: Path) -> None:
    messages: list[str] = []

    class Messages(Progress):
        def message(self, text: str) -> None:
            messages.append(text)

    export(folder, output, Shape(2, 8), progress=Messages())
    assert messages == STEPS


@pytest.mark.parametrize("shape", [Shape(0, 8), Shape(65_537, 8), Shape(1, 65_537)], ids=str)
def test_a_shape_that_no_artifact_may_have_is_refused(folder: Path, output: Path, shape: Shape) -> None:
    with pytest.raises(ExportError, match=f"the shape {shape}; expected .* 1 to 65536"):
        export(folder, output, shape)


def test_a_failed_export_keeps_the_older_artifact(folder: Path, output: Path) -> None:
    export(folder, output)
    before = contents(output.parent)
    with pytest.raises(ExportError, match="positions"):
        export(folder, output, Shape(4, 65), replace=True)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(Exception, match=r"tokenizer\.json"):
        export(folder, output, replace=True)
    assert contents(output.parent) == before


@pytest.mark.parametrize("parent", ["a file", "/proc"])
def test_an_output_that_cannot_be_written_is_refused(folder: Path, tmp_path: Path, parent: str) -> None:
    (tmp_path / "a file").write_text("")
    output = tmp_path / parent / "out"
    with pytest.raises(OutputError, match=f"{output} cannot be written"):
        export(folder, output)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_write_permission_is_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(OutputError, match="no permission to write"):
        export(folder, tmp_path / "locked" / "out")


@pytest.mark.parametrize(
    ("name", "change", "found"),
    [
        ("1_Pooling/config.json", {"pooling_mode": "cls", "pooling_mode_cls_token": True,
                                   "pooling_mode_mean_tokens": False}, "cls + Normalize()"),
        ("modules.json", None, "mean; expected mean + Normalize()"),
    ],
    ids=["pooling", "normalize"],
)  # fmt: skip
def test_the_torch_runner_refuses_a_folder_whose_modules_have_changed(
    bert_original: Path, output: Path, tmp_path: Path, name: str, change: Any, found: str
) -> None:
    folder = Path(shutil.copytree(bert_original, tmp_path / "changed"))
    export_model(resolve_model(str(folder)), output, ExportOptions(Shape(2, 8)))
    with minilmx.load(output, "torch", model=folder) as model:
        model.encode(["a"])
    content = json.loads((folder / name).read_text())
    (folder / name).write_text(json.dumps(content[:-1] if change is None else content | change))
    with pytest.raises(RunnerFailed, match=re.escape(f"the modules in {folder}: {found}")):
        minilmx.load(output, "torch", model=folder)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
@pytest.mark.parametrize("name", ["vocab.txt", "onnx/model.onnx", "1_Pooling", "onnx", ""])
def test_a_part_of_a_model_that_may_not_be_read_is_an_error_that_names_it(
    folder: Path, output: Path, name: str
) -> None:
    (folder / "vocab.txt").write_text("")
    mode = (folder / name).stat().st_mode
    (folder / name).chmod(0)
    try:
        with pytest.raises(ModelError, match=r"tiny.*: .*Permission denied"):
            export(folder, output)
    finally:
        (folder / name).chmod(mode)
