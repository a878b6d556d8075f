"""What this machine has of everything that a run on a GroqCard needs, one check per line."""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from minilmx.runners.groq import machine
from minilmx.runners.groq.cache import cache_root
from minilmx.runners.groq.environment import (
    GroqFlowEnvironment,
    clean_variables,
    find_environment,
    missing_environment,
    runtime_python,
    wrong_pins,
)

_SALES = "ask Groq for the GroqWare SDK (sales@groq.com)"
# A build keeps the ONNX file three times and the program: well under this for MiniLM.
_FREE_DISK_BYTES = 2 * 10**9
_SKIPPED = ", not checked: GROQFLOW_SKIP_SDK_CHECK is set"


@dataclass(frozen=True, slots=True)
class Check:
    """One check. `found` says what was found, and `remedy` what to do if the check is not `ok`.

    `needed_to` is "build", "run" or "both".
    """

    name: str
    ok: bool
    found: str
    remedy: str
    needed_to: str


def examine() -> list[Check]:
    """Check everything that building and running need."""
    environment = find_environment()
    # Read once, because a package manager takes half a second to answer.
    devtools, runtime = (machine.package_version(name) for name in (machine.DEVTOOLS, machine.RUNTIME))
    return [
        _check_environment(environment),
        _check_pins(environment),
        *(_check_tool(name) for name in machine.TOOLS),
        _check_system(),
        _check_package(machine.DEVTOOLS, devtools, "build"),
        _check_package(machine.RUNTIME, runtime, "run"),
        _check_support(environment, devtools or runtime),
        _check_runtime(environment),
        _check_cards(),
        _check_cache(),
        _check_disk(),
    ]


def missing_to_run(*, from_bundle: bool) -> str | None:
    """What this machine lacks to run on a card, or None. A bundle needs no compiler."""
    failed = [
        f"{check.name}: {check.found}"
        for check in examine()
        if not check.ok and not (from_bundle and check.needed_to == "build")
    ]
    return f"{'; '.join(failed)}. Run `mlx groq doctor` to see the remedies" if failed else None


def _check_environment(environment: GroqFlowEnvironment | None) -> Check:
    if environment is None:
        return Check("GroqFlow", False, missing_environment(), "run `mlx groq setup`", "build")
    found = (
        f"GroqFlow {environment.versions['groqflow']}, {environment.size}, on Python "
        f"{environment.python_version}, {environment.python.parent.parent}"
    )
    return Check("GroqFlow", True, found, "", "build")


def _check_pins(environment: GroqFlowEnvironment | None) -> Check:
    wrong = wrong_pins(environment) if environment else ["GroqFlow is missing"]
    found = "; ".join(wrong) or "as pinned"
    return Check("GroqFlow pins", not wrong, found, "run `mlx groq setup`", "build")


def _check_tool(name: str) -> Check:
    path = machine.find_tool(name)
    found = str(path) if path else "not on PATH or in /usr/local/groq/bin"
    return Check(name, path is not None, found, f"install groq-devtools: {_SALES}", "build")


def _check_system() -> Check:
    system, skipped = machine.read_os(), machine.sdk_check_is_skipped()
    known = {row[1] for row in machine.SUPPORT}
    remedy = f"use {' or '.join(sorted(known))}, or set GROQFLOW_SKIP_SDK_CHECK=True"
    found = f"{system.name} {system.version}".strip() or "unknown"
    found += _SKIPPED if skipped else ""
    return Check("operating system", system.name in known or skipped, found, remedy, "both")


def _check_package(package: str, version: str | None, needed_to: str) -> Check:
    least = ".".join(map(str, machine.MIN_SDK_VERSION))
    new_enough = machine.version_tuple(version or "") >= machine.MIN_SDK_VERSION
    skipped = machine.sdk_check_is_skipped()
    found = (version or "not installed") + (_SKIPPED if skipped and not new_enough else "")
    remedy = f"install {package} {least} or later: {_SALES}"
    return Check(package, new_enough or skipped, found, remedy, needed_to)


def _check_support(environment: GroqFlowEnvironment | None, version: str | None) -> Check:
    """Whether the SDK's release supports both this system and GroqFlow's Python."""
    system, skipped = machine.read_os(), machine.sdk_check_is_skipped()
    python = environment.python_version if environment else None
    rows = [row for row in machine.SUPPORT if (row[1], row[2]) == (system.name, system.version)]
    releases = ", ".join(f"SDK {row[0]} with Python {row[3]}" for row in rows) or "no SDK release"
    found = f"SDK {version or 'missing'}, {system.name} {system.version}, Python {python or 'missing'}"
    found += _SKIPPED if skipped else ""
    numbers = machine.version_tuple(version or "")
    ok = skipped or any((numbers, python) == (machine.version_tuple(row[0]), row[3]) for row in rows)
    remedy = f"{system.name} {system.version} is supported by {releases}"
    return Check("SDK support", ok, found, remedy, "build")


def _check_runtime(environment: GroqFlowEnvironment | None) -> Check:
    """Whether the Python that runs programs can import the runtime's module."""
    name, folder = "groq.runner.tsp", machine.find_runtime()
    remedy = f"install groq-runtime, or put its site-packages on PYTHONPATH: {_SALES}"
    if folder is None:
        return Check(name, False, "not on PYTHONPATH or under /opt/groq/runtime", remedy, "run")
    python = runtime_python(environment)
    code = f"import numpy, sys; sys.path.insert(0, {str(folder)!r}); import groq.runner.tsp"
    try:
        done = subprocess.run(
            [str(python), "-c", code],
            env=clean_variables(),
            capture_output=True,
            text=True,
            errors="replace",
            timeout=20,
            check=False,
        )
        error = (done.stderr.strip().splitlines() or ["no message"])[-1]
        ok = done.returncode == 0
    except (OSError, subprocess.SubprocessError) as failure:
        ok, error = False, str(failure)
    found = f"{folder} with {python}" if ok else f"{python} cannot import it: {error}"
    return Check(name, ok, found, remedy, "run")


def _check_cards() -> Check:
    cards = machine.count_cards()
    found = "unknown: lspci does not run here" if cards is None else f"{cards} seen by lspci"
    remedy = "install pciutils" if cards is None else "install a GroqCard, or use another machine"
    return Check("GroqCards", bool(cards), found, remedy, "run")


def _check_cache() -> Check:
    folder = cache_root()
    existing = _existing(folder)  # a check creates nothing
    ok = existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)
    found = str(folder) if ok else f"{folder} cannot be written"
    return Check("build cache", ok, found, "set XDG_CACHE_HOME to a folder that you own", "both")


def _existing(path: Path) -> Path:
    """The path, or the nearest of its parents that exists."""
    return next(folder for folder in (path, *path.parents) if folder.exists())


def _check_disk() -> Check:
    folder = _existing(cache_root())
    free = shutil.disk_usage(folder).free
    found = f"{free / 1e9:.1f} GB free in {folder}"
    remedy = f"free {_FREE_DISK_BYTES / 1e9:g} GB, or set XDG_CACHE_HOME"
    return Check("free disk", free >= _FREE_DISK_BYTES, found, remedy, "build")
