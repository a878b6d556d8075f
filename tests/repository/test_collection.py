"""Test ids are the same on every machine, on every day and in every process.

pytest-xdist refuses to run where two workers collect different ids.
"""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def collect(folder: Path, hash_seed: str, *plugins: str) -> list[str]:
    folder.mkdir()
    command = [sys.executable, "-m", "pytest", "tests", "--collect-only", "-q", "-p", "no:cacheprovider"]
    command += [word for plugin in plugins for word in ("-p", plugin)]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ
        | {"PYTHONHASHSEED": hash_seed, "TMPDIR": str(folder), "PYTHONPATH": str(Path(__file__).parent)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return [line for line in done.stdout.splitlines() if "::" in line]


def test_the_same_ids_are_collected_on_another_machine_and_another_day(tmp_path: Path) -> None:
    here = collect(tmp_path / "a", "1")
    elsewhere = collect(tmp_path / "another folder", "2", "other_machine")
    assert len(here) > 1000
    assert here == elsewhere
