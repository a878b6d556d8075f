"""Machines on which `mlx` runs with the real GroqFlow and tests/groqware in place of Groq's closed SDK."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from contextlib import suppress
from pathlib import Path

import pytest
from tests.conftest import GROQFLOW_PYTHON

GROQWARE = Path(__file__).parents[1] / "groqware"
PYTHON_VARIABLE = "MINILMX_GROQFLOW_PYTHON"
MARK = "MINILMX_TEST_MACHINE"  # in the environment of everything that a machine starts


@pytest.fixture(scope="session")
def groqflow_python():
    """The Python of a GroqFlow environment, which `mlx groq setup` creates."""
    if not GROQFLOW_PYTHON:
        pytest.skip(f"needs {PYTHON_VARIABLE}: a Python with GroqFlow, as `mlx groq setup` creates it")
    return GROQFLOW_PYTHON


@pytest.fixture(scope="session")
def groqware():
    return GROQWARE


class Machine:
    """A home, a cache, and environment variables of its own, with the stand-ins if `python` is given.

    `mlx` runs in this process, `start` and `run` in another; each takes switches of tests/groqware.
    """

    def __init__(self, folder, run_here=None, monkeypatch=None, python=None):
        self.folder, self.run_here, self.monkeypatch = folder, run_here, monkeypatch
        self.cache = folder / "cache" / "minilmx" / "groq"
        self.id = uuid.uuid4().hex
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "GROQ"))}
        self.variables = {
            **kept,
            MARK: self.id,
            "HOME": str(folder / "home"),
            "XDG_CACHE_HOME": str(folder / "cache"),
            "XDG_DATA_HOME": str(folder / "data"),
            "TMPDIR": str(folder / "tmp"),
        }
        self.variables.pop(PYTHON_VARIABLE, None)
        sources = list(filter(None, [os.environ.get("PYTHONPATH")]))  # of minilmx, if it is not installed
        self.variables["PYTHONPATH"] = os.pathsep.join(sources)
        for name in ("home", "tmp"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        if python is not None:
            self.variables |= {
                "PATH": f"{GROQWARE / 'bin'}:{os.environ['PATH']}",
                "PYTHONPATH": os.pathsep.join([str(GROQWARE / "site-packages"), *sources]),
                "GROQWARE_PYTHON": python,
                PYTHON_VARIABLE: python,
            }

    def mlx(self, *arguments, stdin=None, **switches):
        """Run `mlx` to its end, and check that it leaves no process behind."""
        with self.monkeypatch.context() as patch:
            for name in set(os.environ) - set(self.variables):
                patch.delenv(name)
            for name, value in {**self.variables, **switches}.items():
                patch.setenv(name, value)
            patch.setattr("tempfile.tempdir", None)
            patch.chdir(self.folder)
            outcome = self.run_here(*arguments, stdin=stdin)
        assert "Traceback" not in outcome.stderr
        assert "a fault in minilmx" not in outcome.stderr, outcome
        assert self.is_quiet(), self.processes()
        return outcome

    def fails(self, *arguments, **switches):
        """Run `mlx`, which must end with an error, and return its one line."""
        outcome = self.mlx(*arguments, **switches)
        assert outcome.code == 3, outcome
        message = outcome.stderr.splitlines()[-1]
        assert message.startswith("Error: "), outcome
        return message

    def start(self, *arguments, command=(sys.executable, "-m", "minilmx"), **switches):
        return subprocess.Popen(
            [*command, *map(str, arguments)],
            cwd=self.folder,
            env={**self.variables, **switches},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments, stdin=None, **settings):
        """Exit code, stdout and stderr of a real process; the settings are those of `start`."""
        process = self.start(*arguments, **settings)
        stdout, stderr = process.communicate(stdin, timeout=300)
        return process.returncode, stdout, stderr

    def run_example(self, function):
        """Run the example of a function of `minilmx.api.groq` in its docstring, as a real process."""
        run = "doctest.run_docstring_examples(groq.{}, vars(groq))"
        program = f"import doctest; from minilmx.api import groq; {run}"
        outcome = self.run("-c", program.format(function), command=(sys.executable,))
        assert outcome[:2] == (0, ""), outcome

    def processes(self):
        """The running processes that this machine started, {pid: command line}."""
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if f"{MARK}={self.id}".encode() in (folder / "environ").read_bytes():
                    command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                    found[int(folder.name)] = command
            except OSError:  # it has ended, or is another user's
                continue
        return found

    def find(self, part, count=1, seconds=60):
        """The pids of processes with `part` in their command line, once there are `count` of them."""
        deadline = time.monotonic() + seconds
        while len(found := [pid for pid, command in self.processes().items() if part in command]) < count:
            assert time.monotonic() < deadline, (part, self.processes())
            time.sleep(0.02)
        return found

    def is_quiet(self, seconds=6):
        """Whether everything that it started ends within a few seconds."""
        deadline = time.monotonic() + seconds
        while self.processes() and time.monotonic() < deadline:
            time.sleep(0.02)
        return not self.processes()

    def kill_all(self):
        """End what a failed test left."""
        while found := self.processes():
            for pid in found:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)

    def builds(self):
        """The files and folders of finished builds, and of builds that left more than logs."""
        done = {path.parent for path in self.cache.glob("*/build.json")}
        partial = {path for path in self.cache.glob("*/model/*") if not path.match("log_*.txt")}
        return done, partial


@pytest.fixture
def make_machine(tmp_path, mlx, monkeypatch, groqflow_python):
    """Make machines with the stand-ins, each with its own home and an empty cache."""

    machines = []

    def make(name="machine"):
        machines.append(Machine(tmp_path / name, mlx, monkeypatch, groqflow_python))
        return machines[-1]

    yield make
    for machine in machines:
        machine.kill_all()


@pytest.fixture
def machine(make_machine):
    return make_machine()


@pytest.fixture
def bare_machine(tmp_path, mlx, monkeypatch):
    """A machine with neither GroqFlow nor anything else of Groq."""
    machine = Machine(tmp_path / "bare", mlx, monkeypatch)
    yield machine
    machine.kill_all()


@pytest.fixture(scope="session")
def build_once(make_once, groqflow_python):
    """`build_once(name, artifact, *words)`: a machine that built `artifact`, once for all workers.

    Its `stdout` and `stderr` are what the build printed.
    """

    def build(name, artifact, *words):
        def make(folder):
            machine = Machine(folder, python=groqflow_python)
            command = ("groq", "build", artifact.path, "--bundle", "bundle.tar", *words)
            code, stdout, stderr = machine.run(*command)
            assert code == 0, stderr
            (folder / "printed.json").write_text(json.dumps([stdout, stderr]))

        machine = Machine(make_once(name, make), python=groqflow_python)
        machine.stdout, machine.stderr = json.loads((machine.folder / "printed.json").read_text())
        return machine

    return build


@pytest.fixture(scope="session")
def built_tiny(tiny_original, build_once):
    """A machine on which the tiny artifact is built, with the bundle of that build."""
    return build_once("built-tiny", tiny_original)


@pytest.fixture
def bundle(built_tiny):
    return built_tiny.folder / "bundle.tar"


@pytest.fixture
def ready(machine, built_tiny):
    """A machine of the test's own on which the tiny artifact is built already."""
    shutil.copytree(built_tiny.cache, machine.cache)
    return machine


@pytest.fixture(scope="session")
def built_minilm(artifact, build_once):
    """A machine on which the real MiniLM artifact is built, with the bundle of that build."""
    return build_once("built-minilm", artifact)


@pytest.fixture(scope="session")
def built_packed(complete, build_once):
    """A machine on which the packed graph of the real MiniLM artifact is built."""
    return build_once("built-packed", complete, "--graph", "packed")
