"""mlx golden: texts with their embeddings in one file, and whether they have changed."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml  # type: ignore[import-untyped]
from safetensors.numpy import load, save
from tests.conftest import Mlx

import minilmx
from minilmx.models.artifact import Artifact
from minilmx.models.model_folder import ModelSource
from minilmx.testing import assert_same

SHARED = Path(__file__).parents[3] / "shared" / "stsb" / "stsb-en-test.csv"
ACTION = Path(__file__).parents[2] / ".github" / "actions" / "golden" / "action.yml"
TEXTS = "".join(f"{chr(97 + number % 12)} b {chr(97 + number // 12)}\n" for number in range(24))


@pytest.fixture
def golden(mlx: Mlx, tiny: Path, tmp_path: Path) -> Path:
    (tmp_path / "texts.txt").write_text(TEXTS)
    outcome = mlx("golden", "create", "golden.safetensors", "--from", tiny, "--texts", "texts.txt")
    assert outcome.code == 0, outcome
    assert outcome.stdout == "golden.safetensors: 24 texts, 8 numbers each, 2 kB\n"
    return tmp_path / "golden.safetensors"


class Turned:
    """An embedder of one's own: an artifact's embeddings, changed."""

    def __init__(self, artifact: Path, change: Callable[[Any], Any]) -> None:
        self.artifact, self.change = artifact, change

    def encode(self, texts: list[str]) -> Any:
        with minilmx.load(self.artifact) as model:
            return self.change(model.encode(texts))


def swap(values: Any) -> Any:
    return values[:, [1, 0, *range(2, values.shape[1])]]


def test_nothing_has_changed(mlx: Mlx, tiny: Path, golden: Path) -> None:
    outcome = mlx("golden", "check", golden, tiny)
    assert outcome.code == 0, outcome
    assert outcome.stdout.startswith(
        "SAME: 2: tiny-b4-s16, compared with 1: golden.safetensors, differs by no"
    )
    assert "moved most" not in outcome.stdout
    assert_same(str(tiny), golden, preset="float32")


def test_the_texts_that_moved_most_are_named_in_their_order(mlx: Mlx, tiny: Path, golden: Path) -> None:
    outcome = mlx("golden", "check", golden, f"{tiny}@groq-emulator", "--preset", "float32", "-o", "r.json")
    assert outcome.code == 1, outcome
    lines = outcome.stdout.splitlines()
    moved = [line.split()[2].rstrip(",") for line in lines[lines.index("moved most:") + 1 :]]
    assert len(moved) == 10
    assert [float(each) for each in moved] == sorted(map(float, moved), reverse=True)
    worst = lines[lines.index("moved most:") + 1]
    assert worst.split("  ")[-1] in TEXTS.splitlines()
    assert outcome.stderr == "result: r.json\n"
    assert not any(text in Path("r.json").read_text() for text in TEXTS.splitlines())  # the user's own


def test_a_swap_of_two_dimensions_is_different(tiny: Path, golden: Path) -> None:
    with pytest.raises(AssertionError) as caught:
        assert_same(Turned(tiny, swap), golden)
    lines = str(caught.value).splitlines()
    assert lines[0].startswith("DIFFERENT: 2: Turned, compared with 1: golden.safetensors, does not return")
    assert len(lines) == 11
    assert lines[1].split("  ")[-1] in TEXTS.splitlines()


def test_limits_decide_in_place_of_the_preset(mlx: Mlx, tiny: Path, golden: Path) -> None:
    words = ("golden", "check", golden, f"{tiny}@groq-emulator", "--preset", "float32")
    assert mlx(*words, "--max-abs", "0.1").code == 0
    assert mlx(*words, "--max-abs", "1e-9").code == 1
    with pytest.raises(AssertionError, match=r"max_abs: .*; expected 1e-09"):
        assert_same(f"{tiny}@groq-emulator", golden, limits={"max_abs": 1e-9})


def test_the_files_own_preset_applies_unless_another_is_named(mlx: Mlx, tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "texts.txt").write_text(TEXTS)
    words = ("golden", "create", "g", "--from", tiny, "--texts", "texts.txt", "--preset", "float16")
    assert mlx(*words).code == 0
    emulated = f"{tiny}@groq-emulator"
    assert "(preset float16: as requested)" in mlx("golden", "check", "g", emulated).stdout
    assert mlx("golden", "check", "g", emulated, "--preset", "float32").code == 1
    refused = mlx(*words)
    assert (refused.code, "already exists" in refused.stderr) == (3, True)
    assert mlx(*words, "--force").code == 0


def test_the_column_of_the_texts_can_be_named(mlx: Mlx, tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("first,second\na,b\nc,d\n")
    words = ("golden", "create", "g", "--from", tiny, "--texts", "t.csv")
    assert mlx(*words).code == 3
    assert mlx(*words, "--column", "second").code == 0
    assert json.loads(load_metadata(tmp_path / "g")["golden"])["texts"] == ["b", "d"]


def test_a_column_of_texts_that_are_no_file_is_refused(tiny: Path) -> None:
    with pytest.raises(minilmx.MinilmxError, match="the column 'a': no file of texts"):
        minilmx.create_golden("g", tiny, ["a", "b"], column="a")


def load_metadata(path: Path) -> dict[str, str]:
    content = path.read_bytes()
    size = int.from_bytes(content[:8], "little")
    metadata: dict[str, str] = json.loads(content[8 : 8 + size])["__metadata__"]
    return metadata


def edit(path: Path, values: Any = None, name: str = "embeddings", **record: Any) -> None:
    document = json.loads(load_metadata(path)["golden"]) | record
    document = {key: value for key, value in document.items() if value != "left out"}
    values = load(path.read_bytes())["embeddings"] if values is None else values
    path.write_bytes(save({name: values}, metadata={"golden": json.dumps(document)}))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"schema_version": 2}, "schema version 2; expected 1"),
        ({"schema_version": True}, "schema version True; expected 1"),
        ({"texts": ["a"]}, "24 embeddings; expected 1, one per text"),
        ({"texts": "a"}, "cannot be read as a golden file"),
        ({"preset": "int4"}, "unknown preset 'int4'"),
        ({"preset": "left out"}, "cannot be read as a golden file"),
        ({"note": "x"}, "its record has an unknown field"),
        ({"name": "vectors"}, "it has parts other than golden and embeddings"),
        ({"values": np.zeros((24, 8), np.float64)}, "float64 [24, 8]; expected float32 [N, D]"),
        ({"values": np.zeros(24, np.float32)}, "float32 [24]; expected float32 [N, D]"),
        ({"values": np.full((24, 8), np.nan, np.float32)}, "embeddings that are not finite"),
    ],
    ids=lambda each: next(iter(each)) if isinstance(each, dict) else None,
)
def test_another_file_is_refused_in_one_sentence(
    mlx: Mlx, tiny: Path, golden: Path, change: dict[str, Any], said: str
) -> None:
    edit(golden, **change)
    outcome = mlx("golden", "check", golden, tiny)
    assert (outcome.code, outcome.stdout) == (3, ""), outcome
    assert said in outcome.stderr
    assert len(outcome.stderr.splitlines()) == 1


@pytest.mark.parametrize("content", [b"", b"\0" * 40, b"PK\x03\x04" * 9, b"\xff" * 8 + b"{}"])
def test_what_is_not_safetensors_is_refused(mlx: Mlx, tiny: Path, golden: Path, content: bytes) -> None:
    golden.write_bytes(content)
    outcome = mlx("golden", "check", golden, tiny)
    assert outcome.code == 3, outcome
    assert "cannot be read as a golden file" in outcome.stderr


def test_what_no_check_could_read_is_not_written(tiny: Path, tmp_path: Path) -> None:
    wide = Turned(tiny, lambda values: np.tile(values, (1, 4096)))
    texts = [f"{number}" for number in range(513)]
    with pytest.raises(
        minilmx.MinilmxError, match=r"513 texts and their embeddings have 67,\d{3},\d{3} bytes"
    ):
        minilmx.create_golden(tmp_path / "g", wide, texts)
    assert not (tmp_path / "g").exists()


def test_saved_embeddings_and_no_texts_make_no_golden_file(mlx: Mlx, tiny: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((2, 8), np.float32))
    outcome = mlx("golden", "create", "g", "--from", "a.npy", "--texts", tiny / "README.md")
    assert (outcome.code, "a golden file of saved embeddings" in outcome.stderr) == (3, True), outcome
    (tmp_path / "none.txt").write_text("")
    outcome = mlx("golden", "create", "g", "--from", tiny, "--texts", "none.txt")
    assert outcome.code == 3, outcome
    with pytest.raises(minilmx.MinilmxError, match="embeddings that are not finite"):
        minilmx.create_golden("g", Turned(tiny, lambda values: values * np.nan), ["a", "b"])
    assert not (tmp_path / "g").exists()


def test_what_pytorch_makes_is_checked_on_every_precision(
    mlx: Mlx, artifact: Artifact, real_source: ModelSource, tmp_path: Path
) -> None:
    pytest.importorskip("sentence_transformers", reason="needs sentence-transformers, for model:")
    sentences = [line for line in SHARED.read_text("utf-8").splitlines()[:60] if '"' not in line]
    texts = list(dict.fromkeys(line.split(",")[0] for line in sentences))
    (tmp_path / "texts.txt").write_text("".join(f"{text}\n" for text in texts))
    words = ("--from", f"model:{real_source.folder}", "--texts", "texts.txt")
    outcome = mlx("golden", "create", "g", *words)
    assert outcome.code == 0, outcome
    assert (tmp_path / "g").stat().st_size < 1e6
    answers = {}
    for runner, preset in (
        ("onnxruntime", "float32"),
        ("groq-emulator", "float16"),
        ("openvino:precision=int8", "int8"),
        ("openvino:precision=int8", "float16"),
    ):
        outcome = mlx("golden", "check", "g", f"{artifact.path}@{runner}", "--preset", preset)
        answers[runner, preset] = (outcome.stdout.split(":")[0], outcome.code)
    assert answers == {
        ("onnxruntime", "float32"): ("SAME", 0),
        ("groq-emulator", "float16"): ("SAME", 0),
        ("openvino:precision=int8", "int8"): ("SAME", 0),
        ("openvino:precision=int8", "float16"): ("DIFFERENT", 1),
    }
    with pytest.raises(AssertionError, match=r"^DIFFERENT: "):
        assert_same(Turned(artifact.path, swap), tmp_path / "g", preset="float16")


@pytest.mark.parametrize(("runner", "code"), [("onnxruntime", 0), ("groq-emulator", 1)])
def test_the_action_for_github_runs_its_steps(golden: Path, tiny: Path, runner: str, code: int) -> None:
    """Its steps in bash, as GitHub runs them, but without the installation."""
    action = yaml.safe_load(ACTION.read_text("utf-8"))
    inputs = {name: str(each.get("default", "")) for name, each in action["inputs"].items()}
    inputs |= {"golden": str(golden), "embedder": f"{tiny}@{runner}", "preset": "float32"}
    folder = golden.parent / "runner"
    (folder / "minilmx" / "bin").mkdir(parents=True)
    command = folder / "minilmx" / "bin" / "mlx"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m minilmx "$@"\n')
    command.chmod(0o755)
    step = action["runs"]["steps"][1]
    assert "${{" not in step["run"]  # an input cannot become a command
    variables = {
        name: inputs[value.removeprefix("${{ inputs.").removesuffix(" }}")]
        for name, value in step["env"].items()
    }
    summary = folder / "summary.md"
    done = subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
        env={**os.environ, **variables, "RUNNER_TEMP": str(folder), "GITHUB_STEP_SUMMARY": str(summary)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == code, done
    assert done.stdout.startswith("SAME" if code == 0 else "D")
    assert "max relative difference" in summary.read_text("utf-8")
