"""Every system call that writes fails once, or is the last of its process: what is there is whole.

strace injects the failure: ENOSPC, or SIGKILL, at the n-th such call of each thread. After it the output is
the old one or the new one, and the same command then ends as if nothing had happened. In CI one call of each
command fails, and the last that renames; only the latter is killed, as test_killed_commands.py kills at any
moment. CALLS=100 fails so many, and those of the commands that take minutes:
runs to Lance and on groq; CALLS=0 fails every call.
"""

import json
import os
import re
import shutil
import signal
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from tests.attacks.commands import COMMANDS, run
from tests.attacks.conftest import Prepare, require_whole
from tests.conftest import MakeOnce

STRACE = shutil.which("strace")
CALLS = (
    "write,pwrite64,writev,fsync,fdatasync,ftruncate,fallocate,rename,renameat,renameat2,mkdir,mkdirat,"
    "unlink,unlinkat,rmdir,chmod,fchmod,fchmodat,link,linkat,symlink,symlinkat"
)
FAILURES = {"error": "error=ENOSPC", "kill": "signal=KILL"}
COUNT = int(os.environ.get("CALLS", "1"))  # of each command; 0: every one
# The first writes nothing. The others take too long: test_killed_commands.py kills them at random.
_LEFT_OUT = ("check", "bench", "run to a folder with Ray")
_BY_HAND = ("run to a Lance dataset", "run on groq")  # if CALLS is set: they take long
WRITERS = [name for name in COMMANDS if name not in _LEFT_OUT]


def traced(
    words: str, folder: Path, *inject: str
) -> tuple["subprocess.CompletedProcess[str]", list[tuple[str, int]]]:
    """Run a command under strace; also which call of each kind a thread made, in the order of the calls."""
    log = folder.with_name("strace.log")
    # Quicker, but strace 6.1 then injects no signals.
    quick = [] if any(":signal=" in word for word in inject) else ["--seccomp-bpf"]
    before = (str(STRACE), "-f", *quick, "-o", str(log), "-e", f"trace={CALLS}", *inject)
    done = run(words, folder, *before)
    counts: Counter[tuple[str, str]] = Counter()
    calls: dict[tuple[str, int], None] = {}
    for thread, call in re.findall(r"^(\d+) +(\w+)\(", log.read_text(errors="replace"), re.MULTILINE):
        counts[thread, call] += 1
        calls[call, counts[thread, call]] = None
    return done, list(calls)


@pytest.mark.slow
@pytest.mark.timeout(0 if "CALLS" in os.environ else 600)
@pytest.mark.skipif(STRACE is None, reason="needs strace, to make a system call fail")
@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("name", WRITERS)
def test_after_a_system_call_that_fails_the_output_is_the_old_or_the_new_one(
    name: str, failure: str, prepared: Prepare, make_once: MakeOnce, tmp_path: Path
) -> None:
    if name in _BY_HAND and "CALLS" not in os.environ:
        pytest.skip("takes minutes: set CALLS")
    command, work, made = COMMANDS[name], tmp_path / "work", prepared(name)
    assert made.old != made.new

    def trace(folder: Path) -> None:
        shutil.copytree(made.base, folder / "traced", symlinks=True)
        done, calls = traced(command.words, folder / "traced")
        assert done.returncode == 0, done.stderr
        (folder / "calls.json").write_text(json.dumps(calls), encoding="utf-8")

    folder = make_once(f"calls of {name}", trace)
    calls = [tuple(call) for call in json.loads((folder / "calls.json").read_text(encoding="utf-8"))]
    assert calls

    codes: Counter[int] = Counter()
    stride = max(1, len(calls) // COUNT) if COUNT else 1
    renames = [call for call in calls if call[0].startswith("rename")]  # which put the output in its place
    first = min(stride - 1, stride // 2 + (failure == "kill"))  # the two failures meet different calls
    only_rename = failure == "kill" and renames and "CALLS" not in os.environ
    chosen = dict.fromkeys([*([] if only_rename else calls[first::stride]), *renames[-1:]])
    for call, number in chosen:
        shutil.copytree(made.base, work, symlinks=True)
        done, _ = traced(command.words, work, "-e", f"inject={call}:{FAILURES[failure]}:when={number}")
        codes[done.returncode] += 1
        where = f"{call} {number}: exit code {done.returncode}\n{done.stderr}"
        # Python itself prints one in a child whose parent is killed while it starts.
        assert "Traceback" not in done.stderr or done.returncode == -signal.SIGKILL, where
        assert "a fault in minilmx" not in done.stderr, where
        assert done.returncode in ((0, 3) if failure == "error" else (0, 3, -signal.SIGKILL)), where
        require_whole(command, work, done.returncode, made, where)
        shutil.rmtree(work)
    assert set(codes) != {0}, "no call failed"
    print(f"\n{name}, {failure}: {codes.total()} of {len(calls)} calls, exit codes {dict(codes)}")


@pytest.mark.slow
@pytest.mark.skipif(STRACE is None, reason="needs strace, to make a system call fail")
def test_a_worker_that_cannot_be_sent_a_shard_is_not_waited_for(prepared: Prepare, tmp_path: Path) -> None:
    command = COMMANDS["run to a folder"]
    made, undisturbed, work = prepared("run to a folder"), tmp_path / "undisturbed", tmp_path / "work"
    for folder in (undisturbed, work):
        shutil.copytree(made.base, folder, symlinks=True)
    traced(command.words, undisturbed)
    log = (tmp_path / "strace.log").read_text(errors="replace")
    writes = re.findall(r"^(\d+) +write\((.*)", log, re.MULTILINE)
    writes = [text for thread, text in writes if thread == writes[0][0]]
    number = next(at for at, text in enumerate(writes, 1) if "minilmx.embed" in text)  # a pickled Task
    done, _ = traced(command.words, work, "-e", f"inject=write:error=ENOBUFS:when={number}")
    # Each thread's call fails, so that no worker can send its second answer.
    assert done.returncode == 3, done.stderr
    assert done.stderr.splitlines()[-1].startswith("Error: two workers died at shard ")
    assert "Traceback" not in done.stderr
    require_whole(command, work, done.returncode, made, done.stderr)
