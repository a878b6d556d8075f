"""Standard streams that are closed, full or read by nobody: the code is right, and there is no traceback."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.conftest import MakeOnce, Mlx, run_mlx

from minilmx.models.artifact import Artifact

Shell = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def shell(tiny: Path, tmp_path: Path, environment: dict[str, str]) -> Shell:
    """Run `mlx WORDS` in a shell, with streams as the shell sets them up."""
    (tmp_path / "in.txt").write_text("a b\nc d\n")

    def run(words: str, streams: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            ["bash", "-c", f"{sys.executable} -m minilmx {words} {streams}"],
            cwd=tmp_path,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    return run


EVAL = "eval tiny-b4-s16 --runner onnxruntime --limit 20 -o r.json"
LOST = ("--version", "--help", "inspect tiny-b4-s16", "run tiny-b4-s16 in.txt", EVAL, "report saved.json")


@pytest.fixture(scope="session")
def saved_once(tiny_original: Artifact, make_once: MakeOnce) -> Path:
    def evaluate(folder: Path) -> None:
        _, _, *words = EVAL.replace("r.json", str(folder / "saved.json")).split()
        assert run_mlx("eval", tiny_original.path, *words).code == 0

    return make_once("streams", evaluate) / "saved.json"


@pytest.fixture
def saved(saved_once: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(saved_once, tmp_path))


@pytest.mark.parametrize("streams", [">&-", "> /dev/full"])
@pytest.mark.parametrize("words", LOST)
def test_a_result_that_standard_output_does_not_take_is_an_error(
    words: str, streams: str, shell: Shell, saved: Path
) -> None:
    done = shell(words, streams)
    assert done.returncode == 3, done
    *_, last = done.stderr.splitlines()
    assert last.startswith("Error: standard output cannot be written: "), done
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("streams", [">&-", "> /dev/full", "2>&-", "2> /dev/full", "<&-", "<&- >&- 2>&-"])
def test_work_whose_result_is_a_file_is_done(streams: str, shell: Shell, mlx: Mlx, tmp_path: Path) -> None:
    done = shell("run tiny-b4-s16 in.txt -o a.npy", streams)
    assert done.returncode == 0, done
    assert mlx("run", "tiny-b4-s16", "in.txt", "-o", "b.npy").code == 0
    assert (tmp_path / "a.npy").read_bytes() == (tmp_path / "b.npy").read_bytes()
    assert (tmp_path / "a.npy.run.json").is_file()


@pytest.mark.parametrize(
    ("words", "streams"),
    [(words, "2> /dev/full") for words in LOST] + [(LOST[3], "2>&-"), (EVAL, "2> >(exit)")],
)
def test_messages_that_standard_error_does_not_take_change_nothing(
    words: str, streams: str, shell: Shell, saved: Path
) -> None:
    done = shell(words, streams)
    assert done.returncode == 0, done
    assert done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize("streams", ["2> /dev/full", "<&- >&- 2>&-"])
@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("inspect nowhere", 3),
        ("run tiny-b4-s16 nowhere.txt -o a.npy", 3),
        ("nonsense", 2),
        ("report saved.json --min-spearman 101 -o r.html", 1),
    ],
)
def test_an_error_keeps_its_code(words: str, code: int, streams: str, shell: Shell, saved: Path) -> None:
    done = shell(words, streams)
    assert done.returncode == code, done
    assert done.stdout == done.stderr == ""


def test_standard_input_that_is_closed_is_an_error(shell: Shell, tmp_path: Path) -> None:
    done = shell("run tiny-b4-s16 - -o a.npy", "<&-")
    assert done.returncode == 3, done
    assert done.stderr == "Error: - cannot be read: Bad file descriptor\n"
    assert not (tmp_path / "a.npy").exists()
