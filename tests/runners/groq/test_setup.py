"""mlx groq setup: the environment that it creates, and what it refuses."""

import os
import signal
import sys
import time
from pathlib import Path

import pytest


@pytest.fixture
def python(groqflow_python):
    """The interpreter that GroqFlow's environment was created with, as `mlx groq setup --python` takes it."""
    lines = (Path(groqflow_python).parent.parent / "pyvenv.cfg").read_text().splitlines()
    home = next(line.partition("=")[2].strip() for line in lines if line.startswith("home"))
    return Path(home) / "python3"


def test_a_python_of_another_version_is_refused(bare_machine):
    message = bare_machine.fails("groq", "setup", "--python", sys.executable, "--prefix", "env")
    version = ".".join(map(str, sys.version_info[:2]))
    assert f"the version of {sys.executable}: {version}; expected 3.8 to 3.10" in message
    assert not (bare_machine.folder / "env").exists()


def test_without_a_suitable_python_the_error_says_how_to_get_one(bare_machine):
    message = bare_machine.fails("groq", "setup", PATH="/nowhere", PYENV_ROOT="/nowhere")
    assert "Python 3.10, 3.9, 3.8: not found on PATH or under pyenv, uv or conda" in message
    assert "uv python install 3.10" in message


def test_a_folder_that_minilmx_did_not_create_is_not_changed(bare_machine, python):
    prefix = bare_machine.folder / "mine"
    prefix.mkdir()
    (prefix / "precious").write_text("data")
    message = bare_machine.fails("groq", "setup", "--python", python, "--prefix", prefix)
    assert "was not created by minilmx" in message
    assert [path.name for path in prefix.iterdir()] == ["precious"]
    message = bare_machine.fails("groq", "setup", "--python", python, "--prefix", prefix / "precious")
    assert "was not created by minilmx" in message
    assert (prefix / "precious").read_text() == "data"


BROKEN_VENV = """echo 'The virtual environment was not created: ensurepip is not available.'
echo 'Install the python3.10-venv package.' >&2
exit 1"""
# An environment whose pip says where it is, and fails.
FAILING_PIP = """mkdir -p "$3/bin"
printf '#!/bin/sh\\necho pip of %s >&2; exit 1\\n' "$0" >"$3/bin/python"
chmod +x "$3/bin/python\""""


def write_python(path, version, venv):
    """A program that answers with this version, and to `-m venv` with these lines of sh."""
    path.parent.mkdir(parents=True, exist_ok=True)
    answer = f"echo {version.replace('.', ' ')}"
    path.write_text(f"#!/bin/sh\nPATH=/usr/bin:/bin\nif [ $1 = -c ]; then {answer}; exit; fi\n{venv}\n")
    path.chmod(0o755)
    return path


def test_a_python_that_cannot_create_environments_is_named_and_leaves_nothing(bare_machine):
    python = write_python(bare_machine.folder / "python3.10", "3.10", BROKEN_VENV)
    message = bare_machine.fails("groq", "setup", "--python", python, "--prefix", "env")
    assert f"{python} -m venv" in message
    assert "failed: The virtual environment was not created: ensurepip is not available. Install" in message
    assert not (bare_machine.folder / "env").exists()


@pytest.fixture
def places(bare_machine):
    """Where a Python may be, {name: path of that version's}, with nothing else to be found."""
    home = Path(bare_machine.variables["HOME"])
    conda = bare_machine.folder / "miniconda3" / "envs" / "groq"
    (home / ".conda").mkdir()
    (home / ".conda" / "environments.txt").write_text(f"/nowhere\n{conda}\n")
    bare_machine.variables |= {"PATH": str(bare_machine.folder / "bin"), "PYENV_ROOT": str(home / "pyenv")}
    return {
        "PATH": lambda version: bare_machine.folder / "bin" / f"python{version}",
        "pyenv": lambda version: home / "pyenv" / "versions" / f"{version}.13" / "bin" / "python",
        "uv": lambda version: (
            bare_machine.folder / f"data/uv/python/cpython-{version}.18-linux/bin/python{version}"
        ),
        "conda": lambda version: conda / "bin" / f"python{version}",
    }


@pytest.mark.parametrize("place", ["PATH", "pyenv", "uv", "conda"])
def test_pythons_are_found_wherever_they_are(bare_machine, places, place):
    python = write_python(places[place]("3.9"), "3.9", FAILING_PIP)
    message = bare_machine.fails("groq", "setup", "--prefix", "env")
    assert f"failed: pip of {python}" in message


def test_the_next_python_is_taken_if_one_cannot_create_environments(bare_machine, places):
    broken = [write_python(places[place]("3.10"), "3.10", BROKEN_VENV) for place in ("PATH", "uv")]
    python = write_python(places["conda"]("3.10"), "3.10", FAILING_PIP)
    outcome = bare_machine.mlx("groq", "setup", "--prefix", "env")
    assert f"failed: pip of {python}" in outcome.stderr
    for each in broken:
        assert f"{each} -m venv" in outcome.stderr
    python.unlink()
    message = bare_machine.fails("groq", "setup", "--prefix", "env")
    assert all(str(each) in message for each in broken)
    assert not (bare_machine.folder / "env").exists()


@pytest.mark.parametrize(
    ("sdk", "version"), [("0.9.3.1", "3.8"), ("0.10.0.1", "3.10"), ("0.11.0", "3.10"), ("none", "3.10")]
)
def test_the_python_that_the_sdk_wants_comes_first(bare_machine, places, groqware, sdk, version):
    pythons = {each: write_python(places["uv"](each), each, FAILING_PIP) for each in ("3.8", "3.10")}
    write_python(places["PATH"]("3.9"), "3.9", FAILING_PIP)
    (bare_machine.folder / "bin" / "dpkg-query").symlink_to(groqware / "bin" / "dpkg-query")
    message = bare_machine.fails(
        "groq", "setup", "--prefix", "env", GROQWARE_DEVTOOLS=sdk, GROQWARE_RUNTIME=sdk
    )
    assert f"failed: pip of {pythons[version]}" in message


@pytest.mark.slow
def test_an_installation_that_fails_leaves_nothing(bare_machine, python):
    words = ("groq", "setup", "--python", python, "--prefix", "env")
    message = bare_machine.fails(*words, PIP_INDEX_URL="http://127.0.0.1:9/simple", PIP_RETRIES="0")
    assert "pip install" in message
    assert not (bare_machine.folder / "env").exists()


@pytest.mark.parametrize("size", ["lean", "full"])
def test_the_size_decides_what_is_installed(bare_machine, places, size):
    python = write_python(places["PATH"]("3.10"), "3.10", FAILING_PIP)
    outcome = bare_machine.mlx("groq", "setup", "--python", python, "--prefix", "env", "--size", size)
    assert f"installing GroqFlow 4.3.1, {size}\n" in outcome.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_setup_leaves_nothing(bare_machine, python, number):
    process = bare_machine.start("groq", "setup", "--python", python, "--prefix", "env")
    bare_machine.find("-m venv")
    time.sleep(0.5)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 130, stderr
    assert bare_machine.is_quiet(), bare_machine.processes()
    assert not (bare_machine.folder / "env").exists()


def test_a_setup_that_was_killed_can_be_repeated(bare_machine, python):
    words = ("groq", "setup", "--python", python, "--prefix", "env")
    process = bare_machine.start(*words)
    bare_machine.find("-m venv")
    process.kill()
    process.communicate()
    bare_machine.kill_all()
    marker = bare_machine.folder / "env" / "minilmx-setup.json"
    assert marker.is_file()
    marker.write_text("{garbled")
    process = bare_machine.start(*words)
    bare_machine.find("-m venv")  # it does not refuse the folder as somebody else's
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert bare_machine.is_quiet()
    assert not (bare_machine.folder / "env").exists()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_setup_creates_an_environment_that_builds(machine, python, tiny):
    words = ("groq", "setup", "--python", python, "--prefix", "env")
    home = {"HOME": os.environ["HOME"]}  # pip's settings
    outcome = machine.mlx(*words, **home)
    assert outcome.code == 0, outcome
    prefix = machine.folder / "env"
    assert f"GroqFlow 4.3.1 (lean) in {prefix}" in outcome.stdout
    assert "trial build: complete" in outcome.stdout
    variable = {"MINILMX_GROQFLOW_PYTHON": str(prefix / "bin" / "python")}
    assert " ".join("=".join(pair) for pair in variable.items()) in outcome.stdout
    assert machine.mlx("groq", "build", tiny, **variable).code == 0
    before = (prefix / "pyvenv.cfg").stat().st_mtime_ns
    outcome = machine.mlx(*words, PIP_INDEX_URL="http://127.0.0.1:9/simple", **home)
    assert outcome.code == 0
    assert f"{prefix} already exists" in outcome.stderr
    assert (prefix / "pyvenv.cfg").stat().st_mtime_ns == before
