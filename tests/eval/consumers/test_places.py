"""Where consumers are looked for."""

import os
from pathlib import Path

import pytest

from minilmx.errors import EvalError
from minilmx.eval.consumers.places import find_places


def test_a_folder_of_packages_that_does_not_exist_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "node").touch(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    with pytest.raises(EvalError, match=r"none: not a folder; expected node_modules$"):
        find_places([], tmp_path / "none")
