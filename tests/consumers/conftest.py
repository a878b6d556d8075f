"""The environments that tests/consumers/environments.sh makes."""

from pathlib import Path

import pytest

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
