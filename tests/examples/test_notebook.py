"""The notebook: valid, saved without outputs, and every cell runs in order."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minilmx.models.model_folder import ModelSource

NOTEBOOK = Path(__file__).parents[2] / "examples" / "quickstart.ipynb"
pytestmark = pytest.mark.skipif(not NOTEBOOK.is_file(), reason="needs examples/ of the checkout")


def cells(kind: str) -> list[dict[str, Any]]:
    document = json.loads(NOTEBOOK.read_text("utf-8"))
    assert (document["nbformat"], document["nbformat_minor"]) == (4, 5)
    return [cell for cell in document["cells"] if cell["cell_type"] == kind]


def test_it_is_saved_without_outputs_and_every_cell_has_an_id() -> None:
    code = cells("code")
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
    ids = [cell["id"] for cell in (*code, *cells("markdown"))]
    assert len(set(ids)) == len(ids)


@pytest.mark.slow
def test_every_cell_runs(real_source: ModelSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pandas", reason="needs pandas for Result.to_dataframe")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "__main__"}
    for cell in cells("code"):
        exec(compile("".join(cell["source"]), NOTEBOOK.name, "exec"), names)
    assert names["vectors"].shape == (3, 384)
    assert names["vectors"].dtype == np.float32
    assert names["result"].passed is True
    assert names["drift"].passed is True
    assert (tmp_path / "report.html").read_text("utf-8").startswith("<!doctype html>")
