"""The benchmark's harness: programs in processes of their own, also ones that know nothing about minilmx."""

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest

from minilmx.errors import EvalError
from minilmx.eval.benchmark import Program, choose_contenders, median_ratio, race, warm_up
from minilmx.models.artifact import Artifact

TEXTS = ["a", "bc", "def"]
MODULE = """
import os, sys
from pathlib import Path
import numpy as np

def load(name, diary=None, fail=None):
    assert "minilmx" not in sys.modules
    print("what a library prints does not get among the answers")
    def embed(texts):
        if fail and len(texts) > 1:
            exec(fail)
        if diary:
            with Path(diary).open("a") as file:
                file.write(f"{name}{len(texts)} ")
        return np.array([[len(text)] for text in texts], np.float32), {"by": name}
    return embed
"""


def program(folder: Path, name: str, **options: str) -> Program:
    (folder / "lengths.py").write_text(MODULE)
    return Program(name, "lengths", {"name": name, **options}, sys.executable, folder)


def test_programs_take_turns_and_each_round_begins_with_another(tmp_path: Path) -> None:
    diary, saved = tmp_path / "diary", tmp_path / "values.npy"
    first, _ = warm_up(program(tmp_path, "a", diary=str(diary)), TEXTS, saved)
    second, _ = warm_up(program(tmp_path, "b", diary=str(diary)), TEXTS)
    with first, second:
        laps = race([first, second], TEXTS, 3)
    assert diary.read_text() == "a1 a1 a1 a3 b1 b1 b1 b3 " + "a3 b3 " + "b3 a3 " + "a3 b3 "
    assert np.load(saved).tolist() == [[1], [2], [3]]
    assert [[lap.notes["by"] for lap in mine] for mine in laps] == [["a"] * 3, ["b"] * 3]
    assert all(lap.seconds >= 0 and lap.peak_bytes > 1e6 for mine in laps for lap in mine)


@pytest.mark.parametrize(
    ("fail", "reason"),
    [
        ("raise ValueError('too long')", "ValueError: too long"),
        (
            "print('out of paper', file=sys.stderr, flush=True); os._exit(3)",
            "it ended with code 3; out of paper",
        ),
    ],
)
def test_the_reason_why_a_program_fails_is_given(fail: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(EvalError, match=f"a failed in its process: {reason}"):
        warm_up(program(tmp_path, "a", fail=fail), TEXTS)


def test_a_program_does_not_see_the_modules_beside_the_harness() -> None:
    with pytest.raises(EvalError, match="No module named 'noise'"):
        warm_up(Program("a", "noise", {"name": "a"}), TEXTS)


def test_a_ratio_is_of_the_same_round() -> None:
    assert median_ratio([2.0, 20.0, 6.0], [1.0, 10.0, 2.0]) == 2.0


COUNTING = """
from minilmx.runners.base import ALL_GRAPHS, RunnerEntry

asked = []
ENTRY = RunnerEntry("counting", "counts", lambda options: asked.append(options), None, graphs=ALL_GRAPHS)
"""


def test_a_runner_is_asked_once_whether_it_can_run(
    tiny_original: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "counting-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: counting\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[minilmx.runners]\ncounting = counting_runner:ENTRY\n")
    (tmp_path / "counting_runner.py").write_text(COUNTING)
    monkeypatch.syspath_prepend(tmp_path)
    contenders = choose_contenders(tiny_original, ["counting"], [], {})
    assert [each.graph for each in contenders] == ["fixed", "dynamic"]
    assert len(importlib.import_module("counting_runner").asked) == 1
