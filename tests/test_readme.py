"""The sample of the README runs as printed on real weights, and without torch from the installed wheel."""

import ast
import importlib.util
import re
from importlib.metadata import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minilmx
from minilmx.models.model_folder import ModelSource

README = Path(__file__).parents[1] / "README.md"
TEXTS = "One sentence.\nAnother one.\n"


def sample() -> str:
    """The README's Python block; an installed wheel carries the README in its metadata."""
    text = README.read_text("utf-8") if README.is_file() else str(metadata("minilmx").json["description"])
    [block] = re.findall(r"```python\n(.*?)```", text, re.S)
    return str(block)


def embed(artifact: str) -> None:
    """Write the two files that the sample compares."""
    Path("sentences.txt").write_text(TEXTS, encoding="utf-8")
    minilmx.embed_file(artifact, "sentences.txt", "cpu.npy")
    minilmx.embed_file(artifact, "sentences.txt", "card.npy", runner="groq-emulator")


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_sample_runs_as_printed(
    real_source: ModelSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pandas", reason="needs pandas for Result.to_dataframe")
    monkeypatch.chdir(tmp_path)
    minilmx.export_model("all-MiniLM-L6-v2", "out")  # the sample verifies and reuses it
    embed("out")
    names: dict[str, Any] = {}
    exec(compile(sample(), "README.md", "exec"), names)
    assert (names["vectors"].shape, names["vectors"].dtype) == ((2, 384), np.float32)
    assert names["model"].artifact.graph_kind == "dynamic"
    assert names["result"].passed is True
    assert Path("report.html").read_text("utf-8").startswith("<!doctype html>")
    assert [each.runner for each in names["drift"].evaluations[0].runners] == ["1: cpu.npy", "2: card.npy"]


def test_the_sample_runs_without_torch_and_pandas_but_for_what_needs_them(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a small artifact, which has other numbers: what needs an extra says so, the rest runs."""
    monkeypatch.chdir(tmp_path)
    tiny.rename("out")
    embed("out")
    names: dict[str, Any] = {}
    for statement in ast.parse(sample()).body:
        code = compile(ast.Module([statement], []), "README.md", "exec")
        if "export_model" in ast.unparse(statement):
            if importlib.util.find_spec("torch") is None:
                with pytest.raises(minilmx.MinilmxError):
                    exec(code, names)
        elif "to_dataframe" in ast.unparse(statement) and importlib.util.find_spec("pandas") is None:
            with pytest.raises(ImportError, match="pandas"):
                exec(code, names)
        else:
            exec(code, names)
    assert (names["vectors"].shape, names["vectors"].dtype) == ((2, 8), np.float32)
    assert [each.runner for each in names["result"].evaluations[0].runners] == [
        "onnxruntime",
        "groq-emulator",
    ]
    assert Path("report.html").is_file()
    assert len(names["drift"].evaluations[0].runners) == 2
