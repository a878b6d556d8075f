"""once.py [--again] NAME COMMAND...: run COMMAND, unless it has already passed on this tree.
once.py: print the summaries of what passed.

COMMAND writes JUnit reports build/NAME*.xml. .venv/passed/NAME records the digest of the tree, when
COMMAND passed, and a summary of each report. The digest covers every file that the tests can see:
all that git does not ignore, ../shared, and the names and versions of all installed packages.
Without git, nothing counts as passed.
"""

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).parents[1]
BUILD, PASSED = ROOT / "build", ROOT / ".venv" / "passed"


def visible_files() -> Iterator[Path]:
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    yield from (ROOT / name for name in listed.split("\0") if name)
    yield from (ROOT.parent / "shared").rglob("*")
    yield from ROOT.glob(".venv*/lib/python3*/site-packages/*.dist-info")
    yield from ROOT.glob(".venv*/node_modules/*/package.json")


def tree_digest() -> str | None:
    digest = hashlib.sha256()
    try:
        paths = sorted(set(visible_files()))
    except (OSError, subprocess.CalledProcessError):
        return None
    for path in paths:
        if path.is_symlink():
            content = str(path.readlink()).encode()
        elif path.is_file():
            content = path.read_bytes()
        else:
            content = b""  # a folder, or a file that git still lists
        executable = path.exists() and bool(path.stat().st_mode & 0o100)
        entry = f"{os.path.relpath(path, ROOT)}\0{path.exists()}\0{executable}\0{len(content)}\0"
        digest.update(entry.encode() + content)
    return digest.hexdigest()


def summaries(reports: list[Path]) -> list[str]:
    """One line per report, as pytest closes a run."""
    lines = []
    for report in sorted(reports):
        suites = list(ElementTree.parse(report).getroot().iter("testsuite"))
        total, skipped, seconds = (
            sum(float(suite.get(key, 0)) for suite in suites) for key in ("tests", "skipped", "time")
        )
        counts = f"{total - skipped:.0f} passed" + (f", {skipped:.0f} skipped" if skipped else "")
        lines.append(f"==== {report.stem}: {counts} in {seconds:.2f}s ====")
    return lines


def run(name: str, command: list[str], again: bool) -> int:
    stamp = PASSED / name
    digest = tree_digest()
    if stamp.exists() and not again:
        passed, when, *lines = stamp.read_text("utf-8").splitlines()
        if passed == digest:
            count = sum(int(line.split()[2]) for line in lines)
            print(f"{name}: passed on this tree at {when} ({count} tests); nothing has changed since.")
            print("Run `make -B test` to run them again.")
            return 0
    stamp.unlink(missing_ok=True)
    for report in BUILD.glob(f"{name}*.xml"):
        report.unlink()
    BUILD.mkdir(exist_ok=True)
    code = subprocess.run(command, cwd=ROOT).returncode
    if code != 0:
        return code
    lines = summaries(list(BUILD.glob(f"{name}*.xml")))
    if digest is None or tree_digest() != digest:
        print(f"{name}: a file changed during the run, or git is missing: `make test` runs these again")
        digest = "unknown"
    stamp.parent.mkdir(exist_ok=True)
    stamp.write_text("\n".join([digest, f"{datetime.now():%Y-%m-%d %H:%M:%S}", *lines, ""]), "utf-8")
    return 0


def main() -> int:
    again = sys.argv[1:2] == ["--again"]
    if words := sys.argv[1 + again :]:
        return run(words[0], words[1:], again)
    for stamp in sorted(PASSED.iterdir(), key=lambda stamp: stamp.stat().st_mtime):
        print(*stamp.read_text("utf-8").splitlines()[2:], sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
