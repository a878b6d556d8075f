"""Names of files that are not UTF-8 are written and read again; those that are too long are refused."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import Mlx

NAME = os.fsdecode(b"a\xff")


@pytest.fixture
def named(tiny: Path) -> Path:
    """An artifact in a folder of such a name, with texts in a file of such a name beside it."""
    (tiny.parent / f"{NAME}.txt").write_text("one\ntwo\nthree\nfour\nfive\n")
    return tiny.rename(tiny.with_name(NAME))


def run(mlx: Mlx, *words: object) -> Any:
    outcome = mlx(*words)
    assert outcome.code == 0, outcome
    return outcome


def test_a_comparison_and_its_reports(named: Path, mlx: Mlx, tmp_path: Path) -> None:
    saved, texts = tmp_path / f"{NAME}.npy", tmp_path / f"{NAME}.txt"
    run(mlx, "run", named, texts, "-o", saved)
    run(mlx, "compare", saved, saved, "-o", tmp_path / "saved.json")
    run(mlx, "compare", named, named, "--texts", texts, "-o", tmp_path / "live.json")
    for result in ("saved.json", "live.json"):
        for form in ("table", "html", "markdown", "junit"):
            run(mlx, "report", tmp_path / result, "--format", form, "-o", tmp_path / f"{result}.{form}")


def test_a_corpus_is_resumed(named: Path, mlx: Mlx, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    shutil.move(tmp_path / f"{NAME}.txt", tmp_path / "in")
    words = ("run", named, tmp_path / "in", "--shard-rows", "2", "-o", f"{tmp_path / NAME}-out/")
    assert "to 3 shards" in run(mlx, *words).stderr
    assert "5 of them already done" in run(mlx, *words).stderr


def test_a_golden_file_and_a_benchmark(named: Path, mlx: Mlx, tmp_path: Path) -> None:
    golden, texts = tmp_path / f"{NAME}.safetensors", tmp_path / f"{NAME}.txt"
    run(mlx, "golden", "create", golden, "--from", named, "--texts", texts)
    run(mlx, "golden", "check", golden, named)
    run(mlx, "bench", named, texts, "--rounds", "1", "-o", tmp_path / "b.json")
    run(mlx, "report", tmp_path / "b.json")


@pytest.mark.parametrize(
    "words",
    [
        ("inspect", "LONG"),
        ("export", "LONG"),
        ("export", "tiny", "-o", "LONG"),
        ("export", "~nobody-has-this-name/x"),
        ("compare", "model:LONG", "model:LONG", "--texts", "in.txt"),
        ("compare", "tei:http://LONG", "tei:http://a..b", "--texts", "in.txt"),
        ("inspect", "hf://org/LONG"),
    ],
    ids=" ".join,
)
def test_a_name_that_is_too_long(
    words: tuple[str, ...], tiny_folder: Path, mlx: Mlx, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in.txt").write_text("one\n")
    (tmp_path / "tiny").symlink_to(tiny_folder)
    outcome = mlx(*(word.replace("LONG", "a" * 300) for word in words))
    assert outcome.code == 3
    assert "a fault in minilmx" not in outcome.stderr
