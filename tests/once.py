"""once.py [--again] NAME COMMAND...: run COMMAND, unless it has already passed on this tree.

COMMAND writes JUnit reports build/NAME*.xml. .venv/passed/NAME records the digest of the tree, when
the tests passed and pytest's summaries. The digest covers every file that the tests can see: all
that git does not ignore, ../shared, and the names and versions of all installed packages.
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


def visible_files() -> Iterator[Path]:
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    yield from (ROOT / name for name in listed.split("\0") if name)
    yield from (ROOT.parent / "shared").rglob("*")
    yield from ROOT.glob(".venv*/lib/python3*/site-packages/*.dist-info")
    yield from ROOT.glob(".venv*/node_modules/*/package.json")


def tree_digest() -> str:
    digest = hashlib.sha256()
    for path in sorted(set(visible_files())):
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


def main() -> int:
    words = sys.argv[1:]
    again = words[0] == "--again"
    name, *command = words[again:]
    stamp = ROOT / ".venv" / "passed" / name
    digest = tree_digest()
    if stamp.exists() and not again:
        passed, when, *lines = stamp.read_text("utf-8").splitlines()
        if passed == digest:
            print(*lines, sep="\n")
            print(f"These passed on this tree at {when}; nothing has changed since.")
            print("Run `make -B test` to run them again.")
            return 0
    stamp.unlink(missing_ok=True)
    for report in (ROOT / "build").glob(f"{name}*.xml"):
        report.unlink()
    (ROOT / "build").mkdir(exist_ok=True)
    code = subprocess.run(command, cwd=ROOT).returncode
    if code != 0:
        return code
    lines = summaries(list((ROOT / "build").glob(f"{name}*.xml")))
    print(*lines, sep="\n")
    if not lines:
        print(f"{name}: no test ran")
    elif tree_digest() != digest:
        print(f"{name}: a file changed during the run: the next run starts again")
    else:
        stamp.parent.mkdir(exist_ok=True)
        stamp.write_text("\n".join([digest, f"{datetime.now():%Y-%m-%d %H:%M:%S}", *lines, ""]), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
