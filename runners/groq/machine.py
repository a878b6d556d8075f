"""Groq's SDK and hardware on this machine."""

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from minilmx.runners.groq.pythonpath import child_variables, runtime_folders

TOOLS = ("onnxmodelanalyzer", "groq-compiler", "aa-latest")
DEVTOOLS, RUNTIME = "groq-devtools", "groq-runtime"
# groqflow/common/sdk_helpers.py: MIN_RELEASE_VERSION, and a card's PCI vendor and device id.
MIN_SDK_VERSION = "0.9.2.1"
_CARD = "1de0:0000"
TOOL_FOLDER = Path("/usr/local/groq/bin")
_RUNTIME_FOLDER = Path("/opt/groq/runtime/site-packages")
_PACKAGE_MANAGER_SECONDS = 60

# What is known to work together, SDK release, operating system and Python: GroqFlow's installation guide, and
# for 0.11.0 the public documentation of the ALCF AI Testbed's GroqRack. Advice: GroqFlow refuses none.
TESTED = (
    ("0.11.0", "Ubuntu", "22.04", "3.10"),
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


@dataclass(frozen=True, slots=True)
class FoundCards:
    """The cards that `lspci -n` lists (None: it does not run here), and the driver's device files.

    How many device files a card has is not documented, so they do not say how many cards there are.
    """

    listed: int | None
    device_files: tuple[Path, ...]

    @property
    def exist(self) -> bool:
        """Whether there is at least one."""
        return bool(self.listed or self.device_files)


def find_tool(name: str) -> Path | None:
    """An SDK tool on PATH, or in /usr/local/groq/bin."""
    path = shutil.which(name) or shutil.which(name, path=str(TOOL_FOLDER))
    return Path(path) if path else None


def find_cards(devices: Path = Path("/dev")) -> FoundCards:
    """What this machine shows of its GroqCards."""
    lspci = shutil.which("lspci") or shutil.which("/usr/bin/lspci")
    output = output_of([lspci, "-n"]) if lspci else None
    listed = None if output is None else sum(_CARD in line for line in output.splitlines())
    return FoundCards(listed, tuple(sorted(devices.glob("groq*"))))


def find_card_tool() -> Path | None:
    """`tsp-ctl`, which the runtime brings: on PATH, among the SDK's tools, or in the runtime's folder."""
    runtime = find_runtime()
    path = find_tool("tsp-ctl") or (shutil.which("tsp-ctl", path=str(runtime / "bin")) if runtime else None)
    return Path(path) if path else None


def package_version(package: str) -> str | None:
    """The installed version of an SDK package, or None if nothing states it.

    dpkg-query and rpm answer at once. apt-cache and dnf, which GroqFlow asks, read the same databases and
    can take many seconds, so they are asked only if the others do not exist. The version of groq-runtime
    can also be read in the runtime's folder.
    """
    for queries in (
        (
            (["dpkg-query", "-W", "-f=${db:Status-Status} ${Version}\n", package], r"^installed (\S+)"),
            (["apt-cache", "policy", package], r"^\s*Installed:\s*(?!\(none\))(\S+)"),
        ),
        (
            (["rpm", "-q", "--qf", "%{VERSION}\\n", package], r"^(\d\S*)"),
            (["dnf", "info", "--installed", package], r"^Version\s*:\s*(\S+)"),
        ),
    ):
        for command, pattern in queries:
            if shutil.which(command[0]):
                output = output_of(command, _PACKAGE_MANAGER_SECONDS)
                if match := re.search(pattern, output or "", re.MULTILINE):
                    return match.group(1)
                break
    return _stated_by_the_runtime() if package == RUNTIME else None


def _stated_by_the_runtime() -> str | None:
    """The version of the distribution `groq` in the runtime's folder."""
    folder = find_runtime()
    distributions = metadata.distributions(name="groq", path=[str(folder)]) if folder else ()
    return next((each.version for each in distributions), None)


def release(version: str) -> tuple[int, ...]:
    """The numbers of a release without what a packager adds: "1:0.10.0-2~rc1" is (0, 10)."""
    numbers = re.match(r"[\d.]*", version.rpartition(":")[2])
    assert numbers is not None  # it matches an empty text, too
    parts = [int(number) for number in numbers.group().split(".") if number]
    while parts and parts[-1] == 0:
        parts.pop()
    return tuple(parts)


def too_old(version: str | None) -> bool:
    """Whether GroqFlow refuses this version of the SDK; not if it is unknown, or the check disabled."""
    is_skipped = os.environ.get("GROQFLOW_SKIP_SDK_CHECK") == "True"
    return version is not None and release(version) < release(MIN_SDK_VERSION) and not is_skipped


def read_os(path: Path = Path("/etc/os-release")) -> OperatingSystem:
    """This machine's operating system; its fields are empty if it does not state them."""
    fields = {}
    try:
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition("=")
            fields[key.strip()] = value.strip().strip("\"'")
    except OSError:
        pass  # not a Linux distribution
    return OperatingSystem(fields.get("NAME", ""), fields.get("VERSION_ID", ""))


def find_runtime() -> Path | None:
    """The folder that holds groq.runner: on PYTHONPATH, as Groq's guide sets it, or its usual place."""
    folders = [*map(Path, runtime_folders()), _RUNTIME_FOLDER]
    return next((path for path in folders if (path / "groq" / "runner").is_dir()), None)


def output_of(command: Sequence[str], time_limit_seconds: float = 4) -> str | None:
    """What a program prints, or None if it does not exist, fails, or takes too long."""
    try:
        return subprocess.run(
            command,
            env=child_variables(),  # dnf is a Python program
            capture_output=True,
            text=True,
            errors="replace",
            timeout=time_limit_seconds,
            check=True,
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
