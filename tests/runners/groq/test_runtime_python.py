"""Which Python drives Groq's runtime: the first of several that has numpy below 2 and imports it."""

import json
import sys
from pathlib import Path

import pytest

from minilmx.errors import RunnerUnavailable
from minilmx.runners.groq.environment import GroqFlowEnvironment
from minilmx.runners.groq.runtime import require_runtime_python, try_pythons

IMPORTED = "exit 0"
OTHER_PYTHON = "echo 'ImportError: runtime.cpython-38.so' >&2; exit 1"


@pytest.fixture
def pythons(tmp_path, monkeypatch):
    """Programs on PATH that answer the question whether they import the runtime, and nothing else there."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv("MINILMX_GROQ_RUNTIME_PYTHON", raising=False)

    def make(name, answer):
        path = folder / name
        path.write_text(f"#!/bin/sh\n{answer}\n")
        path.chmod(0o755)
        return path

    return make


def tried(folder, environment=None):
    return [(attempt.python.name, attempt.problem) for attempt in try_pythons(folder, environment)]


def test_they_are_tried_in_order_up_to_the_first_that_works(pythons, tmp_path, monkeypatch):
    groqflow = GroqFlowEnvironment(pythons("groqflow", OTHER_PYTHON), "3.9", {})
    pythons("python3.8", IMPORTED)
    assert [name for name, _ in tried(tmp_path, groqflow)] == ["groqflow", "python3.8"]
    pythons("groq-python", OTHER_PYTHON)
    pythons("python3.10", IMPORTED)
    assert [name for name, _ in tried(tmp_path, groqflow)] == ["groq-python", "groqflow", "python3.10"]
    monkeypatch.setenv("MINILMX_GROQ_RUNTIME_PYTHON", str(pythons("mine", IMPORTED)))
    assert tried(tmp_path, groqflow) == [("mine", None)]


def test_without_one_the_error_names_each_and_why(pythons, tmp_path, monkeypatch):
    monkeypatch.setenv("MINILMX_GROQ_RUNTIME_PYTHON", "/nowhere/python")
    pythons("groq-python", OTHER_PYTHON)
    pythons("python3.10", "exit 7")
    pythons("python3.8", "echo 'pyenv: not found' >&2; echo 'Note: advice' >&2; exit 127")
    with pytest.raises(RunnerUnavailable) as raised:
        require_runtime_python(tmp_path, None)
    for part in (
        "/nowhere/python",
        "cannot be started: No such file",
        "ImportError: runtime.cpython-38.so",
        "groq-python",
        "ended with exit code 7",
        "pyenv: not found",
    ):
        assert part in raised.value.message
    assert "advice" not in raised.value.message


def test_a_python_with_numpy_2_is_not_taken(tmp_path, monkeypatch, groqware):
    """The Python that runs the tests has it, and the runtime calls what it lacks."""
    monkeypatch.setenv("MINILMX_GROQ_RUNTIME_PYTHON", sys.executable)
    monkeypatch.setenv("PATH", str(tmp_path))
    ((_, problem),) = tried(groqware / "site-packages")
    assert "numpy is 2." in problem
    assert "expected below 2" in problem


def test_the_runtime_is_bound_to_one_python_and_another_one_is_found(ready, tiny, groqflow_python):
    """GroqFlow's Python is 3.10; this SDK's is 3.8, which none here has."""
    message = ready.fails("run", tiny, "--runner", "groq", stdin="a\n", GROQWARE_PYTHON_VERSION="3.8")
    assert "no Python drives Groq's runtime" in message
    assert "cpython-38" in message
    assert groqflow_python in message


def test_numpy_beside_the_runtime_is_used_if_the_python_has_none(tmp_path, monkeypatch, groqflow_python):
    runtime = tmp_path / "runtime"
    (runtime / "groq" / "runner" / "tsp").mkdir(parents=True)
    (runtime / "groq" / "runner" / "tsp" / "__init__.py").write_text("import numpy\nassert numpy.ours")
    (runtime / "numpy").mkdir()
    (runtime / "numpy" / "__init__.py").write_text("__version__ = '1.21.0'\nours = True")
    bare = Path(groqflow_python).resolve()  # without the packages of its environment
    user = tmp_path / ".local" / "lib" / "python3.10" / "site-packages" / "numpy"
    user.mkdir(parents=True)
    (user / "__init__.py").write_text("raise Exception('in ~/.local, which Python takes first')")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("MINILMX_GROQ_RUNTIME_PYTHON", str(bare))
    assert try_pythons(runtime, None)[0].problem is None


def test_the_doctor_lists_what_was_tried_and_a_run_what_was_taken(ready, tiny, groqflow_python):
    wrong = {"MINILMX_GROQ_RUNTIME_PYTHON": "/nowhere/python"}
    checks = json.loads(ready.mlx("groq", "doctor", "--json", **wrong).stdout)
    (check,) = [check for check in checks if check["name"] == "groq.runner.tsp"]
    assert f"with {groqflow_python}; not with /nowhere/python: it cannot be started" in check["found"]
    assert check["warning"]
    outcome = ready.mlx("run", tiny, "--runner", "groq", "-o", "e.npy", stdin="a\n", **wrong)
    assert outcome.code == 0, outcome
    record = json.loads((ready.folder / "e.npy.run.json").read_text())
    assert record["details"]["runtime_python"] == groqflow_python
