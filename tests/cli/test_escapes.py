"""What a file or an artifact says cannot control the terminal; JSON says it exactly."""

import json
import os
import pty
import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import onnx
import pytest
from tests.cli.conftest import Start
from tests.conftest import Mlx, reseal

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


def test_no_field_of_a_manifest_writes_a_line_of_its_own(hostile: Path, mlx: Mlx) -> None:
    path = hostile / "mlx.json"
    manifest = json.loads(path.read_text())
    manifest["source"]["id"] = manifest["tools"]["onnx"] = "x\nverified    yes"
    path.write_text(json.dumps(manifest))
    (hostile / "tokenizer.json").unlink()
    outcome = mlx("inspect", hostile)
    assert outcome.code == 3
    assert [line for line in outcome.stdout.splitlines() if line.startswith("verified")] == [
        "verified    no: 1 damaged"
    ]
    assert r"x\x0averified    yes" in outcome.stdout


@pytest.mark.parametrize(
    "place", [("source", "id"), ("tools", "onnx"), ("graphs", "fixed", "outputs", 0, "dtype")]
)
def test_half_of_a_surrogate_pair_in_a_manifest(place: tuple[Any, ...], tiny: Path, mlx: Mlx) -> None:
    """It cannot be printed: it was a traceback, with the exit code of a broken limit."""
    path = tiny / "mlx.json"
    manifest = json.loads(path.read_text())
    holder = manifest
    for key in place[:-1]:
        holder = holder[key]
    holder[place[-1]] = "x\ud800"
    path.write_text(json.dumps(manifest))
    for words in (["inspect", tiny], ["inspect", tiny, "--json"], ["run", tiny]):
        outcome = mlx(*words)
        assert outcome.code == 3, outcome
        assert "half of a surrogate pair, which is not a character" in outcome.stderr


def test_the_name_of_a_node_that_fails(tiny: Path, tmp_path: Path, start: Start) -> None:
    """onnxruntime itself would print it, as it is."""
    content = json.loads((tiny / "tokenizer.json").read_text())
    sequence = {"Sequence": {"id": "A", "type_id": 2**32 - 1}}
    content["post_processor"] |= {"type": "TemplateProcessing", "single": [sequence], "special_tokens": {}}
    content["post_processor"].setdefault("pair", [sequence, {"Sequence": {"id": "B", "type_id": 0}}])
    (tiny / "tokenizer.json").write_text(json.dumps(content))
    for file in tiny.rglob("*.onnx"):
        model = onnx.load(str(file))
        for node in model.graph.node:
            node.name = f"{HOSTILE[:-3]}{node.output[0]}"
        onnx.save(model, str(file))
    reseal(tiny)
    (tmp_path / "in.txt").write_text("one\ntwo\n")
    process = start("run", tiny, "in.txt", "-o", "e.npy")
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 3, stderr
    assert not CONTROLS.search(stderr)
    assert r"a\x1b]0;owned\x07" in stderr


def on_a_terminal(environment: dict[str, str], folder: Path, *arguments: object) -> str:
    """What `mlx` writes if its output is a terminal."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "minilmx", *map(str, arguments)]
    process = subprocess.Popen(
        command, cwd=folder, env=environment, stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    written = b""
    with suppress(OSError):  # the end
        while piece := os.read(ours, 1 << 16):
            written += piece
    os.close(ours)
    assert process.wait() == 0, written
    return written.decode()


def test_json_on_a_terminal(tiny: Path, mlx: Mlx, tmp_path: Path, environment: dict[str, str]) -> None:
    """JSON escapes some control characters itself, but not those from U+007F."""
    (tmp_path / "in.jsonl").write_text(json.dumps({"text": "red\x9b31m\u202e"}) + "\n", "utf-8")
    assert "red\x9b31m\u202e" in mlx("run", tiny, tmp_path / "in.jsonl").stdout
    assert r"red\x9b31m\u202e" in on_a_terminal(environment, tmp_path, "run", tiny, "in.jsonl")


def test_a_name_in_brackets_on_a_terminal(tiny: Path, tmp_path: Path, environment: dict[str, str]) -> None:
    """Progress bars do not take it for markup."""
    tiny.rename(tmp_path / "[red]x")
    (tmp_path / "in.txt").write_text("one\ntwo\n")
    assert "1: [red]x" in on_a_terminal(
        environment, tmp_path, "compare", "[red]x", "[red]x", "--texts", "in.txt"
    )
