"""Memory is bounded by bytes: by no long row, and by no file that is small only while it is compressed."""

import bz2
import gzip
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from minilmx.errors import DatasetError
from minilmx.files.formats import BY_NAME, MAX_CHARACTERS
from minilmx.files.readers import read_blocks
from minilmx.files.texts import open_texts

BOMBS = {
    "a.txt": b"text\n",
    "a.csv": b"text\nb\n",
    "a.tsv": b"text\nb\n",
    "a.jsonl": b'{"text": "b"}\n{"text": "',
    "a.json": b'[{"text": "b"},\n{"text": "',
}


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress], ids=[".gz", ".bz2"])
@pytest.mark.parametrize("name", BOMBS)
def test_a_line_that_would_fill_the_memory_is_refused(
    name: str, pack: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    path = tmp_path / f"{name}{'.gz' if pack is gzip.compress else '.bz2'}"
    path.write_bytes(pack(BOMBS[name]) + pack(b"x" * 2**20) * (3 * MAX_CHARACTERS // 2**20))
    with pytest.raises(DatasetError) as caught:
        open_texts(str(path), None if name == "a.txt" else "text")
    line = 3 if name in ("a.csv", "a.tsv") else 2
    assert caught.value.message == (
        f"{path}, line {line}: more than 67,108,864 characters; expected a shorter row"
    )


def test_a_quoted_field_that_would_fill_the_memory_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress(b'text\n"' + b"xxxxxxxxxxxxxxx\n" * (MAX_CHARACTERS // 15)))
    with pytest.raises(DatasetError, match="line 2: not valid CSV: field larger than field limit"):
        open_texts(str(path), "text")


@pytest.mark.parametrize("name", ["a.txt", "a.csv", "a.jsonl", "a.json", "a.parquet"])
def test_a_block_is_bounded_by_its_size(name: str, tmp_path: Path) -> None:
    rows = [f"{row}{'x' * 99_990}" for row in range(300)]
    path = tmp_path / name
    if name == "a.parquet":
        pyarrow = pytest.importorskip("pyarrow", reason="needs pyarrow")
        pytest.importorskip("pyarrow.parquet").write_table(pyarrow.table({"text": rows}), str(path))
    elif name == "a.jsonl":
        path.write_text("".join(json.dumps({"text": row}) + "\n" for row in rows))
    elif name == "a.json":
        path.write_text(json.dumps([{"text": row} for row in rows]))
    else:
        path.write_text("\n".join([*["text"] * (name == "a.csv"), *rows]) + "\n")
    blocks = list(read_blocks(str(path), text_format=BY_NAME))
    assert [value for block in blocks for value in block.values("text")] == rows
    assert max(len(block) for block in blocks) <= 170
    assert [line for block in blocks for line in block.lines] == [
        1 if name == "a.json" else row + 1 + (name == "a.csv") for row in range(300)
    ]


@pytest.mark.parametrize(
    "content",
    ["a word, " * 10**6 + "\n", ("some words. " * 1600 + "\n") * 1000],
    ids=["one line of 8 MB", "1,000 documents of 19 kB"],
)
def test_long_texts_take_little_memory(content: str, tiny: Path, tmp_path: Path) -> None:
    """Without a bound, a tokenizer takes some 180 bytes for each character."""
    (tmp_path / "in.txt").write_text(content)
    code = (
        "import resource, subprocess, sys\n"
        "done = subprocess.run([sys.executable, '-m', 'minilmx', 'run', *sys.argv[1:]])\n"
        "print(done.returncode, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024)"
    )
    words = [sys.executable, "-c", code, str(tiny), "in.txt", "-o", "e.npy"]
    done = subprocess.run(
        words, cwd=tmp_path, capture_output=True, text=True, check=True, env=dict(os.environ)
    )
    returned, peak = map(int, done.stdout.split())
    assert returned == 0, done.stderr
    assert peak < 600, f"{peak} MiB"
