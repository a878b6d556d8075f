"""Creating GroqFlow's Python environment."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from minilmx.errors import RunnerFailed, RunnerUnavailable
from minilmx.files.documents import parse_json, read_document
from minilmx.progress import SILENT, Progress
from minilmx.runners.groq import pins
from minilmx.runners.groq.environment import (
    GroqFlowEnvironment,
    clean_variables,
    default_prefix,
    read_environment,
    wrong_pins,
)
from minilmx.runners.groq.machine import output_of
from minilmx.runners.groq.trial import try_environment

_MARKER = "minilmx-setup.json"


@dataclass(frozen=True, slots=True)
class Installation:
    """GroqFlow's environment, and how far a build of a tiny graph came in it, in words."""

    environment: GroqFlowEnvironment
    trial: str


def set_up(
    size: str = "lean",
    python: Path | None = None,
    prefix: Path | None = None,
    progress: Progress = SILENT,
) -> Installation:
    """Create GroqFlow's environment and try it; an environment that exists already is only tried.

    `size` is "lean" (what the ONNX path needs) or "full" (what Groq's guide installs); `python` is a Python
    3.8 to 3.10, by default one on PATH or under pyenv; `prefix` is the folder to create. Raises
    RunnerUnavailable if such a Python is not found, and RunnerFailed if the installation fails, after
    which nothing is left at `prefix`, or if GroqFlow does not work.
    """
    environment = _install((prefix or default_prefix()).absolute(), size, python or _find_python(), progress)
    return Installation(environment, try_environment(environment))


def _install(prefix: Path, size: str, interpreter: Path, progress: Progress) -> GroqFlowEnvironment:
    version = _python_version(interpreter)
    if version not in pins.PYTHON_VERSIONS:
        raise RunnerUnavailable(
            f"the version of {interpreter}: {version or 'unknown'}; expected 3.8 to 3.10, which GroqFlow "
            f"{pins.GROQFLOW_VERSION} needs"
        )
    requirements = pins.requirements(size, version)
    settings = {"size": size, "requirements": list(requirements), "python": version}
    marker, environment_python = prefix / _MARKER, prefix / "bin" / "python"
    if _read_marker(marker) == settings:
        found = read_environment(environment_python)
        if found is not None and not wrong_pins(found):
            progress.message(f"{prefix} already exists")
            return found
    try:
        if not marker.is_file() and prefix.exists() and (not prefix.is_dir() or any(prefix.iterdir())):
            raise RunnerFailed(
                f"{prefix} was not created by minilmx; expected a new or empty folder",
                "Choose another folder.",
            )
        shutil.rmtree(prefix, ignore_errors=True)
        prefix.mkdir(parents=True, exist_ok=True)
        marker.write_text("{}", encoding="utf-8")  # if we are killed now, we may still replace the folder
    except OSError as error:
        raise RunnerFailed(f"{prefix} cannot be created: {error.strerror}") from error
    try:
        progress.message(f"creating {prefix} with {interpreter}")
        _run([str(interpreter), "-m", "venv", str(prefix)])
        progress.message(f"installing GroqFlow {pins.GROQFLOW_VERSION}, {size}")
        pip = [str(environment_python), "-m", "pip", "install", "--quiet"]
        _run([*pip, *(["--no-deps"] if size == "lean" else []), *requirements])
        found = read_environment(environment_python)
        if found is None or wrong_pins(found):
            wrong = "; ".join(wrong_pins(found)) if found else "GroqFlow is missing"
            raise RunnerFailed(f"the packages in {prefix} after the installation: {wrong}")
        marker.write_text(json.dumps(settings), encoding="utf-8")
    except BaseException:
        shutil.rmtree(prefix, ignore_errors=True)
        raise
    return found


def _find_python() -> Path:
    """A Python 3.10, 3.9 or 3.8 on PATH or under pyenv. Raises RunnerUnavailable."""
    versions = pins.PYTHON_VERSIONS[::-1]
    root = os.environ.get("PYENV_ROOT")
    # Without PYENV_ROOT, pyenv keeps its Pythons in the home folder, or this Python is one of them.
    home = Path.home() / ".pyenv" / "versions"
    folders = [Path(root) / "versions"] if root else [home, Path(sys.base_prefix).parent]
    for version in versions:
        on_path = shutil.which(f"python{version}")
        paths = [path for folder in folders for path in sorted(folder.glob(f"{version}.*/bin/python"))]
        for candidate in (*([Path(on_path)] if on_path else []), *reversed(paths)):
            if _python_version(candidate) in pins.PYTHON_VERSIONS:  # a pyenv shim may not start
                return candidate
    raise RunnerUnavailable(
        f"Python {', '.join(versions)}: not found on PATH or under pyenv",
        "Install one (`pyenv install 3.10`, `apt install python3.10-venv`, `uv python install 3.10`), or "
        "name the Python to use.",
    )


def _python_version(python: Path) -> str | None:
    """Major and minor version of an interpreter, such as "3.10", or None if it does not start."""
    command = [str(python), "-c", "import sys; print(*sys.version_info[:2])"]
    output = output_of(command, time_limit_seconds=30)
    return None if output is None else ".".join(output.split())


def _run(command: Sequence[str]) -> None:
    """Run a command in a session of its own; an interrupt ends every process of it."""
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
        return parse_json(read_document(marker))
    except (OSError, ValueError):
        return None  # not our environment, or a damaged one
