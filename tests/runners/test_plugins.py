"""Runners of other packages, found through the entry-point group `minilmx.runners`."""

import json
from pathlib import Path

import numpy as np
import pytest
from tests.conftest import Mlx

from minilmx.embedding.embedder import Embedder
from minilmx.errors import RunnerError, RunnerFailed, RunnerUnavailable
from minilmx.models.artifact import Artifact
from minilmx.runners.registry import default_runners, find_runner, open_runner, runner_names

MODULE = """
import numpy as np
from minilmx.runners.base import RunnerEntry
from minilmx.runners.registry import find_runner


def broken(artifact, options, progress):
    raise OSError("no such device")


def original(artifact, options, progress):
    entry = find_runner("onnxruntime")
    return entry.open(artifact, entry.options(), progress)


def stating(given, value):
    def open_stating(artifact, options, progress):
        runner = original(artifact, options, progress)

        class Stating(type(runner)):
            name, details = given, {"seconds": value}

        runner.__class__ = Stating
        return runner

    return open_stating


NAN = RunnerEntry("nan", "states NaN", lambda options: None, stating("nan", float("nan")))
LIST = RunnerEntry("list", "states a list", lambda options: None, stating("list", [1]))
NUMPY = RunnerEntry("numpy", "states numpy", lambda options: None, stating("numpy", np.float32(0.5)))
GOOD = RunnerEntry("good", "onnxruntime by another name", lambda options: None, original)
ABSENT = RunnerEntry("absent", "never here", lambda options: "no chip; buy one", original)
BROKEN = RunnerEntry("broken", "does not open", lambda options: None, broken)
NUMBER = 7
"""


@pytest.fixture
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed package with one good runner, one absent, and others that are wrong."""
    info = tmp_path / "third_party-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: third-party\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[minilmx.runners]\n"
        "good = third_party_runners:GOOD\n"
        "absent = third_party_runners:ABSENT\n"
        "nan = third_party_runners:NAN\n"
        "list = third_party_runners:LIST\n"
        "numpy = third_party_runners:NUMPY\n"
        "broken = third_party_runners:BROKEN\n"
        "number = third_party_runners:NUMBER\n"
        "renamed = third_party_runners:GOOD\n"
        "nowhere = third_party_runners:NOWHERE\n"
        "gone = third_party_gone:ENTRY\n"
        "onnxruntime = third_party_runners:NUMBER\n"
    )
    (tmp_path / "third_party_runners.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.usefixtures("plugins")
def test_a_plugin_is_listed_once_and_runs(tiny_original: Artifact) -> None:
    names = runner_names()
    assert names.count("good") == names.count("onnxruntime") == 1
    with Embedder(tiny_original, "good", tiny_original.graph_kind) as runner:
        theirs = runner.encode(["a cat"])
    with Embedder(tiny_original, "onnxruntime", tiny_original.graph_kind) as runner:
        assert np.array_equal(theirs, runner.encode(["a cat"]))


@pytest.mark.usefixtures("plugins")
def test_a_plugin_cannot_take_a_built_in_name() -> None:
    assert find_runner("onnxruntime").about.startswith("the graph on the CPU, as exported")


@pytest.mark.usefixtures("plugins")
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("number", "the plug-in for the runner 'number': 7; expected a RunnerEntry of that name"),
        (
            "renamed",
            "the plug-in for the runner 'renamed': an entry for 'good'; expected a RunnerEntry of that name",
        ),
        ("nowhere", "the plug-in for the runner 'nowhere' cannot be loaded"),
        (
            "gone",
            "the plug-in for the runner 'gone' cannot be loaded: No module named 'third_party_gone'",
        ),
    ],
)
def test_an_invalid_plugin_is_named(name: str, message: str) -> None:
    with pytest.raises(RunnerError) as caught:
        find_runner(name)
    assert message in str(caught.value)


@pytest.mark.usefixtures("plugins")
def test_a_plugin_says_what_is_missing(tiny_original: Artifact) -> None:
    with pytest.raises(RunnerUnavailable, match="absent cannot run here: no chip; buy one"):
        open_runner("absent", tiny_original)


@pytest.mark.usefixtures("plugins")
def test_a_plugin_that_cannot_be_opened_is_named(tiny_original: Artifact) -> None:
    with pytest.raises(RunnerFailed, match="broken cannot be opened: OSError: no such device"):
        open_runner("broken", tiny_original)


def test_the_error_for_an_unknown_runner_lists_those_that_exist() -> None:
    with pytest.raises(
        RunnerError, match="the runner 'gpu' does not exist; expected one of onnxruntime, openvino, torch"
    ):
        find_runner("gpu")


def test_the_default_runners_say_when_one_is_an_emulation(tiny_original: Artifact) -> None:
    names, note = default_runners(tiny_original)
    assert names[0] == "onnxruntime"
    assert ("groq-emulator" in names) == ("emulation" in note)


@pytest.mark.usefixtures("plugins")
def test_mlx_runners_lists_the_others_despite_a_broken_one(mlx: Mlx) -> None:
    outcome = mlx("runners")
    assert outcome.code == 0, outcome
    assert "good " in outcome.stdout
    assert "no chip; buy one" in outcome.stdout
    assert "No module named 'third_party_gone'" in outcome.stdout


@pytest.mark.usefixtures("plugins")
@pytest.mark.parametrize(("runner", "value"), [("nan", "nan"), ("list", "[1]")])
def test_details_that_no_record_can_state_name_the_runner(
    runner: str, value: str, tiny: Path, mlx: Mlx, tmp_path: Path
) -> None:
    (tmp_path / "t.txt").write_text("a\nb\n")
    for words in (
        ("run", tiny, "t.txt", "-o", "a.npy", "--runner", runner),
        ("eval", tiny, "--runner", "onnxruntime", "--runner", runner, "--limit", "2", "-o", "r.json"),
        ("compare", tiny, f"{tiny}@{runner}", "--texts", "t.txt", "-o", "r.json"),
    ):
        outcome = mlx(*words)
        assert outcome.code == 3, outcome
        assert f"Error: the details of the runner {runner}: seconds {value}; expected a" in outcome.stderr
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith(("a.", "r."))]


@pytest.mark.usefixtures("plugins")
def test_a_number_of_numpy_in_the_details_is_recorded(tiny: Path, mlx: Mlx, tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("a\nb\n")
    assert mlx("run", tiny, "t.txt", "-o", "a.npy", "--runner", "numpy").code == 0
    assert json.loads((tmp_path / "a.npy.run.json").read_text())["details"] == {"seconds": 0.5}
    assert mlx("compare", "a.npy", "a.npy").code == 0
