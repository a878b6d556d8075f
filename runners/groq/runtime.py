"""The Python that drives Groq's runtime.

The runtime is compiled for one version of Python and uses what numpy 2 no longer has, so neither
minilmx's own Python nor any other is taken before it has imported the runtime once.
"""

import os
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from minilmx.errors import RunnerUnavailable
from minilmx.runners.groq.environment import GroqFlowEnvironment, clean_variables
from minilmx.runners.groq.machine import TOOL_FOLDER

RUNTIME_PYTHON_VARIABLE = "MINILMX_GROQ_RUNTIME_PYTHON"
_PROBE_SECONDS = 60
# As worker.py does: numpy is the Python's own, unless only the runtime's folder has one.
_PROBE = """
import sys
sys.path = [folder for folder in sys.path if folder]
try:
    import numpy
except ImportError:
    sys.path[:0] = sys.argv[1:]
    import numpy
else:
    sys.path[:0] = sys.argv[1:]
if int(numpy.__version__.split(".")[0]) >= 2:
    sys.exit("numpy is %s; expected below 2" % numpy.__version__)
import groq.runner.tsp
"""


@dataclass(frozen=True, slots=True)
class Attempt:
    """A Python that was tried, and why it cannot drive the runtime (None: it can)."""

    python: Path
    problem: str | None


def try_pythons(folder: Path | None, environment: GroqFlowEnvironment | None) -> list[Attempt]:
    """Try each Python that might drive the runtime in `folder`, up to the first that does."""
    attempts = []
    for python in _candidates(environment):
        variables = tuple(sorted(clean_variables().items()))
        attempts.append(Attempt(python, _problem(python, folder, variables)))
        if attempts[-1].problem is None:
            break
    return attempts


def require_runtime_python(folder: Path | None, environment: GroqFlowEnvironment | None) -> Path:
    """The first Python that drives the runtime. Raises RunnerUnavailable, which names all that were tried."""
    attempts = try_pythons(folder, environment)
    if not attempts or attempts[-1].problem is not None:
        raise RunnerUnavailable(describe(attempts), f"Set {RUNTIME_PYTHON_VARIABLE} to one that does.")
    return attempts[-1].python


def describe(attempts: list[Attempt]) -> str:
    """The Pythons that were tried without success, and why."""
    pythons: dict[str, list[str]] = {}
    for attempt in attempts:
        if attempt.problem:
            pythons.setdefault(attempt.problem, []).append(str(attempt.python))
    failed = [f"{problem} ({', '.join(tried)})" for problem, tried in pythons.items()]
    return f"no Python drives Groq's runtime: {'; '.join(failed) or 'none was found'}"


def _candidates(environment: GroqFlowEnvironment | None) -> list[Path]:
    """The Pythons that exist: the user's setting, the SDK's own, GroqFlow's, and those that SDKs want."""
    tools = str(TOOL_FOLDER)
    commands = [
        os.environ.get(RUNTIME_PYTHON_VARIABLE),
        shutil.which("python", path=tools),
        shutil.which("groq-python") or shutil.which("groq-python", path=tools),
        str(environment.python) if environment else None,
        shutil.which("python3.10"),
        shutil.which("python3.8"),
    ]
    return [Path(each) for each in dict.fromkeys(commands) if each]


@cache
def _problem(python: Path, folder: Path | None, variables: tuple[tuple[str, str], ...]) -> str | None:
    """Why a Python cannot drive the runtime, or None; asked once per process, as an import takes seconds."""
    command = [str(python), "-c", _PROBE, *([str(folder)] if folder else [])]
    try:
        process = subprocess.run(
            command,
            env=dict(variables),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_PROBE_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"it did not import the runtime within {_PROBE_SECONDS} s"
    except OSError as error:
        return f"it cannot be started: {error.strerror}"
    if process.returncode == 0:
        return None
    lines = process.stderr.strip().splitlines() or [f"it ended with exit code {process.returncode}"]
    return lines[-1] if "Traceback" in process.stderr else lines[0]  # what follows is advice, such as pyenv's
