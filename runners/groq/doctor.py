"""What this machine has of everything that a run on a GroqCard needs, one check per line."""

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from minilmx.runners.groq import machine, runtime
from minilmx.runners.groq.cache import cache_root
from minilmx.runners.groq.environment import (
    GroqFlowEnvironment,
    find_environment,
    missing_environment,
    wrong_pins,
)
from minilmx.runners.groq.trial import conversion_problem

_SALES = "ask Groq for the GroqWare SDK (sales@groq.com)"
_STATUS_SECONDS = 10
# A build keeps the ONNX file three times and the program: well under this for MiniLM.
_FREE_DISK_BYTES = 2 * 10**9
# GroqFlow's README asks for 32 GB to build; the kernel and the firmware keep a part of it.
_MEMORY_BYTES = 30 * 10**9


@dataclass(frozen=True, slots=True)
class MachineCheck:
    """One check. `found` says what was found, and `remedy` what to do if the check is not `ok`.

    If it is `ok` and a `warning`, nothing is refused, and `remedy` says what to know. `needed_to` is
    "build", "run" or "both".
    """

    name: str
    ok: bool
    found: str
    remedy: str
    needed_to: str
    warning: bool = False


def examine() -> list[MachineCheck]:
    """Check everything that building and running need."""
    environment = find_environment()
    # Read once, because a package manager can take seconds to answer.
    devtools, installed = (machine.package_version(name) for name in (machine.DEVTOOLS, machine.RUNTIME))
    tools = [_check_tool(name) for name in machine.TOOLS]
    runs = _check_runtime(environment)
    return [
        _check_environment(environment),
        _check_conversion(environment),
        *tools,
        _check_package(machine.DEVTOOLS, devtools, all(tool.ok for tool in tools), "build"),
        _check_package(machine.RUNTIME, installed, runs.ok, "run"),
        _check_tested(environment, devtools or installed),
        runs,
        _check_cards(),
        _check_cache(),
        _check_disk(),
        _check_memory(),
    ]


def card_status() -> list[MachineCheck]:
    """What `tsp-ctl status` prints, by lines, if it is installed. Advice: its format is not published."""
    tool = machine.find_card_tool()
    if tool is None:
        return []
    printed = machine.output_of([str(tool), "status"], _STATUS_SECONDS)
    if printed is None:
        found = f"{tool} failed, or gave no answer within {_STATUS_SECONDS} s"
        return [MachineCheck("tsp-ctl status", True, found, "run it to see why", "run", warning=True)]
    text = re.sub(r"\x1b\[[0-9;]*[A-Za-z]|\0", "", printed)  # colours, and what is not text
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    return [MachineCheck("tsp-ctl status", True, "\n".join(lines) or "no output", "", "run")]


def missing_to_run(*, from_bundle: bool) -> str | None:
    """What this machine lacks to run on a card, or None. A bundle needs no compiler."""
    failed = [
        check for check in examine() if not check.ok and not (from_bundle and check.needed_to == "build")
    ]
    if not failed:
        return None
    if len(failed) > 2:  # a machine without Groq's software: the reasons of each say nothing more
        found = f"{len(failed)} things are missing: {', '.join(check.name for check in failed)}"
    else:
        found = "; ".join(f"{check.name}: {check.found}" for check in failed)
    return f"{found}. Run `mlx groq doctor` to see why, and the remedies"


def _check_environment(environment: GroqFlowEnvironment | None) -> MachineCheck:
    if environment is None:
        return MachineCheck("GroqFlow", False, missing_environment(), "run `mlx groq setup`", "build")
    found = (
        f"GroqFlow {environment.versions['groqflow']}, {environment.size}, on Python "
        f"{environment.python_version}, {environment.python.parent.parent}"
    )
    return MachineCheck("GroqFlow", True, found, "", "build")


def _check_conversion(environment: GroqFlowEnvironment | None) -> MachineCheck:
    """Whether GroqFlow's conversion to float16 works; an environment with the pinned packages is known to."""
    name, remedy = "FP16 conversion", "run `mlx groq setup`"
    if environment is None:
        return MachineCheck(name, False, "GroqFlow is missing", remedy, "build")
    problem = conversion_problem(environment)
    if problem is not None:
        return MachineCheck(name, False, problem, remedy, "build")
    others = wrong_pins(environment)
    found = f"works, with other packages than the tested ones: {'; '.join(others)}" if others else "as tested"
    return MachineCheck(name, True, found, "", "build")


def _check_tool(name: str) -> MachineCheck:
    path = machine.find_tool(name)
    found = str(path) if path else "not on PATH or in /usr/local/groq/bin"
    return MachineCheck(name, path is not None, found, f"install groq-devtools: {_SALES}", "build")


def _check_package(package: str, version: str | None, is_here: bool, needed_to: str) -> MachineCheck:
    """Whether a package is new enough; what `is_here` may be of a version that nothing states."""
    ok = is_here if version is None else not machine.too_old(version)
    unknown = "unknown version" if is_here else "not installed"
    least = machine.MIN_SDK_VERSION
    remedy = f"{package} {least} or later is needed: {_SALES}"
    return MachineCheck(package, ok, version or unknown, remedy, needed_to, warning=version is None)


def _check_tested(environment: GroqFlowEnvironment | None, version: str | None) -> MachineCheck:
    """Advice: whether this SDK, system and Python are known to work together. GroqFlow refuses no others."""
    system, python = machine.read_os(), environment.python_version if environment else None
    found = f"SDK {version or 'unknown'}, {system.name} {system.version}, Python {python or 'unknown'}"
    same_system = [row for row in machine.TESTED if row[1:3] == (system.name, system.version)]
    releases = " or ".join(f"SDK {row[0]} with Python {row[3]}" for row in same_system)
    tested = any(
        (machine.release(row[0]), row[3]) == (machine.release(version or ""), python) for row in same_system
    )
    remedy = f"not known to work together; known on {system.name} {system.version}: {releases or 'nothing'}"
    return MachineCheck("tested together", True, found, "" if tested else remedy, "build", warning=not tested)


def _check_runtime(environment: GroqFlowEnvironment | None) -> MachineCheck:
    """Whether a Python can drive the runtime, and all that were tried before it."""
    name, folder = "groq.runner.tsp", machine.find_runtime()
    place = str(folder) if folder else "not on PYTHONPATH or under /opt/groq/runtime"
    attempts = runtime.try_pythons(folder, environment)
    remedy = (
        "install groq-runtime, put its site-packages on PYTHONPATH, or name a Python that drives it in "
        f"{runtime.RUNTIME_PYTHON_VARIABLE}: {_SALES}"
    )
    if not attempts or attempts[-1].problem is not None:
        return MachineCheck(name, False, f"{place}; {runtime.describe(attempts)}", remedy, "run")
    failed = "".join(f"; not with {each.python}: {each.problem}" for each in attempts[:-1])
    found = f"{place} with {attempts[-1].python}{failed}"
    ignored = bool(failed) and runtime.RUNTIME_PYTHON_VARIABLE in os.environ  # it is tried first
    remedy = f"{runtime.RUNTIME_PYTHON_VARIABLE} names a Python that cannot be used" if ignored else ""
    return MachineCheck(name, True, found, remedy, "run", warning=ignored)


def _check_cards() -> MachineCheck:
    cards = machine.find_cards()
    listed = "lspci does not run here" if cards.listed is None else f"{cards.listed} seen by lspci"
    shown = cards.listed is None or cards.device_files
    devices = f", {len(cards.device_files)} device files /dev/groq*" if shown else ""
    if not cards.exist:
        remedy = "install a GroqCard, or use another machine"
        return MachineCheck("GroqCards", False, listed + devices, remedy, "run")
    remedy = "" if cards.listed else "install pciutils to see how many cards there are"
    return MachineCheck("GroqCards", True, listed + devices, remedy, "run", warning=not cards.listed)


def _check_cache() -> MachineCheck:
    folder = cache_root()
    existing = _existing(folder)  # a check creates nothing
    ok = existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)
    found = str(folder) if ok else f"{folder} cannot be written"
    return MachineCheck("build cache", ok, found, "set XDG_CACHE_HOME to a folder that you own", "both")


def _existing(path: Path) -> Path:
    """The path, or the nearest of its parents that exists."""
    return next(folder for folder in (path, *path.parents) if folder.exists())


def _check_disk() -> MachineCheck:
    folder = _existing(cache_root())
    free = shutil.disk_usage(folder).free
    found = f"{free / 1e9:.1f} GB free in {folder}"
    remedy = f"free {_FREE_DISK_BYTES / 1e9:g} GB, or set XDG_CACHE_HOME"
    return MachineCheck("free disk", free >= _FREE_DISK_BYTES, found, remedy, "build")


def _check_memory() -> MachineCheck:
    """Advice: a graph may need less than GroqFlow's README asks for."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    enough = total >= _MEMORY_BYTES
    remedy = "" if enough else "Groq asks for 32 GB to build: the compiler may be killed for lack of memory"
    return MachineCheck("memory", True, f"{total / 1e9:.0f} GB", remedy, "build", warning=not enough)
