"""What the commands of tests/attacks read and replace."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.attacks.commands import COMMANDS, Command, contents, names, run
from tests.conftest import GROQFLOW_PYTHON
from tests.eval.test_search import write_search

from minilmx.models.artifact import Artifact

Prepare = Callable[[str], tuple[Path, dict[str, str]]]


@pytest.fixture(scope="session")
def inputs(tiny_original: Artifact, tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the commands read."""
    folder = tmp_path_factory.mktemp("inputs")
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
    return folder


@pytest.fixture
def prepared(inputs: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Prepare:
    """Make the folder in which a command runs, with what stood there before."""

    def prepare(name: str) -> tuple[Path, dict[str, str]]:
        command = COMMANDS[name]
        if "groq " in command.words and not GROQFLOW_PYTHON:
            pytest.skip("needs a Python with GroqFlow")
        if "lance" in command.words:
            pytest.importorskip("lance", reason="needs pylance")
        base = tmp_path / "base"
        shutil.copytree(inputs, base, symlinks=True)
        if " small " in command.words:
            (base / "small").symlink_to(request.getfixturevalue("small").path)
        if command.before:
            done = run(command.before, base)
            assert done.returncode == 0, done.stderr
        return base, contents(base, command)

    return prepare


def require_whole(
    command: Command,
    work: Path,
    code: int,
    old: dict[str, str],
    new: dict[str, str],
    expected: set[str],
    where: str,
) -> None:
    """After a command that was disturbed: its output is the old or the new one, and a rerun completes it.

    `old` and `new` are the contents before it and after an undisturbed run, and `expected` are all the files
    after that.
    """
    found = contents(work, command)
    if code == 0:
        assert found == new, where
    elif command.outputs != ("shards",):  # which is written one shard after another
        assert found in (old, new), where
    again = run(command.words, work)
    assert again.returncode == 0, f"{where}\nand then:\n{again.stderr}"
    assert contents(work, command) == new, where
    left = names(work)
    assert left == expected, f"{where}\nleft: {sorted(left - expected)}, missing: {sorted(expected - left)}"
