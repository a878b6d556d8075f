"""A document is a small regular file, and its JSON has one meaning."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.conftest import Mlx

from minilmx.files.documents import MAX_BYTES, parse_json, read_document


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (b'{"a": 1, "b": {"c": 1, "c": 2}}', "two values named 'c'"),
        (b"[NaN]", "NaN is not a number in JSON"),
        (b"[-Infinity]", "-Infinity is not a number in JSON"),
        (b"[" * 100_000, "nested too deeply"),
        (b"[1" + b"0" * 5000 + b"]", "Exceeds the limit"),
        (b'"\xff"', "utf-8"),
        (b"{} {}", "Extra data"),
    ],
)
def test_json_with_a_second_meaning_is_refused(document: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_json(document)


def test_a_document_is_returned_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "d.json").write_bytes(b'{"a": [1.5, null, true]}')
    assert parse_json(read_document(tmp_path / "d.json")) == {"a": [1.5, None, True]}


def test_a_file_without_end_is_refused(tmp_path: Path) -> None:
    os.truncate(os.open(tmp_path / "large", os.O_CREAT | os.O_WRONLY), MAX_BYTES + 1)
    for path, message in (
        (tmp_path / "large", "it has more than 64 MiB"),
        (Path("/dev/zero"), "not a regular"),
    ):
        with pytest.raises(OSError, match=message):
            read_document(path)


def fifo(path: Path) -> None:
    os.mkfifo(path)


def endless(path: Path) -> None:
    path.symlink_to("/dev/zero")


@pytest.mark.timeout(60)
@pytest.mark.parametrize("make", [fifo, endless, Path.mkdir], ids=lambda make: make.__name__)
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("tiny/mlx.json", ("inspect", "tiny")),
        ("tiny/onnx/model.onnx", ("run", "tiny", "texts.txt")),
        ("tiny", ("run", "tiny", "texts.txt")),
        ("r.json", ("report", "r.json")),
        ("limits.toml", ("eval", "tiny", "--limit", "9", "--limits", "limits.toml")),
        ("pairs.csv", ("eval", "tiny", "--dataset", "pairs.csv")),
        ("pairs.jsonl", ("eval", "tiny", "--dataset", "pairs.jsonl")),
        ("a.npy.run.json", ("compare", "a.npy", "a.npy")),
        ("b.npy", ("compare", "b.npy", "b.npy")),
        ("b.npz", ("compare", "b.npz", "b.npz")),
        ("b.jsonl", ("compare", "b.jsonl", "b.jsonl")),
        ("b.parquet", ("compare", "b.parquet", "b.parquet")),
        ("in.parquet", ("run", "tiny", "in.parquet")),
        ("out.ledger.jsonl", ("run", "tiny", "texts.txt", "-o", "out/")),
        ("b.tar", ("groq", "job", "tiny", "texts.txt", "--bundle", "b.tar", "--standalone", "card")),
    ],
)
def test_what_is_not_a_file_is_an_error_at_once(
    name: str, words: tuple[str, ...], make: Callable[[Path], None], tiny: Path, mlx: Mlx, tmp_path: Path
) -> None:
    tiny.rename("tiny")
    (tmp_path / "texts.txt").write_text("a\nb\n")
    assert mlx("run", "tiny", "texts.txt", "-o", "a.npy").code == 0
    place = tmp_path / name
    if place.is_dir():
        shutil.rmtree(place)
    place.unlink(missing_ok=True)
    make(place)
    outcome = mlx(*words)
    if outcome.code == 2:  # the command line itself refuses a folder
        assert make is Path.mkdir
        assert "is a directory" in outcome.stderr or "expected a file" in outcome.stderr
        return
    assert outcome.code == 3, outcome
    assert outcome.stderr.splitlines()[-1].startswith("Error: "), outcome
    assert "fault in minilmx" not in outcome.stderr
