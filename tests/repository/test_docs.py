"""The documentation site: it builds without a network, and its reference and code samples are current."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import minilmx

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_reference_is_current(generate: ModuleType) -> None:
    pages = generate.pages()
    assert set(pages) == {path.name for path in (DOCS / "reference").iterdir()}
    for name, content in pages.items():
        written = (DOCS / "reference" / name).read_text("utf-8")
        assert written == content, f"run `python docs/generate.py`: {name}"


def test_the_reference_has_every_public_name(generate: ModuleType) -> None:
    text = generate.python_api()
    for name in set(minilmx.__all__) - {"__version__"}:
        assert f"### minilmx.{name}\n" in text


def test_the_site_builds_and_loads_nothing_from_a_network(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs", reason="needs mkdocs-material, of the dependency group docs")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for page in (tmp_path / "site").rglob("*.html"):
        loaded = re.findall(
            r"<(?:script|img|link|iframe)\b[^>]*(?:src|href)=\"?([^\s\">]+)", page.read_text("utf-8")
        )
        assert [address for address in loaded if re.match(r"(https?:)?//", address)] == [], page


def test_the_runner_of_the_how_to_runs(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(tiny, "out")
    text = (DOCS / "how-to" / "runner.md").read_text("utf-8")
    names: dict[str, object] = {"__name__": "how_to"}
    for block in re.findall(r"```python\n(.*?)```", text, re.S):
        exec(compile(block, "runner.md", "exec"), names)
    vectors = names["vectors"]
    assert isinstance(vectors, np.ndarray)
    with minilmx.load("out", graph="fixed") as model:
        assert np.array_equal(vectors, model.encode(["One sentence."]))


def test_generating_the_reference_does_not_change_the_commands() -> None:
    """In a fresh process: click keeps the help option that a command's first context makes."""
    code = (
        f"import sys; sys.path.insert(0, {str(DOCS)!r}); import generate; generate.pages(); "
        "from minilmx.cli import cli; cli.main(['run', '-h'], prog_name='mlx')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Usage: mlx run")
