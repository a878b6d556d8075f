"""Where and when a number was made."""

import os
import platform
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import minilmx


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
    """This program, this machine, now."""
    return Provenance(
        minilmx.__version__,
        platform.python_version(),
        datetime.now(UTC).isoformat(timespec="seconds"),
        f"{platform.system()} {platform.release()} {platform.machine()}",
        _processor(),
        available_cpus(),
    )


def available_cpus() -> int:
    """How many CPUs this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass  # not Linux
    return platform.processor() or "unknown"
