"""What is recorded of the machine, and how many CPUs may be used."""

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from minilmx.cpus import cpu_quota

OPEN_A_RUNNER = """
import sys
import minilmx
from minilmx.cpus import available_cpus
from minilmx.export.parity import open_session
with minilmx.load(sys.argv[1], graph="fixed") as model:
    print(available_cpus(), model.runner.details["threads"])
proof = open_session(minilmx.open_artifact(sys.argv[1]).fixed_graph)  # as an export opens it
print(proof.get_session_options().intra_op_num_threads)
"""
CPU_GROUPS = Path("/sys/fs/cgroup/cpu")


@pytest.mark.parametrize(
    ("membership", "files", "expected"),
    [
        ("0::/", {"cpu.max": "100000 100000"}, 1),
        ("0::/", {"cpu.max": "150000 100000"}, 1.5),
        ("0::/", {"cpu.max": "max 100000"}, math.inf),
        ("0::/", {}, math.inf),
        ("0::/a/b", {"a/cpu.max": "200000 100000", "a/b/cpu.max": "max 100000"}, 2),
        ("0::/not/visible", {"cpu.max": "50000 100000"}, 0.5),
        (
            "4:memory:/x\n1:cpu,cpuacct:/",
            {"cpu,cpuacct/cpu.cfs_quota_us": "300000", "cpu,cpuacct/cpu.cfs_period_us": "100000"},
            3,
        ),
        ("1:cpu:/", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, math.inf),
    ],
    ids=["one", "fraction", "none", "no file", "parent", "own root", "version 1", "version 1 without"],
)
def test_the_quota_of_the_control_groups_is_found(
    membership: str, files: dict[str, str], expected: float, tmp_path: Path
) -> None:
    (tmp_path / "membership").write_text(membership + "\n")
    for name, content in files.items():
        path = tmp_path / "root" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content + "\n")
    assert cpu_quota(tmp_path / "membership", tmp_path / "root") == expected


def test_without_control_groups_there_is_no_quota(tmp_path: Path) -> None:
    assert cpu_quota(tmp_path / "missing", tmp_path) == math.inf


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two CPUs, for a quota that is less")
@pytest.mark.skipif(
    not os.access(CPU_GROUPS, os.W_OK), reason=f"needs to create a control group in {CPU_GROUPS}"
)
def test_a_real_quota_limits_the_cpus_and_the_threads_of_a_runner(tiny: Path) -> None:
    group = CPU_GROUPS / f"minilmx-{os.getpid()}"
    try:
        group.mkdir()
    except OSError:
        pytest.skip(f"needs to create a control group in {CPU_GROUPS}")
    try:
        (group / "cpu.cfs_quota_us").write_text("100000")  # one CPU's time in each period of 100,000 us
        join = f'echo $$ > {group}/cgroup.procs && exec "$@"'
        command = ["sh", "-c", join, "sh", sys.executable, "-c", OPEN_A_RUNNER, str(tiny)]
        assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "1 1\n1\n"
    finally:
        group.rmdir()
