"""A shell in which the site exports the runtime's folder on PYTHONPATH, with its old packages in it."""

import sys
import tomllib
from pathlib import Path

import pytest

from minilmx.runners.groq.pythonpath import child_variables, runtime_folders

ROOT = Path(__file__).parents[3]


def test_the_console_script_and_the_module_start_under_such_a_pythonpath(bare_machine, pollute):
    pollute(bare_machine)
    code, stdout, stderr = bare_machine.run("--version")
    assert (code, stderr) == (0, "")
    assert stdout.startswith("mlx, version")
    with (ROOT / "pyproject.toml").open("rb") as stream:
        module, function = tomllib.load(stream)["project"]["scripts"]["mlx"].split(":")
    script = f"import sys; from {module} import {function}; sys.argv[0] = 'mlx'; sys.exit({function}())"
    process = bare_machine.start("--version", command=[sys.executable, "-c", script])
    assert process.communicate(timeout=60) == (stdout, "")
    assert process.returncode == 0


def test_run_and_eval_work_and_find_the_runtime_under_such_a_pythonpath(ready, pollute, tiny):
    pollute(ready)
    (ready.folder / "in.txt").write_text("one\ntwo\n")
    code, stdout, stderr = ready.run("run", tiny, "in.txt", "--runner", "groq")
    assert code == 0, stderr
    assert len(stdout.splitlines()) == 2
    code, _, stderr = ready.run("eval", tiny, "--limit", 2, "-o", "r.json")
    assert code == 0, stderr
    assert "a GroqCard was found: comparing onnxruntime and groq" in stderr
    code, stdout, stderr = ready.run(
        "run", tiny, "in.txt", "--runner", "groq", "--groq-execution", "groqflow"
    )
    assert code == 0, stderr


def test_the_children_of_a_benchmark_start_under_such_a_pythonpath(ready, pollute, tiny):
    pollute(ready)
    (ready.folder / "in.txt").write_text("one\ntwo\n")
    words = ("in.txt", "--runner", "onnxruntime", "--graph", "fixed", "--rounds", 1)
    code, _, stderr = ready.run("bench", tiny, *words)
    assert code == 0, stderr


@pytest.mark.parametrize("package", ["click", "onnxruntime"], ids=["of every command", "of one"])
def test_a_package_that_pip_found_beside_the_runtime_has_to_be_installed(ready, pollute, tiny, package):
    """pip took it for installed, and now it is dropped with the runtime's folder."""
    pollute(ready)
    program = f"import sys; sys.modules[{package!r}] = None; from minilmx.__main__ import main; main()"
    outcome = ready.run("run", tiny, stdin="one\n", command=(sys.executable, "-c", program))
    message = (
        f"Error: the Python package {package}: not installed; expected it with minilmx. Install minilmx "
        "again with `env -u PYTHONPATH pip install .`: pip takes what lies beside Groq's runtime for "
        "installed."
    )
    assert outcome == (3, "", f"{message}\n")


def test_only_the_runtimes_folder_is_dropped_and_it_is_kept_elsewhere(bare_machine, pollute, monkeypatch):
    folder = pollute(bare_machine)
    mine = bare_machine.folder / "mine"
    mine.mkdir()
    for value, kept in (
        (f"{folder}:{mine}:{folder}", str(mine)),
        (f"{mine}:/nowhere:{folder}/", f"{mine}:/nowhere"),
        (str(folder), None),
        (f"{mine}::", f"{mine}::"),
    ):
        monkeypatch.setenv("PYTHONPATH", value)
        variables = child_variables()
        assert variables.get("PYTHONPATH") == kept
        assert variables.get("MINILMX_GROQ_RUNTIME") == (str(folder) if str(folder) in value else None)
    monkeypatch.setenv("PYTHONPATH", str(folder))
    monkeypatch.setenv("MINILMX_GROQ_RUNTIME", f"/nowhere:{folder}")
    assert runtime_folders() == [str(folder)]


def test_the_groq_package_of_the_cloud_is_not_the_runtime(tmp_path, monkeypatch):
    (tmp_path / "groq").mkdir()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert child_variables()["PYTHONPATH"] == str(tmp_path)
    assert runtime_folders() == []
