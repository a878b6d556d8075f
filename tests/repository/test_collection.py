"""Test ids are the same on every machine, on every day and in every process.

pytest-xdist refuses to run where two workers collect different ids.
"""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def start(folder: Path, hash_seed: str, *plugins: str) -> "subprocess.Popen[str]":
    folder.mkdir()
    command = [sys.executable, "-m", "pytest", "tests", "--collect-only", "-q", "-p", "no:cacheprovider"]
    command += ["--assert=plain"]  # rewriting the assertions takes half the time and changes no id
    command += [word for plugin in plugins for word in ("-p", plugin)]
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env=os.environ
        | {"PYTHONHASHSEED": hash_seed, "TMPDIR": str(folder), "PYTHONPATH": str(Path(__file__).parent)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def collected(process: "subprocess.Popen[str]") -> list[str]:
    output, _ = process.communicate()
    assert process.returncode == 0, output
    return [line for line in output.splitlines() if "::" in line]


def test_the_same_ids_are_collected_on_another_machine_and_another_day(tmp_path: Path) -> None:
    processes = start(tmp_path / "a", "1"), start(tmp_path / "another folder", "2", "other_machine")
    here, elsewhere = map(collected, processes)
    assert len(here) > 1000
    assert here == elsewhere
