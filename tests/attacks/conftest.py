"""What the commands of tests/attacks read and replace."""

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.attacks.commands import COMMANDS, Command, contents, names, run
from tests.conftest import GROQFLOW_PYTHON, MakeOnce
from tests.eval.test_search import write_search

from minilmx.models.artifact import Artifact

Prepare = Callable[[str], "Prepared"]


@dataclass(frozen=True)
class Prepared:
    """A folder in which a command runs, and what an undisturbed run makes of it in `seconds`.

    `old` and `new` are the contents of its outputs before and after, and `names` are all the files after.
    """

    base: Path
    old: dict[str, str]
    new: dict[str, str]
    names: set[str]
    seconds: float


@pytest.fixture(scope="session")
def inputs(tiny_original: Artifact, tiny_folder: Path, make_once: MakeOnce) -> Path:
    """A folder with what the commands read."""

    def make(folder: Path) -> None:
        (folder / "tiny").symlink_to(tiny_original.path)
        (folder / "model").symlink_to(tiny_folder)
        (folder / "texts.txt").write_text("one\ntwo\nthree\nfour\nfive\n")
        (folder / "other.txt").write_text("six\nseven\n")
        write_search(folder, 3, 12)
        for words in (
            "run tiny texts.txt -o a.npy",
            "run tiny texts.txt --graph fixed -o b.npy",
            "compare a.npy b.npy -o a.json",
            "compare b.npy a.npy -o b.json",
            "golden create kept.safetensors --from tiny --texts texts.txt",
            *(["groq build tiny --bundle b.tar"] if GROQFLOW_PYTHON else []),
        ):
            done = run(words, folder)
            assert done.returncode == 0, done.stderr
        shutil.rmtree(folder / "cache")

    return make_once("inputs of the attacks", make)


@pytest.fixture
def prepared(inputs: Path, make_once: MakeOnce, request: pytest.FixtureRequest) -> Prepare:
    """Make the folder in which a command runs, with what stood there before; once for all workers."""

    def prepare(name: str) -> Prepared:
        command = COMMANDS[name]
        if "groq " in command.words and not GROQFLOW_PYTHON:
            pytest.skip("needs a Python with GroqFlow")
        if "lance" in command.words:
            pytest.importorskip("lance", reason="needs pylance")

        def make(folder: Path) -> None:
            base, undisturbed = folder / "base", folder / "undisturbed"
            shutil.copytree(inputs, base, symlinks=True)
            if " small " in command.words:
                (base / "small").symlink_to(request.getfixturevalue("small").path)
            if command.before:
                done = run(command.before, base)
                assert done.returncode == 0, done.stderr
            shutil.copytree(base, undisturbed, symlinks=True)
            started = time.monotonic()
            done = run(command.words, undisturbed)
            seconds = time.monotonic() - started
            assert done.returncode == 0, done.stderr
            old, new = contents(base, command), contents(undisturbed, command)
            found = [old, new, sorted(names(undisturbed)), seconds]
            (folder / "found.json").write_text(json.dumps(found), encoding="utf-8")

        folder = make_once(f"attacked {name}", make)
        old, new, after, seconds = json.loads((folder / "found.json").read_text(encoding="utf-8"))
        return Prepared(folder / "base", old, new, set(after), seconds)

    return prepare


def require_whole(command: Command, work: Path, code: int, prepared: Prepared, where: str) -> None:
    """After a command that was disturbed: its output is the old or the new one, and a rerun completes it."""
    found = contents(work, command)
    if code == 0:
        assert found == prepared.new, where
    elif command.outputs != ("shards",):  # which is written one shard after another
        assert found in (prepared.old, prepared.new), where
    again = run(command.words, work)
    assert again.returncode == 0, f"{where}\nand then:\n{again.stderr}"
    assert contents(work, command) == prepared.new, where
    left, wanted = names(work), prepared.names
    assert left == wanted, f"{where}\nleft: {sorted(left - wanted)}, missing: {sorted(wanted - left)}"
