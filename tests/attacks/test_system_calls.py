"""Every system call that writes fails once, or is the last of its process: what is there is whole.

strace injects the failure: ENOSPC, or SIGKILL, at the n-th such call of each thread. After it the output is
the old one or the new one, and the same command then ends as if nothing had happened. CI fails every 67th
call. CALLS_STRIDE=1 fails every call, and those of the commands that take minutes: runs to Lance and on groq.
"""

import os
import re
import shutil
import signal
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from tests.attacks.commands import COMMANDS, contents, names, run
from tests.attacks.conftest import Prepare, require_whole

STRACE = shutil.which("strace")
CALLS = (
    "write,pwrite64,writev,fsync,fdatasync,ftruncate,fallocate,rename,renameat,renameat2,mkdir,mkdirat,"
    "unlink,unlinkat,rmdir,chmod,fchmod,fchmodat,link,linkat,symlink,symlinkat"
)
FAILURES = {"error": "error=ENOSPC", "kill": "signal=KILL"}
STRIDE = int(os.environ.get("CALLS_STRIDE", "67"))  # one call in so many; 1: every call
# The first writes nothing. The others take too long: test_killed_commands.py kills them at random.
_LEFT_OUT = ("check", "bench", "run to a folder with Ray")
_BY_HAND = ("run to a Lance dataset", "run on groq")  # if CALLS_STRIDE is set: they take long
# These take long: one call in so many times STRIDE.
_LONG = {"export": 3, "bisect": 3, "groq build": 6}
WRITERS = {name: _LONG.get(name, 1) for name in COMMANDS if name not in _LEFT_OUT}


def traced(
    words: str, folder: Path, *inject: str
) -> tuple["subprocess.CompletedProcess[str]", list[tuple[str, int]]]:
    """Run a command under strace; also which call of each kind a thread made, in the order of the calls."""
    log = folder.with_name("strace.log")
    # Not with --seccomp-bpf: strace 6.1 then injects no signals.
    before = (str(STRACE), "-f", "-o", str(log), "-e", f"trace={CALLS}", *inject)
    done = run(words, folder, *before)
    counts: Counter[tuple[str, str]] = Counter()
    calls: dict[tuple[str, int], None] = {}
    for thread, call in re.findall(r"^(\d+) +(\w+)\(", log.read_text(errors="replace"), re.MULTILINE):
        counts[thread, call] += 1
        calls[call, counts[thread, call]] = None
    return done, list(calls)


@pytest.mark.slow
@pytest.mark.timeout(0 if "CALLS_STRIDE" in os.environ else 600)
@pytest.mark.skipif(STRACE is None, reason="needs strace, to make a system call fail")
@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("name", WRITERS)
def test_after_a_system_call_that_fails_the_output_is_the_old_or_the_new_one(
    name: str, failure: str, prepared: Prepare, tmp_path: Path
) -> None:
    if name in _BY_HAND and "CALLS_STRIDE" not in os.environ:
        pytest.skip("takes minutes: set CALLS_STRIDE")
    command, stride = COMMANDS[name], STRIDE * WRITERS[name]
    base, old = prepared(name)
    undisturbed, work = tmp_path / "undisturbed", tmp_path / "work"
    shutil.copytree(base, undisturbed, symlinks=True)
    done, calls = traced(command.words, undisturbed)
    assert done.returncode == 0, done.stderr
    new, expected = contents(undisturbed, command), names(undisturbed)
    assert old != new
    assert calls

    codes: Counter[int] = Counter()
    renames = [call for call in calls if call[0].startswith("rename")]  # which put the output in its place
    chosen = dict.fromkeys([*calls[::stride], *renames])
    for call, number in chosen:
        shutil.copytree(base, work, symlinks=True)
        done, _ = traced(command.words, work, "-e", f"inject={call}:{FAILURES[failure]}:when={number}")
        codes[done.returncode] += 1
        where = f"{call} {number}: exit code {done.returncode}\n{done.stderr}"
        # Python itself prints one in a child whose parent is killed while it starts.
        assert "Traceback" not in done.stderr or done.returncode == -signal.SIGKILL, where
        assert "a fault in minilmx" not in done.stderr, where
        assert done.returncode in ((0, 3) if failure == "error" else (0, 3, -signal.SIGKILL)), where
        require_whole(command, work, done.returncode, old, new, expected, where)
        shutil.rmtree(work)
    assert set(codes) != {0}, "no call failed"
    print(f"\n{name}, {failure}: {codes.total()} of {len(calls)} calls, exit codes {dict(codes)}")


@pytest.mark.slow
@pytest.mark.skipif(STRACE is None, reason="needs strace, to make a system call fail")
def test_a_worker_that_cannot_be_sent_a_shard_is_not_waited_for(prepared: Prepare, tmp_path: Path) -> None:
    command = COMMANDS["run to a folder"]
    base, old = prepared("run to a folder")
    undisturbed, work = tmp_path / "undisturbed", tmp_path / "work"
    for folder in (undisturbed, work):
        shutil.copytree(base, folder, symlinks=True)
    traced(command.words, undisturbed)
    new, expected = contents(undisturbed, command), names(undisturbed)
    log = (tmp_path / "strace.log").read_text(errors="replace")
    writes = re.findall(r"^(\d+) +write\((.*)", log, re.MULTILINE)
    writes = [text for thread, text in writes if thread == writes[0][0]]
    number = next(at for at, text in enumerate(writes, 1) if "minilmx.embed" in text)  # a pickled Task
    done, _ = traced(command.words, work, "-e", f"inject=write:error=ENOBUFS:when={number}")
    # Each thread's call fails, so that no worker can send its second answer.
    assert done.returncode == 3, done.stderr
    assert done.stderr.splitlines()[-1].startswith("Error: two workers died at shard ")
    assert "Traceback" not in done.stderr
    require_whole(command, work, done.returncode, old, new, expected, done.stderr)
