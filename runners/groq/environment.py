"""Finding GroqFlow's own Python environment, and checking its packages.

GroqFlow 4.3.1 cannot be imported in minilmx's Python: it needs Python 3.8 to 3.10 and packages of 2023.
The environment variable MINILMX_GROQFLOW_PYTHON names its Python. Otherwise it is looked for where
`mlx groq setup` puts it, in the virtual or conda environment that is active, and in conda's other ones.
"""

import json
import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from minilmx.errors import RunnerUnavailable
from minilmx.runners.groq import pins

PYTHON_VARIABLE = "MINILMX_GROQFLOW_PYTHON"
LEAN_MODULES = Path(__file__).parent / "lean-modules"
_ASK_SECONDS = 60
_ASK = """
import sys
sys.path = [folder for folder in sys.path if folder]
import json
from importlib import metadata
found = {}
for each in metadata.distributions():
    found.setdefault((each.metadata["Name"] or "").lower().replace("_", "-"), each.version)
print(json.dumps(["%d.%d" % sys.version_info[:2], found]))
"""
_read: dict[Path, "GroqFlowEnvironment"] = {}  # a Python with GroqFlow is asked once per process


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
    """This process's environment variables without those that would mislead another Python.

    Nor does it see the packages in ~/.local, which Python takes before those of a conda environment.
    """
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("PYTHON") and name not in ("VIRTUAL_ENV", "CONDA_PREFIX")
    }
    return {**kept, "PYTHONNOUSERSITE": "1"}


def default_prefix() -> Path:
    """Where `mlx groq setup` puts the environment by default."""
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(data) / "minilmx" / "groqflow"


def find_environment() -> GroqFlowEnvironment | None:
    """GroqFlow's environment, or None if it does not exist or lacks GroqFlow."""
    stated = os.environ.get(PYTHON_VARIABLE)
    pythons = [Path(stated)] if stated else _likely_pythons()
    environments = (_read.get(python) or read_environment(python) for python in pythons)
    return next(filter(None, environments), None)


def conda_prefixes() -> list[Path]:
    """The folders of conda's environments, base included: conda lists them in the home folder."""
    try:
        text = (Path.home() / ".conda" / "environments.txt").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    active = os.environ.get("CONDA_PREFIX", "")
    return [Path(line) for line in dict.fromkeys([active, *text.splitlines()]) if line.strip()]


def _likely_pythons() -> Iterator[Path]:
    """The Pythons of environments whose files say that GroqFlow is installed, editable or not."""
    active = os.environ.get("VIRTUAL_ENV")
    for prefix in (default_prefix(), *([Path(active)] if active else []), *conda_prefixes()):
        if any(prefix.glob("lib/python3.*/site-packages/*groqflow*")):
            yield prefix / "bin" / "python"


def require_environment() -> GroqFlowEnvironment:
    """GroqFlow's environment. Raises RunnerUnavailable if it does not exist."""
    environment = find_environment()
    if environment is None:
        raise RunnerUnavailable(missing_environment(), "Run `mlx groq setup`.")
    return environment


def missing_environment() -> str:
    """What is wrong if `find_environment` finds nothing."""
    stated = os.environ.get(PYTHON_VARIABLE)
    if stated:
        return f"{PYTHON_VARIABLE} is {stated}, which has no GroqFlow {pins.GROQFLOW_VERSION}"
    return f"GroqFlow {pins.GROQFLOW_VERSION} is not installed"


def read_environment(python: Path) -> GroqFlowEnvironment | None:
    """What is installed in a Python, however it was installed there, or None without GroqFlow."""
    _read.pop(python, None)
    try:
        process = subprocess.run(
            [str(python), "-c", _ASK],
            env=clean_variables(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_ASK_SECONDS,
            check=True,
        )
        version, versions = json.loads(process.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    if "groqflow" not in versions:
        return None
    _read[python] = GroqFlowEnvironment(python, version, versions)
    return _read[python]


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


def _major(version: str) -> int:
    return int(version.split(".")[0])
