"""GroqFlow's own Python environment: GroqFlow 4.3.1 cannot be imported beside minilmx.

It needs Python 3.8 to 3.10 and pins from 2023. `mlx groq setup` makes it; it is found where
that command puts it, or through the environment variable MINILMX_GROQFLOW_PYTHON.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from minilmx.errors import RunnerFailed, RunnerUnavailable
from minilmx.progress import Progress
from minilmx.runners.groq import pins

PYTHON_VARIABLE = "MINILMX_GROQFLOW_PYTHON"
LEAN_MODULES = Path(__file__).parent / "lean-modules"
_MARKER = "minilmx-setup.json"


@dataclass(frozen=True, slots=True)
class GroqFlowEnvironment:
    """A Python with GroqFlow. `versions` maps its installed packages, lower case, to versions."""

    python: Path
    python_version: str
    versions: Mapping[str, str]

    @property
    def size(self) -> str:
        """ "full" has torch; "lean" has stand-ins for it and runs the ONNX path alone."""
        return "full" if "torch" in self.versions else "lean"

    def variables(self) -> dict[str, str]:
        """The environment variables of a worker that imports GroqFlow."""
        lean = {"PYTHONPATH": str(LEAN_MODULES)} if self.size == "lean" else {}
        return clean_variables() | lean


def clean_variables() -> dict[str, str]:
    """This process's environment variables, without what misleads another Python."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("PYTHON") and name not in ("VIRTUAL_ENV", "CONDA_PREFIX")
    }


def default_prefix() -> Path:
    """Where `mlx groq setup` puts the environment unless told otherwise."""
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(data) / "minilmx" / "groqflow"


def find_environment() -> GroqFlowEnvironment | None:
    """GroqFlow's environment, or None where there is none (or none that has GroqFlow)."""
    stated = os.environ.get(PYTHON_VARIABLE)
    python = Path(stated) if stated else default_prefix() / "bin" / "python"
    return _read_environment(python)


def require_environment() -> GroqFlowEnvironment:
    """GroqFlow's environment. Raises RunnerUnavailable where there is none."""
    found = find_environment()
    if found is None:
        raise RunnerUnavailable(missing_environment())
    return found


def missing_environment() -> str:
    """What to say where there is no environment."""
    stated = os.environ.get(PYTHON_VARIABLE)
    if stated:
        return f"{PYTHON_VARIABLE} is {stated}, and there is no GroqFlow {_groqflow_version()} there"
    return f"GroqFlow {_groqflow_version()} is not installed (run `mlx groq setup`)"


def wrong_pins(environment: GroqFlowEnvironment) -> list[str]:
    """The packages of an environment whose version does not fit the pins, in words."""
    required = pins.LEAN if environment.size == "lean" else pins.FULL
    if environment.size == "lean" and environment.python_version.startswith("3.8"):
        required = pins.LEAN_ON_PYTHON_3_8
    wrong = []
    for requirement in required:
        name, operator, version = re.split(r"(==|<)", requirement)
        found = environment.versions.get(name)
        fits = found == version if operator == "==" else found and _major(found) < _major(version)
        if not fits:
            wrong.append(f"{name} is {found or 'missing'}, expected {operator}{version}")
    return wrong


def set_up(prefix: Path, size: str, python: Path | None, progress: Progress) -> GroqFlowEnvironment:
    """Make GroqFlow's environment at `prefix`, or find that it is there already.

    Raises RunnerUnavailable where there is no Python 3.8 to 3.10, RunnerFailed where the
    installation fails; then nothing is left at `prefix`.
    """
    interpreter = python or find_python()
    version = python_version(interpreter)
    if version not in pins.PYTHON_VERSIONS:
        raise RunnerUnavailable(
            f"{interpreter} is no Python 3.8 to 3.10, which GroqFlow {_groqflow_version()} needs"
        )
    required = pins.FULL if size == "full" else pins.LEAN
    if size == "lean" and version == (3, 8):
        required = pins.LEAN_ON_PYTHON_3_8
    wanted = {"size": size, "requirements": list(required), "python": ".".join(map(str, version))}
    marker = prefix / _MARKER
    if _read_marker(marker) == wanted:
        found = _read_environment(prefix / "bin" / "python")
        if found is not None and not wrong_pins(found):
            progress.message(f"{prefix} is there already")
            return found
    if prefix.exists() and not marker.is_file() and not _is_empty_folder(prefix):
        raise RunnerFailed(f"{prefix} is no environment of minilmx: choose another --prefix")
    try:
        shutil.rmtree(prefix, ignore_errors=True)
        prefix.mkdir(parents=True, exist_ok=True)
        marker.write_text("{}", encoding="utf-8")  # ours to replace, also when we are killed here
    except OSError as error:
        raise RunnerFailed(f"{prefix} cannot be made: {error.strerror}") from error
    try:
        progress.message(f"making {prefix} with {interpreter}")
        _run([str(interpreter), "-m", "venv", str(prefix)])
        pip = [str(prefix / "bin" / "python"), "-m", "pip", "install", "--quiet"]
        progress.message(f"installing GroqFlow {_groqflow_version()}, {size}")
        _run([*pip, *(["--no-deps"] if size == "lean" else []), *required])
        found = _read_environment(prefix / "bin" / "python")
        if found is None or wrong_pins(found):
            raise RunnerFailed(f"the installation in {prefix} is not what was asked for")
        marker.write_text(json.dumps(wanted), encoding="utf-8")
    except BaseException:
        shutil.rmtree(prefix, ignore_errors=True)
        raise
    return found


def find_python() -> Path:
    """A Python 3.10, 3.9 or 3.8 on PATH or under pyenv. Raises RunnerUnavailable."""
    versions = [f"{major}.{minor}" for major, minor in reversed(pins.PYTHON_VERSIONS)]
    for version in versions:
        on_path = shutil.which(f"python{version}")
        under_pyenv = [
            path for root in _pyenv_versions() for path in sorted(root.glob(f"{version}.*/bin/python"))
        ]
        for candidate in (*([Path(on_path)] if on_path else []), *reversed(under_pyenv)):
            if python_version(candidate) in pins.PYTHON_VERSIONS:  # a pyenv shim may not start
                return candidate
    raise RunnerUnavailable(
        f"no Python {', '.join(versions)} on PATH or under pyenv: install one (`pyenv install "
        "3.10`, `apt install python3.10-venv`, `uv python install 3.10`) and give it with --python"
    )


def python_version(python: Path) -> tuple[int, int] | None:
    """Major and minor version of an interpreter, or None where it does not start."""
    try:
        done = subprocess.run(
            [str(python), "-c", "import sys; print(*sys.version_info[:2])"],
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
        major, minor = map(int, done.stdout.split())
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return major, minor


def _read_environment(python: Path) -> GroqFlowEnvironment | None:
    """What is installed beside a venv's python, read from its files without starting it."""
    folders = sorted(python.parent.parent.glob("lib/python3.*/site-packages"))
    if not os.access(python, os.X_OK) or not folders:
        return None
    found = metadata.distributions(path=[str(folders[0])])
    named = ((each.metadata["Name"], each) for each in found)  # pip's leftovers have no name
    versions = {name.lower().replace("_", "-"): each.version for name, each in named if name}
    if "groqflow" not in versions:
        return None
    return GroqFlowEnvironment(python, folders[0].parent.name.removeprefix("python"), versions)


def _run(command: Sequence[str]) -> None:
    """Run a command in a session of its own, and leave nothing of it when we are interrupted."""
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=clean_variables(),
        text=True,
        errors="replace",
        start_new_session=True,
    )
    try:
        stdout, stderr = process.communicate()
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise
    if process.returncode != 0:
        lines = (stderr.strip() or stdout.strip()).splitlines()
        last = lines[-1] if lines else "no output"
        raise RunnerFailed(f"{' '.join(command[:4])} failed: {last}")


def _read_marker(marker: Path) -> object:
    try:
        return json.loads(marker.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None  # no environment of ours, or a damaged one


def _is_empty_folder(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())


def _groqflow_version() -> str:
    return pins.FULL[0].partition("==")[2]


def _major(version: str) -> int:
    return int(version.split(".")[0])


def _pyenv_versions() -> list[Path]:
    """Where pyenv keeps its Pythons: under PYENV_ROOT, else in HOME or beside this Python."""
    root = os.environ.get("PYENV_ROOT")
    if root:
        return [Path(root) / "versions"]
    return [Path.home() / ".pyenv" / "versions", Path(sys.base_prefix).parent]
