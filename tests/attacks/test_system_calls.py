"""Every system call that writes fails once, or is the last of its process: what is there is whole.

strace injects the failure: ENOSPC, or SIGKILL, at the n-th such call of each thread. After it the output is
the old one or the new one, and the same command then ends as if nothing had happened.
"""

import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from minilmx.models.artifact import Artifact

STRACE = shutil.which("strace")
CALLS = (
    "write,pwrite64,writev,fsync,fdatasync,ftruncate,fallocate,rename,renameat,renameat2,mkdir,mkdirat,"
    "unlink,unlinkat,rmdir,chmod,fchmod,fchmodat,link,linkat,symlink,symlinkat"
)
FAILURES = {"error": "error=ENOSPC", "kill": "signal=KILL"}
STRIDE = int(os.environ.get("CALLS_STRIDE", "11"))  # one call in so many; 1: every call


@dataclass(frozen=True)
class Command:
    """A command that writes `outputs`, and one that wrote what stood there before."""

    words: str
    outputs: tuple[str, ...]
    before: str


COMMANDS = {
    "export": Command(
        "export model --from-onnx --batch-size 2 --sequence-length 16 --force -o new",
        ("new",),
        "export model --from-onnx --batch-size 3 --sequence-length 16 -o new",
    ),
    "run": Command("run tiny texts.txt --force -o e.npy", ("e.npy",), "run tiny other.txt -o e.npy"),
    "run to JSON lines": Command(
        "run tiny texts.txt --force -o e.jsonl", ("e.jsonl",), "run tiny other.txt -o e.jsonl"
    ),
    "run to a folder": Command("run tiny texts.txt --shard-rows 2 -o shards/", ("shards",), ""),
    "compare": Command("compare a.npy b.npy --force -o r.json", ("r.json",), "compare b.npy a.npy -o r.json"),
    "report": Command("report a.json --force -o page.md", ("page.md",), "report b.json -o page.md"),
}


@pytest.fixture(scope="module")
def environment() -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("HOME", "PATH", "PYTHONPATH") if name in os.environ}
    return kept | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONDONTWRITEBYTECODE": "1"}


@pytest.fixture(scope="module")
def inputs(
    tiny_original: Artifact,
    tiny_folder: Path,
    environment: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A folder with what the commands read."""
    folder = tmp_path_factory.mktemp("inputs")
    (folder / "tiny").symlink_to(tiny_original.path)
    (folder / "model").symlink_to(tiny_folder)
    (folder / "texts.txt").write_text("one\ntwo\nthree\nfour\nfive\n")
    (folder / "other.txt").write_text("six\nseven\n")
    for words in (
        "run tiny texts.txt -o a.npy",
        "run tiny texts.txt --graph fixed -o b.npy",
        "compare a.npy b.npy -o a.json",
        "compare b.npy a.npy -o b.json",
    ):
        assert run(words, folder, environment).returncode == 0
    return folder


def run(
    words: str, folder: Path, environment: dict[str, str], *before: str
) -> "subprocess.CompletedProcess[str]":
    command = [*before, sys.executable, "-m", "minilmx", *words.split()]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def traced(
    words: str, folder: Path, environment: dict[str, str], *inject: str
) -> tuple["subprocess.CompletedProcess[str]", list[tuple[str, int]]]:
    """Run a command under strace; also which call of each kind a thread made, in the order of the calls."""
    log = folder.with_name("strace.log")
    before = (str(STRACE), "-f", "--seccomp-bpf", "-o", str(log), "-e", f"trace={CALLS}", *inject)
    done = run(words, folder, environment, *before)
    counts: Counter[tuple[str, str]] = Counter()
    calls: dict[tuple[str, int], None] = {}
    for thread, call in re.findall(r"^(\d+) +(\w+)\(", log.read_text(errors="replace"), re.MULTILINE):
        counts[thread, call] += 1
        calls[call, counts[thread, call]] = None
    return done, list(calls)


def contents(folder: Path, outputs: tuple[str, ...]) -> dict[str, str]:
    """The SHA-256 of each file of the outputs, without a date; not of what the next run removes."""
    files = [
        path
        for name in outputs
        for path in ((folder / name).rglob("*") if (folder / name).is_dir() else [folder / name])
        if path.is_file() and ".mlx-partial" not in path.as_posix()
    ]
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(
            re.sub(rb'"created": "[^"]*"', b"", path.read_bytes())
        ).hexdigest()
        for path in files
    }


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


@pytest.mark.slow
@pytest.mark.skipif(STRACE is None, reason="needs strace, to make a system call fail")
@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("name", COMMANDS)
def test_after_a_system_call_that_fails_the_output_is_the_old_or_the_new_one(
    name: str, failure: str, inputs: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    command = COMMANDS[name]
    base, undisturbed = tmp_path / "base", tmp_path / "undisturbed"
    shutil.copytree(inputs, base, symlinks=True)
    if command.before:
        assert run(command.before, base, environment).returncode == 0
    shutil.copytree(base, undisturbed, symlinks=True)
    done, calls = traced(command.words, undisturbed, environment)
    assert done.returncode == 0, done.stderr
    old, new = contents(base, command.outputs), contents(undisturbed, command.outputs)
    assert old != new
    expected = names(undisturbed)
    assert len(calls) > STRIDE

    for call, number in calls[::STRIDE]:
        work = tmp_path / "work"
        shutil.copytree(base, work, symlinks=True)
        inject = f"inject={call}:{FAILURES[failure]}:when={number}"
        done, _ = traced(command.words, work, environment, "-e", inject)
        where = f"{call} {number}: exit code {done.returncode}\n{done.stderr}"
        assert "Traceback" not in done.stderr, where
        assert "a fault in minilmx" not in done.stderr, where
        assert done.returncode in ((0, 3) if failure == "error" else (0, 3, -signal.SIGKILL)), where
        found = contents(work, command.outputs)
        if done.returncode == 0:
            assert found == new, where
        elif command.before:
            assert found in (old, new), where
        again = run(command.words, work, environment)
        assert again.returncode == 0, f"{where}\nand then:\n{again.stderr}"
        assert contents(work, command.outputs) == new, where
        assert names(work) == expected, where
        shutil.rmtree(work)
