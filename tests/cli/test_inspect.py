from collections.abc import Callable
from pathlib import Path
from typing import Any


def test_inspect_verifies_an_undamaged_artifact(tiny: Path, mlx: Callable[..., Any]) -> None:
    outcome = mlx("inspect", tiny)
    assert outcome.code == 0, outcome
    assert "verified    yes" in outcome.stdout


def test_inspect_names_the_damaged_file(tiny: Path, mlx: Callable[..., Any]) -> None:
    with (tiny / "onnx" / "model.onnx").open("r+b") as stream:
        stream.seek(100)
        stream.write(b"\xff")
    outcome = mlx("inspect", tiny)
    assert outcome.code == 3, outcome
    assert "onnx/model.onnx" in outcome.stdout
    assert "no: 1 damaged" in outcome.stdout
