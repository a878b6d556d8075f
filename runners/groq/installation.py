"""Creating GroqFlow's Python environment."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from minilmx.errors import RunnerFailed, RunnerUnavailable, boundary
from minilmx.files.documents import parse_json, read_document
from minilmx.progress import Progress
from minilmx.runners.groq import pins
from minilmx.runners.groq.environment import (
    GroqFlowEnvironment,
    clean_variables,
    conda_prefixes,
    default_prefix,
    read_environment,
    wrong_pins,
)
from minilmx.runners.groq.machine import (
    DEVTOOLS,
    RUNTIME,
    TESTED,
    output_of,
    package_version,
    read_os,
    release,
)
from minilmx.runners.groq.trial import try_environment

_MARKER = "minilmx-setup.json"


@dataclass(frozen=True, slots=True)
class Installation:
    """GroqFlow's environment, and how far a build of a tiny graph came in it, in words."""

    environment: GroqFlowEnvironment
    trial: str


def set_up(size: str, python: Path | None, prefix: Path | None, progress: Progress) -> Installation:
    """Create GroqFlow's environment and try it; an environment that exists already is only tried.

    `size` is "lean" (what the ONNX path needs) or "full" (what Groq's guide installs); `python` is a Python
    3.8 to 3.10, None for the first on PATH or of pyenv, uv or conda that can create environments, of the
    version that the installed SDK wants if there is one; `prefix` is the folder to create, None for the
    default one. Raises RunnerUnavailable if such a Python is not found, and RunnerFailed if the installation
    fails, after which nothing is left at `prefix`, or if GroqFlow does not work.
    """
    pythons = [python] if python else _find_pythons()
    environment = _install_with_first((prefix or default_prefix()).absolute(), size, pythons, progress)
    return Installation(environment, try_environment(environment))


class _CannotCreate(RunnerFailed):
    """A Python without a module that environments need, as Debian and Ubuntu ship it."""


def _install_with_first(
    prefix: Path, size: str, pythons: Iterable[Path], progress: Progress
) -> GroqFlowEnvironment:
    """Install with the first Python that can create environments. Raises RunnerUnavailable, RunnerFailed."""
    failures: list[str] = []
    for python in pythons:
        try:
            return _install(prefix, size, python, progress)
        except _CannotCreate as error:
            progress.message(error.message)
            failures.append(error.message)
    if failures:
        raise RunnerFailed("; ".join(failures))
    raise RunnerUnavailable(
        f"Python {', '.join(_versions())}: not found on PATH or under pyenv, uv or conda",
        "Install one (`uv python install 3.10`, `conda create -n groq python=3.10`, `pyenv install 3.10`, "
        "`apt install python3.10-venv`), or name the Python to use.",
    )


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
    with boundary(RunnerFailed, f"{prefix} cannot be created"):
        if not marker.is_file() and prefix.exists() and (not prefix.is_dir() or any(prefix.iterdir())):
            raise RunnerFailed(
                f"{prefix} was not created by minilmx; expected a new or empty folder",
                "Choose another folder.",
            )
        shutil.rmtree(prefix, ignore_errors=True)
        prefix.mkdir(parents=True, exist_ok=True)
        marker.write_text("{}", encoding="utf-8")  # if we are killed now, we may still replace the folder
    try:
        progress.message(f"creating {prefix} with {interpreter}")
        try:
            _run([str(interpreter), "-m", "venv", str(prefix)])
        except RunnerFailed as error:
            raise _CannotCreate(error.message) from error
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


def _versions() -> list[str]:
    """The Pythons that GroqFlow runs on, first the one that the installed SDK wants, and then the newest."""
    newest_first = list(pins.PYTHON_VERSIONS[::-1])
    sdk, system = package_version(DEVTOOLS) or package_version(RUNTIME), read_os()
    if sdk is None:
        return newest_first
    rows = [row for row in TESTED if _minor_release(sdk) == _minor_release(row[0])]
    rows.sort(key=lambda row: row[1] != system.name)
    return list(dict.fromkeys([*(row[3] for row in rows[:1]), *newest_first]))


def _find_pythons() -> Iterator[Path]:
    """The Pythons that GroqFlow runs on, on PATH and of pyenv, uv and conda."""
    root, data = os.environ.get("PYENV_ROOT"), os.environ.get("XDG_DATA_HOME")
    # Without PYENV_ROOT, pyenv keeps its Pythons in the home folder, or this Python is one of them.
    home = Path.home()
    pyenv = [Path(root) / "versions"] if root else [home / ".pyenv/versions", Path(sys.base_prefix).parent]
    stated = os.environ.get("UV_PYTHON_INSTALL_DIR")
    uv = Path(stated) if stated else Path(data or home / ".local" / "share") / "uv" / "python"
    for version in _versions():
        on_path = shutil.which(f"python{version}")
        candidates = [
            *([Path(on_path)] if on_path else []),
            *(path for folder in pyenv for path in sorted(folder.glob(f"{version}.*/bin/python"))[::-1]),
            *sorted(uv.glob(f"cpython-{version}.*/bin/python{version}"))[::-1],
            *(prefix / "bin" / f"python{version}" for prefix in conda_prefixes()),
        ]
        for candidate in candidates:
            if _python_version(candidate) == version:  # a pyenv shim may not start
                yield candidate


def _minor_release(version: str) -> tuple[int, ...]:
    """Three numbers: what is tested with 0.10.0 is tried with 0.10.0.1, too."""
    return (*release(version), 0, 0, 0)[:3]


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
        printed = " ".join(f"{stdout} {stderr}".split()) or "no output"
        raise RunnerFailed(f"{' '.join(command[:4])} failed: {printed}")


def _read_marker(marker: Path) -> object:
    try:
        return parse_json(read_document(marker))
    except (OSError, ValueError):
        return None  # not our environment, or a damaged one
