"""Commands that write are killed, or get a signal, at any moment: what is there is whole.

The moments and signals are chosen at random, from a fixed seed: in CI one for each command.
KILLS=200 KILLS_SEED=7 takes others.
"""

import os
import random
import secrets
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.attacks.commands import COMMANDS, environment, mlx
from tests.attacks.conftest import Prepare, require_whole

KILLS = int(os.environ.get("KILLS", str(len(COMMANDS))))  # over all commands
SEED = int(os.environ.get("KILLS_SEED", "14"))
SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
MARK = "MINILMX_TEST_KILLED"  # in the environment of everything that a command starts


def running(mark: str, work: Path) -> dict[int, str]:
    """The processes that a command left, with their command lines.

    They have the mark in their environment or, as Ray's workers overwrite theirs, `work` as their folder.
    """
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            is_marked = mark.encode() in (folder / "environ").read_bytes()
            if is_marked or (folder / "cwd").readlink() == work:
                found[int(folder.name)] = (folder / "cmdline").read_text().replace("\0", " ")
        except OSError:  # it has ended, or is another user's
            continue
    return found


def require_ended(mark: str, work: Path, where: str) -> None:
    deadline = time.monotonic() + 10
    while running(mark, work) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert running(mark, work) == {}, where


@pytest.fixture
def work() -> Iterator[Path]:
    """The folder of a command, with a path so short that Ray's sockets fit into its folder `tmp`."""
    folder = Path("/tmp", secrets.token_hex(4))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.slow
@pytest.mark.timeout(0 if "KILLS" in os.environ else 600)
@pytest.mark.parametrize("name", COMMANDS)
def test_after_a_signal_the_output_is_the_old_or_the_new_one(
    name: str, prepared: Prepare, tmp_path: Path, work: Path
) -> None:
    kills = -(-KILLS // len(COMMANDS))
    if "Ray" in name:
        pytest.importorskip("ray", reason="needs ray")
    command = COMMANDS[name]
    made = prepared(name)
    rng = random.Random(f"{SEED} {name}")
    codes: Counter[str] = Counter()
    for attempt in range(kills):
        number, moment = rng.choice(SIGNALS), rng.uniform(0.1, 1) * made.seconds
        shutil.copytree(made.base, work, symlinks=True)
        mark = f"{MARK}={tmp_path}-{attempt}"
        variables = environment(work) | dict([mark.split("=", 1)])
        process = subprocess.Popen(
            mlx(command.words), cwd=work, env=variables, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        time.sleep(moment)
        process.send_signal(number)
        _, stderr = process.communicate(timeout=60)
        code = process.returncode
        codes[f"{number.name} {code}"] += 1
        where = f"{number.name} after {moment:.2f} of {made.seconds:.2f} s: exit code {code}\n{stderr}"
        # A signal may come before mlx has started, and then ends Python, or after it has ended.
        assert code in (0, 130, -number), where
        assert "Traceback" not in stderr or code == -number, where
        assert "a fault in minilmx" not in stderr, where
        if "Ray" not in name:  # its next start ends what a killed run left, which takes 75 s to end of itself
            require_ended(mark, work, where)
        require_whole(command, work, code, made, where)
        require_ended(mark, work, where)
        shutil.rmtree(work)
    print(f"\n{name}: seed {SEED}, {codes.total()} signals: {dict(sorted(codes.items()))}")
