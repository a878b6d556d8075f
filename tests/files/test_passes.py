"""A file is read once to check it and once to work on it, whatever its kind."""

import bz2
import gzip
import io
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pytest

from minilmx.embedding.corpus.inputs import find_files
from minilmx.embedding.corpus.source import Reading, scan_corpus
from minilmx.eval.datasets.pairs import load_pairs
from minilmx.files.texts import open_texts
from minilmx.progress import SILENT

ROWS = 20_000  # several blocks, and more than any buffer
NAMES = ["in.txt", "in.csv", "in.tsv", "in.jsonl", "in.jsonl.gz", "in.csv.gz", "in.parquet"]
NAMES += ["in.json", "in.csv.bz2", "in.jsonl.zst"]


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Counter[str]]]:
    """How often each file was opened, and how many of its bytes were read."""
    opens, sizes = Counter[str](), Counter[str]()
    plain_open = Path.open

    class Counted(io.RawIOBase):
        def __init__(self, stream: IO[bytes], name: str) -> None:
            self.stream, self.name = stream, name

        def readable(self) -> bool:
            return True

        def seekable(self) -> bool:
            return True

        def seek(self, offset: int, whence: int = 0) -> int:
            return self.stream.seek(offset, whence)

        def tell(self) -> int:
            return self.stream.tell()

        def readinto(self, buffer: Any) -> int:
            size: int = self.stream.readinto(buffer)  # type: ignore[attr-defined]
            sizes[self.name] += size
            return size

        def close(self) -> None:
            self.stream.close()
            super().close()

    def counted_open(path: Path, mode: str = "r", *rest: Any, **options: Any) -> Any:
        if mode != "rb" or not path.name.startswith("in."):
            return plain_open(path, mode, *rest, **options)
        opens[path.name] += 1
        return io.BufferedReader(Counted(plain_open(path, mode, buffering=0), path.name))

    monkeypatch.setattr(Path, "open", counted_open)
    yield {"opens": opens, "bytes": sizes}


def write(path: Path) -> None:
    if path.suffix == ".parquet":
        pyarrow = pytest.importorskip("pyarrow", reason="needs pyarrow for Parquet")
        parquet = pytest.importorskip("pyarrow.parquet", reason="needs pyarrow for Parquet")
        parquet.write_table(pyarrow.table({"text": [f"text {i}" for i in range(ROWS)]}), str(path))
        return
    if ".jsonl" in path.name:
        lines = [json.dumps({"text": f"text {i}"}) for i in range(ROWS)]
    else:
        lines = ["text", *(f"text {i}" for i in range(ROWS))]
    content = "".join(f"{line}\n" for line in lines).encode()
    if path.suffix == ".json":
        content = b"[" + b",".join(json.dumps({"text": f"text {i}"}).encode() for i in range(ROWS)) + b"]"
    if path.suffix == ".zst":
        pyarrow = pytest.importorskip("pyarrow", reason="needs pyarrow for zstd")
        content = pyarrow.compress(content, codec="zstd", asbytes=True)
    if path.suffix == ".bz2":
        content = bz2.compress(content)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


@pytest.mark.parametrize("name", NAMES)
def test_texts_are_read_twice(name: str, tmp_path: Path, reads: dict[str, Counter[str]]) -> None:
    path = tmp_path / name
    write(path)
    texts = open_texts(str(path))
    assert reads["opens"] == {name: 1}
    assert len(list(texts)) == texts.count
    assert reads["opens"] == {name: 2}
    if name != "in.parquet":  # which is not read from start to end
        assert reads["bytes"] == {name: 2 * path.stat().st_size}


@pytest.mark.parametrize("name", NAMES)
def test_a_corpus_is_read_twice_and_its_digests_come_from_the_first_time(
    name: str, tmp_path: Path, reads: dict[str, Counter[str]]
) -> None:
    pytest.importorskip("pyarrow", reason="needs pyarrow for a corpus")
    import hashlib

    path = tmp_path / name
    write(path)
    corpus = scan_corpus(find_files([str(tmp_path)], tmp_path / "out", SILENT), Reading(), 7000)
    assert reads["opens"] == {name: 1}
    (file,) = corpus.files
    assert file.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    reads["opens"][name] -= 1  # read_bytes is of this test
    reads["bytes"][name] -= path.stat().st_size
    shards = list(corpus.shards(range(corpus.shard_count)))
    assert sum(len(shard.texts) for shard in shards) == file.rows
    assert reads["opens"] == {name: 2}
    if name != "in.parquet":
        assert reads["bytes"] == {name: 2 * path.stat().st_size}


@pytest.mark.parametrize("header", ["sentence1,sentence2,score\n", ""], ids=["header", "no header"])
def test_pairs_are_read_once(header: str, tmp_path: Path, reads: dict[str, Counter[str]]) -> None:
    path = tmp_path / "in.csv"
    path.write_text(header + "".join(f"a {i},b {i},{i % 6}\n" for i in range(ROWS)))
    assert len(load_pairs(str(path))) == ROWS
    assert reads["opens"] == {"in.csv": 1}
    assert reads["bytes"] == {"in.csv": path.stat().st_size}
