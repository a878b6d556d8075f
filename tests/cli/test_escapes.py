"""What a file or an artifact says cannot control the terminal; JSON says it exactly."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Mlx = Callable[..., Any]
# The title of the window, colours, a C1 control sequence, and text from right to left.
HOSTILE = "a\x1b]0;owned\x07\x1b[31mred\x9b2J‮txt.exe⁦\x00\r\x7f"
SHOWN = r"a\x1b]0;owned\x07\x1b[31mred\x9b2J\u202etxt.exe\u2066\x00\x0d\x7f"
CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


@pytest.fixture
def hostile(tiny: Path) -> Path:
    path = tiny / "mlx.json"
    manifest = json.loads(path.read_text())
    manifest["source"]["id"] = HOSTILE
    path.write_text(json.dumps(manifest))
    return tiny


def test_inspect(hostile: Path, mlx: Mlx) -> None:
    outcome = mlx("inspect", hostile)
    assert outcome.code == 0, outcome
    assert SHOWN in outcome.stdout
    assert not CONTROLS.search(outcome.stdout)
    assert json.loads(mlx("inspect", hostile, "--json").stdout)["source"]["id"] == HOSTILE


def test_eval_and_report(hostile: Path, mlx: Mlx, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = "".join(f'"{HOSTILE[:-2]} {word}",{word},{score}\n' for score, word in enumerate("abcd"))
    Path("p.csv").write_text("sentence1,sentence2,score\n" + rows, "utf-8", newline="")
    words = ("--runner", "onnxruntime", "--runner", "groq-emulator", "--dataset", "p.csv")
    outcome = mlx("eval", hostile, *words, "-o", "r.json", "--preset", "int8")
    assert outcome.code in (0, 1), outcome
    assert not CONTROLS.search(outcome.stdout + outcome.stderr)
    assert r"\x1b[31mred" in outcome.stdout
    exact = mlx("eval", hostile, *words, "-o", "j.json", "--json").stdout
    assert json.loads(exact)["evaluations"][0]["model"] == HOSTILE
    monkeypatch.setenv("FORCE_COLOR", "1")
    for form in ("table", "markdown"):
        shown = mlx("report", "r.json", "--format", form)
        assert not CONTROLS.search(shown.stdout), shown


@pytest.mark.parametrize("name", [f"in{HOSTILE[:20]}.doc", f"in{HOSTILE[:20]}.txt"])
def test_a_file_name_in_an_error(name: str, tiny: Path, mlx: Mlx) -> None:
    outcome = mlx("run", tiny, name)
    assert outcome.code == 3
    assert not CONTROLS.search(outcome.stderr.removesuffix("\n"))
    assert r"\x1b]0;owned\x07\x1b[31m" in outcome.stderr


def test_a_file_name_in_wrong_usage(mlx: Mlx) -> None:
    outcome = mlx("report", "\x1b[2J")
    assert outcome.code == 2
    assert r"\x1b[2J" in outcome.stderr
