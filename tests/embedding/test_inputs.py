"""Which files of a folder become a corpus: none is left out without a word."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from minilmx.embedding.corpus.inputs import find_files
from minilmx.errors import DatasetError
from minilmx.progress import Progress


class Messages(Progress):
    def __init__(self) -> None:
        self.texts: list[str] = []

    def message(self, text: str) -> None:
        self.texts.append(text)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder `in` with one file, from the folder above it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in" / "deep").mkdir(parents=True)
    (tmp_path / "in" / "deep" / "a.jsonl").write_text('{"t": "a"}\n')
    return tmp_path / "in"


def found(given: str) -> tuple[list[str], list[str]]:
    messages = Messages()
    return find_files([given], Path("out"), messages), messages.texts


@pytest.mark.parametrize("given", ["in", "i?", "file://{}/in"])
def test_what_is_passed_over_is_counted_and_named(given: str, folder: Path) -> None:
    for name in ("README.md", "b.csv.xz", "_SUCCESS", "x.ledger.jsonl", "e.npy.run.json"):
        (folder / name).write_text("")
    (folder / ".b.jsonl").symlink_to("nowhere")
    is_url = "{}" in given
    given = given.format(folder.parent)
    where = f"file://{folder}" if is_url else "in"
    files, messages = found(given)
    assert files == [f"{where}/deep/a.jsonl"]
    assert messages == [
        f"{given}: 6 files or folders were skipped: {where}/.b.jsonl (hidden), {where}/README.md (of an "
        f"unknown kind), {where}/_SUCCESS (hidden), {where}/b.csv.xz (of an unknown kind), "
        f"{where}/e.npy.run.json (written by minilmx), {where}/x.ledger.jsonl (written by minilmx)"
    ]


def test_one_or_many_that_are_passed_over_make_a_short_message(folder: Path) -> None:
    (folder / "linked").symlink_to("deep")
    assert found("in")[1] == ["in: 1 file or folder was skipped: in/linked (a link to a folder)"]
    for number in range(30):
        (folder / f"{number}.log").write_text("")
    (message,) = found("in")[1]
    assert message.startswith("in: 31 files or folders were skipped: in/0.log (of an unknown kind), in/1.log")
    assert message.count(".log") == 10
    assert message.endswith(", ...")


def test_the_output_folder_is_left_out_without_a_message(folder: Path) -> None:
    Path("out").mkdir()
    Path("out/shard.parquet").write_text("")
    assert found(".") == (["in/deep/a.jsonl"], [])


def broken_link(folder: Path) -> None:
    (folder / "b.jsonl").symlink_to("nowhere")


def loop(folder: Path) -> None:
    (folder / "b.jsonl").symlink_to("b.jsonl")


def pipe(folder: Path) -> None:
    os.mkfifo(folder / "b.jsonl")


def compressed_parquet(folder: Path) -> None:
    (folder / "b.parquet.gz").write_bytes(b"")


UNREADABLE = {
    "broken link": (broken_link, "in/b.jsonl cannot be read: the link leads to no file"),
    "loop": (loop, "in/b.jsonl cannot be read: the link leads to no file"),
    "pipe": (pipe, "in/b.jsonl cannot be read: it is not a regular file"),
    "parquet": (compressed_parquet, "in/b.parquet.gz cannot be read: it is a Parquet file within .gz"),
}


@pytest.mark.parametrize("given", ["in", "*"])
@pytest.mark.parametrize("case", UNREADABLE)
def test_what_cannot_be_read_is_an_error(case: str, given: str, folder: Path) -> None:
    prepare, message = UNREADABLE[case]
    prepare(folder)
    with pytest.raises(DatasetError) as caught:
        found(given)
    assert caught.value.message == message


@pytest.mark.parametrize("case", ["broken link", "pipe"])
def test_what_a_pattern_matches_and_cannot_be_read_is_an_error(case: str, folder: Path) -> None:
    prepare, message = UNREADABLE[case]
    prepare(folder)
    with pytest.raises(DatasetError) as caught:
        found("in/*.jsonl")
    assert caught.value.message == message


@pytest.fixture
def forbidden(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A folder `in` with a file, and with a folder that this user may not list."""
    user = os.geteuid()
    with tempfile.TemporaryDirectory() as name:  # pytest's own folders are closed to other users
        top = Path(name)
        top.chmod(0o755)
        monkeypatch.chdir(top)
        (top / "in" / "closed").mkdir(parents=True)
        (top / "in" / "closed" / "b.jsonl").write_text('{"t": "b"}\n')
        (top / "in" / "a.jsonl").write_text('{"t": "a"}\n')
        (top / "in" / "closed").chmod(0)
        if user == 0:  # whom no mode keeps out
            os.seteuid(65534)
        try:
            yield
        finally:
            os.seteuid(user)
            (top / "in" / "closed").chmod(0o755)
            monkeypatch.undo()


@pytest.mark.usefixtures("forbidden")
@pytest.mark.parametrize("given", ["in", "*", "in/**", "in/**/*.jsonl", "in/*/b.jsonl", "in/*/*", "URL"])
def test_a_folder_that_may_not_be_read_is_an_error(given: str) -> None:
    if given == "URL":
        given = f"file://{Path.cwd()}/in"
    with pytest.raises(DatasetError) as caught:
        found(given)
    assert "in/closed" in caught.value.message
    assert "cannot be read: " in caught.value.message or given.startswith("file")
    assert "ermission denied" in caught.value.message
