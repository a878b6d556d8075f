"""Finding GroqFlow's own Python environment, and checking its packages.

GroqFlow 4.3.1 cannot be imported in minilmx's Python: it needs Python 3.8 to 3.10 and packages of 2023.
`mlx groq setup` creates its environment, which is found where that command puts it or through the
environment variable MINILMX_GROQFLOW_PYTHON.
"""

import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from minilmx.errors import RunnerUnavailable
from minilmx.runners.groq import pins
from minilmx.runners.groq.machine import groq_python

PYTHON_VARIABLE = "MINILMX_GROQFLOW_PYTHON"
LEAN_MODULES = Path(__file__).parent / "lean-modules"


@dataclass(frozen=True, slots=True)
class GroqFlowEnvironment:
    """A Python with GroqFlow. `versions` maps its packages, in lower case, to their versions."""

    python: Path
    python_version: str
    versions: Mapping[str, str]

    @property
    def size(self) -> str:
        """ "full" has torch; "lean" has stubs in its place and runs only the ONNX path."""
        return "full" if "torch" in self.versions else "lean"

    def variables(self) -> dict[str, str]:
        """The environment variables of a worker that imports GroqFlow."""
        lean = {"PYTHONPATH": str(LEAN_MODULES)} if self.size == "lean" else {}
        return clean_variables() | lean


def clean_variables() -> dict[str, str]:
    """This process's environment variables without those that would mislead another Python."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("PYTHON") and name not in ("VIRTUAL_ENV", "CONDA_PREFIX")
    }


def default_prefix() -> Path:
    """Where `mlx groq setup` puts the environment by default."""
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(data) / "minilmx" / "groqflow"


def find_environment() -> GroqFlowEnvironment | None:
    """GroqFlow's environment, or None if it does not exist or lacks GroqFlow."""
    stated = os.environ.get(PYTHON_VARIABLE)
    return read_environment(Path(stated) if stated else default_prefix() / "bin" / "python")


def require_environment() -> GroqFlowEnvironment:
    """GroqFlow's environment. Raises RunnerUnavailable if it does not exist."""
    found = find_environment()
    if found is None:
        raise RunnerUnavailable(missing_environment(), "Run `mlx groq setup`.")
    return found


def missing_environment() -> str:
    """What is wrong if `find_environment` finds nothing."""
    stated = os.environ.get(PYTHON_VARIABLE)
    if stated:
        return f"{PYTHON_VARIABLE} is {stated}, which has no GroqFlow {pins.GROQFLOW_VERSION}"
    return f"GroqFlow {pins.GROQFLOW_VERSION} is not installed"


def read_environment(python: Path) -> GroqFlowEnvironment | None:
    """What is installed beside a virtual environment's Python, read from its files without starting it."""
    folders = sorted(python.parent.parent.glob("lib/python3.*/site-packages"))
    if not os.access(python, os.X_OK) or not folders:
        return None
    found = metadata.distributions(path=[str(folders[0])])
    named = ((each.metadata["Name"], each) for each in found)  # pip's leftovers have no name
    versions = {name.lower().replace("_", "-"): each.version for name, each in named if name}
    if "groqflow" not in versions:
        return None
    return GroqFlowEnvironment(python, folders[0].parent.name.removeprefix("python"), versions)


def wrong_pins(environment: GroqFlowEnvironment) -> list[str]:
    """One sentence per package of an environment whose version is not as pinned."""
    wrong = []
    for requirement in pins.requirements(environment.size, environment.python_version):
        name, operator, version = re.split(r"(==|<)", requirement)
        found = environment.versions.get(name)
        fits = found == version if operator == "==" else found and _major(found) < _major(version)
        if not fits:
            wrong.append(f"{name} is {found or 'missing'}, expected {operator}{version}")
    return wrong


def runtime_python(environment: GroqFlowEnvironment | None) -> Path:
    """The Python that runs programs: the SDK's own, GroqFlow's (which has numpy), or this one."""
    return groq_python() or (environment.python if environment else Path(sys.executable))


def _major(version: str) -> int:
    return int(version.split(".")[0])
