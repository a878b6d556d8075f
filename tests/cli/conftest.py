"""What the tests of the command line share: real processes, and a runner that can be waited for."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

Start = Callable[..., "subprocess.Popen[str]"]
SLOW_RUNNER = """
import time
from pathlib import Path
from minilmx.runners.base import RunnerEntry
from minilmx.runners.registry import find_runner


def open_original(artifact, progress):
    entry = find_runner("onnxruntime")
    return entry.open(artifact, entry.options(), progress)


def open_slow(artifact, options, progress):
    runner = open_original(artifact, progress)
    run = runner.run

    def slow(batch):
        Path("started").touch()
        time.sleep(0.05)
        return run(batch)

    runner.run = slow
    return runner


def open_faulty(artifact, options, progress):
    runner = open_original(artifact, progress)
    runner.run = lambda batch: 1 / 0
    return runner


SLOW = RunnerEntry("slow", "waits", lambda options: None, open_slow)
FAULTY = RunnerEntry("faulty", "fails", lambda options: None, open_faulty)
"""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """An environment in which a third-party package adds the runners `slow` and `faulty`."""
    packages = tmp_path / "packages"
    info = packages / "waiting-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: waiting\nVersion: 1.0\n")
    points = "[minilmx.runners]\nslow = waiting_runners:SLOW\nfaulty = waiting_runners:FAULTY\n"
    (info / "entry_points.txt").write_text(points)
    (packages / "waiting_runners.py").write_text(SLOW_RUNNER)
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    path = [str(packages), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**buffered, "PYTHONPATH": os.pathsep.join(path)}


@pytest.fixture
def start(environment: dict[str, str], tmp_path: Path) -> Start:
    """Start `mlx` as a process of its own, in a folder of the test's own."""

    def popen(*arguments: object) -> "subprocess.Popen[str]":
        command = [sys.executable, "-m", "minilmx", *map(str, arguments)]
        return subprocess.Popen(
            command,
            env=environment,
            cwd=tmp_path,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )

    return popen


def wait_for(condition: Callable[[], bool], process: "subprocess.Popen[str]") -> None:
    """Wait until something has happened, while a process runs."""
    for _ in range(3000):
        if condition():
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    raise AssertionError("it never happened")
