"""What runs without the extras, and what is never imported for it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

EXTRAS = ("torch", "transformers", "safetensors", "pyarrow", "datasets", "huggingface_hub")
START = """
import json, sys
refused = set(json.loads(sys.argv[1]))

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in refused:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Refuse())
from minilmx.cli import main
try:
    main(sys.argv[2:])
finally:
    print(json.dumps(sorted(sys.modules)), file=sys.stderr)
"""


def start(folder: Path, *words: object, refused: tuple[str, ...] = ()) -> "subprocess.CompletedProcess[str]":
    environment = {key: value for key, value in os.environ.items() if key != "HF_HUB_OFFLINE"}
    return subprocess.run(
        [sys.executable, "-c", START, json.dumps(refused), *map(str, words)],
        cwd=folder,
        env=environment,
        input="a sentence\nand another\n",
        capture_output=True,
        text=True,
        check=False,
    )


def loaded(done: "subprocess.CompletedProcess[str]") -> set[str]:
    """The modules that a command has imported."""
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stderr.splitlines()[-1]))


@pytest.mark.parametrize("runner", ["onnxruntime", "groq-emulator"])
def test_run_needs_no_extra(runner: str, tiny: Path, tmp_path: Path) -> None:
    done = start(tmp_path, "run", tiny, "--runner", runner, refused=EXTRAS)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 2


def test_eval_needs_no_extra(tiny: Path, tmp_path: Path) -> None:
    done = start(tmp_path, "eval", tiny, "--limit", "5", "--json", refused=EXTRAS)
    assert done.returncode == 0, done.stderr
    assert [runner["runner"] for runner in json.loads(done.stdout)["evaluations"][0]["runners"]] == [
        "onnxruntime",
        "groq-emulator",
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run", "ARTIFACT", "-o", "e.parquet"], "e.parquet needs pyarrow, which is not installed"),
        (["run", "ARTIFACT", "in.parquet"], "in.parquet needs pyarrow, which is not installed"),
        (["eval", "ARTIFACT", "--dataset", "stsb"], "stsb needs the package datasets"),
    ],
)
def test_what_needs_an_extra_says_which(words: list[str], message: str, tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "in.parquet").touch()
    command = [str(tiny) if word == "ARTIFACT" else word for word in words]
    done = start(tmp_path, *command, refused=EXTRAS)
    assert done.returncode == 3
    error = next(line for line in done.stderr.splitlines() if line.startswith("Error: "))
    assert message in error
    assert "pip install 'minilmx[datasets]'" in error


def test_run_imports_only_what_it_uses(tiny: Path, tmp_path: Path) -> None:
    modules = loaded(start(tmp_path, "run", tiny))
    assert {"onnxruntime", "tokenizers", "numpy"} <= modules
    heavy = {*EXTRAS, "scipy", "onnx", "rich", "sklearn", "pandas"}
    assert not heavy & modules


def test_models_and_help_import_no_numpy(tmp_path: Path) -> None:
    for words in (["--help"], ["models"]):
        assert not {"numpy", "onnxruntime"} & loaded(start(tmp_path, *words))


def test_a_command_imports_no_other_command(tmp_path: Path) -> None:
    commands = {f"minilmx.cli.{name}" for name in ("run", "evaluate", "export", "golden", "groq", "lists")}
    assert loaded(start(tmp_path, "models")) & commands == {"minilmx.cli.lists"}


def test_a_comparison_without_pairs_imports_no_scipy_and_a_report_no_runner(
    tiny: Path, tmp_path: Path
) -> None:
    (tmp_path / "texts.txt").write_text("one\ntwo\n")
    for words in (["create", "g", "--from", tiny, "--texts", "texts.txt"], ["check", "g", tiny, "-o", "r"]):
        assert not {"scipy", "onnx"} & loaded(start(tmp_path, "golden", *words))
    assert not {"scipy", "onnx", "onnxruntime"} & loaded(start(tmp_path, "report", "r"))


def test_an_unexpected_error_ends_in_one_line(tiny: Path, tmp_path: Path) -> None:
    done = start(tmp_path, "inspect", tiny, refused=("onnx",))
    assert done.returncode == 3
    *lines, _ = done.stderr.splitlines()
    assert lines == [
        "Error: unexpected ModuleNotFoundError: No module named 'onnx' (a fault in minilmx: "
        "set MLX_TRACEBACK=1 to see where)"
    ]
    assert done.stdout == ""
