"""Commands reach no network, and write only their output and temporary files."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tests.cli.test_options import leaves

from minilmx.cli import cli
from minilmx.models.artifact import Artifact

STRACE = shutil.which("strace")
COMMANDS = {
    "export": "export model --from-onnx --batch-size 2 --sequence-length 16 -o new",
    "export from PyTorch": "export weights --sequence-length 33 -o scorer",
    "run": "run tiny texts.txt -o vectors.npy",
    "run a corpus": "run tiny texts.txt -o vectors/ --workers 1",
    "eval": "eval tiny --limit 8 -o result.json",
    "eval with openvino": "eval tiny --runner onnxruntime --runner openvino --limit 8",
    "eval with torch": "eval real --runner torch --runner onnxruntime --limit 2",
    "compare": "compare a.npy b.npy -o compared.json",
    "compare artifacts": "compare tiny tiny@openvino --texts texts.txt",
    "golden create": "golden create g.safetensors --from tiny --texts texts.txt",
    "golden check": "golden check g.safetensors tiny -o checked.json",
    "report": "report result.json -o page.html",
    "bisect": "bisect real --candidate groq-emulator --limit 2",
    "bench": "bench tiny --rounds 1 --graph dynamic",
    "inspect": "inspect tiny",
    "check": "check real --consumer onnxruntime",
    "groq doctor": "groq doctor",
    "groq job": "groq job tiny --bundle b.tar --scheduler pbs -o job.sh",
    "models": "models",
    "runners": "runners",
}
# Traced elsewhere, with what they need; the last two are asked to reach a network: the hub, and pip's index.
ELSEWHERE = ("groq selftest", "groq build", "groq reproduce", "push", "groq setup")
# Kernel interfaces and locks between processes, which keep nothing.
HARMLESS = ("/dev/", "/proc/", "/sys/")
_SENDING = "socket,bind,connect,sendto,sendmsg,sendmmsg"
_CHANGING = (
    "creat,mkdir,mkdirat,rename,renameat,renameat2,unlink,unlinkat,rmdir,link,linkat,symlink,symlinkat"
)


@pytest.fixture
def folder(tmp_path: Path, tiny: Path, tiny_folder: Path, artifact: Artifact, reranker_folder: Path) -> Path:
    """A working folder with all that the commands read."""
    work = tmp_path / "work"
    work.mkdir()
    for name, target in (
        ("tiny", tiny),
        ("model", tiny_folder),
        ("real", artifact.path),
        ("weights", reranker_folder),
    ):
        (work / name).symlink_to(target)
    (work / "texts.txt").write_text("one\ntwo\nthree\n")
    for name in ("a.npy", "b.npy"):
        np.save(work / name, np.eye(4, 8, dtype=np.float32))
    return work


def test_every_command_is_traced() -> None:
    names = [name for name, _ in leaves(cli)]
    words = [f"{each} " for each in COMMANDS.values()]
    traced = [name for name in names if any(each.startswith(f"{name} ") for each in words)]
    assert sorted([*traced, *ELSEWHERE]) == sorted(names)


@pytest.mark.skipif(STRACE is None, reason="needs strace, to see every file and socket")
@pytest.mark.parametrize(
    "command",
    [
        pytest.param(words, id=name, marks=pytest.mark.slow if {"real", "weights"} & {*words.split()} else ())
        for name, words in COMMANDS.items()
    ],
)
def test_a_command_opens_no_socket_and_writes_nowhere_else(
    command: str, folder: Path, tmp_path: Path
) -> None:
    home, temporary, log = (tmp_path / name for name in ("home", "temporary", "strace.log"))
    home.mkdir()
    temporary.mkdir()
    environment = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    environment |= {"HOME": str(home), "TMPDIR": str(temporary), "PYTHONDONTWRITEBYTECODE": "1"}
    environment |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}  # the torch runner may ask a hub otherwise

    def mlx(words: str, *before: str) -> None:
        expected = 3 if words == "groq doctor" else 0  # no GroqCard here
        done = subprocess.run(
            [*before, sys.executable, "-m", "minilmx", *words.split()],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == expected, done.stderr

    if command.startswith("report"):
        mlx(COMMANDS["eval"])
    if command.startswith("golden check"):
        mlx(COMMANDS["golden create"])
    mlx(command, *strace(log))
    require_inside(log, folder, str(folder), str(temporary))
    assert list(home.rglob("*")) == []


def strace(log: Path) -> tuple[str, ...]:
    """The words before a command that write what it and its children open, send and change to `log`."""
    options = f"-f --seccomp-bpf -y -s 4096 -e trace=open,openat,{_SENDING},{_CHANGING} -o {log}"
    return str(STRACE), *options.split()


def require_inside(log: Path, folder: Path, *own: str) -> None:
    """Fail if a command that ran in `folder` opened a socket of a network, or changed files outside `own`."""
    lines = log.read_text(errors="replace").splitlines()
    assert [line for line in lines if re.search(r"\bAF_INET6?\b", line)] == []
    assert [path for path in written(lines, folder) if not path.startswith((*own, *HARMLESS))] == []


def written(lines: list[str], folder: Path) -> list[str]:
    """The absolute paths that the traced processes tried to create or write."""
    found = []
    for line in lines:
        call = re.search(rf"\b(open|openat|{_CHANGING.replace(',', '|')})\((.*)", line)
        if call is None or ("open" in call[1] and not re.search(r"O_(CREAT|WRONLY|RDWR)\b", line)):
            continue
        for base, path in re.findall(r'(?:<([^<>"]*)>, )?"((?:[^"\\]|\\.)*)"', call[2]):
            found.append(os.path.normpath(Path(base or folder) / path))
    return found
