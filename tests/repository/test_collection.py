"""Test ids are the same on every machine, on every day and in every process.

pytest-xdist refuses to run where two workers collect different ids.
"""

import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def by_file(ids: Iterable[str]) -> dict[str, list[str]]:
    files: dict[str, list[str]] = {}
    for each in ids:
        files.setdefault(each.partition("::")[0], []).append(each)
    return files


def test_the_same_ids_are_collected_on_another_machine_and_another_day(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "pytest", "tests", "--collect-only", "-q", "-p", "no:cacheprovider"]
    command += ["--assert=plain", "-p", "other_machine"]  # rewriting assertions takes long and changes no id
    paths = [str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    other = {"TMPDIR": str(tmp_path), "PYTHONPATH": os.pathsep.join(paths)}
    other["PYTHONHASHSEED"] = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
    done = subprocess.run(command, cwd=ROOT, env=os.environ | other, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    elsewhere = [line for line in done.stdout.splitlines() if "::" in line]
    assert [each for each in elsewhere if f"/{ROOT.parts[1]}/" in each.partition("::")[2]] == []
    # All, or those that this run was asked for, in whatever order of files.
    here = [item.nodeid for item in request.session.items]
    known = set(here)
    assert by_file(each for each in elsewhere if each in known) == by_file(here)
