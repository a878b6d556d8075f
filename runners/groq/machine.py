"""Groq's SDK and hardware on this machine, looked for as GroqFlow 4.3.1 does."""

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

TOOLS = ("onnxmodelanalyzer", "groq-compiler", "aa-latest")
DEVTOOLS, RUNTIME = "groq-devtools", "groq-runtime"
# groqflow/common/sdk_helpers.py: MIN_RELEASE_VERSION, and a card's PCI vendor and device id.
MIN_SDK_VERSION = (0, 9, 2, 1)
_CARD = "1de0:0000"
_TOOL_FOLDER = Path("/usr/local/groq/bin")
_RUNTIME_FOLDER = Path("/opt/groq/runtime/site-packages")

# The Python that each SDK release supports, by operating system: GroqFlow's installation guide.
SUPPORT = (
    ("0.9.2.1", "Ubuntu", "22.04", "3.10"),
    ("0.10.0", "Ubuntu", "22.04", "3.10"),
    ("0.9.3", "Ubuntu", "18.04", "3.8"),
    ("0.9.3", "Ubuntu", "22.04", "3.8"),
    ("0.9.3", "Rocky Linux", "8.4", "3.8"),
    ("0.10.0", "Rocky Linux", "8.4", "3.8"),
)


@dataclass(frozen=True, slots=True)
class OperatingSystem:
    """NAME and VERSION_ID of /etc/os-release."""

    name: str
    version: str


def sdk_check_is_skipped() -> bool:
    """Whether the user disabled GroqFlow's check of the SDK's packages and the operating system."""
    return os.environ.get("GROQFLOW_SKIP_SDK_CHECK") == "True"


def find_tool(name: str) -> Path | None:
    """An SDK tool on PATH, or in /usr/local/groq/bin."""
    found = shutil.which(name) or shutil.which(name, path=str(_TOOL_FOLDER))
    return Path(found) if found else None


def count_cards() -> int | None:
    """GroqCards that `lspci -n` lists, or None if lspci is not installed or fails."""
    lspci = shutil.which("lspci") or shutil.which("/usr/bin/lspci")
    output = output_of([lspci, "-n"]) if lspci else None
    return None if output is None else sum(_CARD in line for line in output.splitlines())


def package_version(package: str) -> str | None:
    """The installed version of an SDK package according to the package manager, or None."""
    if read_os().name.startswith("Rocky"):
        output, pattern = output_of(["dnf", "info", package]), r"^Version\s*:\s*(\S+)"
    else:
        output, pattern = output_of(["apt-cache", "policy", package]), r"^\s*Installed:\s*(\S+)"
    found = re.search(pattern, output or "", re.MULTILINE)
    return found.group(1) if found and found.group(1) != "(none)" else None


def version_tuple(version: str) -> tuple[int, ...]:
    """The numbers of a version, without a release candidate: "0.10.0~rc1" is (0, 10, 0)."""
    return tuple(int(number) for number in re.findall(r"\d+", re.split(r"[~+-]", version)[0]))


def read_os() -> OperatingSystem:
    """This machine's operating system; its fields are empty if it does not state them."""
    fields = {}
    try:
        for line in Path("/etc/os-release").read_text(encoding="utf-8").splitlines():
            key, _, value = line.partition("=")
            fields[key] = value.strip('"')
    except OSError:
        pass  # not a Linux distribution
    return OperatingSystem(fields.get("NAME", ""), fields.get("VERSION_ID", ""))


def find_runtime() -> Path | None:
    """The folder that holds groq.runner: on PYTHONPATH, as Groq's guide sets it, or its usual place."""
    stated = [Path(part) for part in os.environ.get("PYTHONPATH", "").split(os.pathsep) if part]
    folders = [*stated, _RUNTIME_FOLDER]
    return next((path for path in folders if (path / "groq" / "runner").is_dir()), None)


def groq_python() -> Path | None:
    """The Python that comes with the SDK, or None if it has none."""
    path = _TOOL_FOLDER / "python"
    return path if os.access(path, os.X_OK) else None


def output_of(command: Sequence[str], time_limit_seconds: float = 4) -> str | None:
    """What a program prints, or None if it does not exist, fails, or takes too long."""
    try:
        return subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=time_limit_seconds, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
