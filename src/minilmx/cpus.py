"""How many CPUs this process may use, and the threads that follow from it."""

import math
import os
from pathlib import Path


def available_cpus() -> int:
    """How many CPUs this process may use: its affinity, or its control group's quota if that is less."""
    return math.ceil(min(_affinity(), cpu_quota()))


def limited_threads(threads: int | None) -> int | None:
    """The threads asked for; without a number, those of a CPU quota, or None: the library's own choice.

    Libraries see the affinity of a process and not its quota, and more threads than CPUs wait for each
    other.
    """
    quota = cpu_quota()
    return math.ceil(quota) if threads is None and quota < _affinity() else threads


def _affinity() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cpu_quota(membership: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")) -> float:
    """The CPUs that the control groups of a process let it use, at most; infinity without a quota.

    `membership` and `root` are laid out as the kernel's cgroup documentation has it: version 2 keeps
    "quota period" in cpu.max, version 1 keeps cpu.cfs_quota_us beside cpu.cfs_period_us. A quota of a
    parent group holds for its children. A container may see its own group as the root.
    """
    try:
        lines = membership.read_text(encoding="utf-8").splitlines()
    except OSError:
        return math.inf  # not Linux
    quota = math.inf
    for line in lines:
        _, controllers, name = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        top = root / controllers if controllers else root
        group = top / name.strip("/")
        for folder in (group, *group.parents):
            quota = min(quota, _quota_of(folder))
            if folder == top:
                break
    return quota


def _quota_of(group: Path) -> float:
    """The CPUs of one control group's own quota, or infinity."""

    def read(name: str) -> list[str]:
        try:
            return (group / name).read_text(encoding="utf-8").split()
        except OSError:
            return []

    quota, period, *_ = *(read("cpu.max") or read("cpu.cfs_quota_us") + read("cpu.cfs_period_us")), "", ""
    return int(quota) / int(period) if quota.isdecimal() and period.isdecimal() and int(period) else math.inf
