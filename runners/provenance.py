"""Where and when a number was made."""

import platform
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import minilmx
from minilmx.cpus import available_cpus


@dataclass(frozen=True, slots=True)
class Provenance:
    """Recorded with every run and result. `created` is UTC, ISO 8601."""

    minilmx: str
    python: str
    created: str
    system: str
    processor: str
    cpus: int


def record_provenance() -> Provenance:
    """The provenance of a number that is made now, by this program on this machine."""
    return Provenance(
        minilmx.__version__,
        platform.python_version(),
        datetime.now(timezone.utc).isoformat(timespec="seconds"),
        f"{platform.system()} {platform.release()} {platform.machine()}",
        _processor(),
        available_cpus(),
    )


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass  # not Linux
    return platform.processor() or "unknown"
