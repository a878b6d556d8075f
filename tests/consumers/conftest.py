"""The environments that tests/consumers/environments.sh makes, and an artifact with all files."""

from pathlib import Path

import pytest

from minilmx.export.exporter import export_model
from minilmx.export.options import ExportOptions
from minilmx.models.artifact import Artifact
from minilmx.models.manifest import Shape
from minilmx.models.source import ModelSource

ROOT = Path(__file__).parents[2]


@pytest.fixture
def consumers_python() -> Path:
    """The Python with all Python consumers and pyspark."""
    return _made(".venv-consumers", "bin/python")


@pytest.fixture
def older_python() -> Path:
    """The Python with earlier versions of some."""
    return _made(".venv-consumers-older", "bin/python")


@pytest.fixture
def node_modules() -> Path:
    """The folder with transformers.js."""
    return _made(".venv-consumers-node", "node_modules")


def _made(name: str, inside: str) -> Path:
    path = ROOT / name / inside
    if not path.exists():
        pytest.skip(f"needs {name}: tests/consumers/environments.sh makes it")
    return path


@pytest.fixture(scope="session")
def complete(real_source: ModelSource, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """all-MiniLM-L6-v2 as `mlx export` makes it, 1 x 128, with --fixed-consumers."""
    folder = tmp_path_factory.mktemp("artifacts") / "all-MiniLM-L6-v2-b1-s128"
    return export_model(real_source, folder, ExportOptions(Shape(1, 128), fixed_consumers=True))
