"""mlx run to a Lance dataset: the same rows as Parquet shards, with the same guarantees."""

import hashlib
import json
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.cli.conftest import Start
from tests.conftest import Mlx

from minilmx.embedding.corpus.lance import LANCE as LANCE_FILES
from minilmx.embedding.corpus.shards import write_shard
from minilmx.embedding.corpus.source import Shard

pa = pytest.importorskip("pyarrow", reason="needs pyarrow for shards")
parquet = pytest.importorskip("pyarrow.parquet", reason="needs pyarrow for shards")
lance = pytest.importorskip("lance", reason="needs pylance")


RUN = ["--column", "body", "--shard-rows", 300]
LANCE = [*RUN, "--format", "lance"]


def write_corpus(folder: Path, rows: int = 1000) -> None:
    """Columns of many types with nulls, and strings that are long enough to be compressed."""
    folder.mkdir()
    texts = [hashlib.sha256(str(row).encode()).hexdigest()[: 1 + row % 16] for row in range(rows)]
    columns = {
        "body": pa.array([f"{text}." for text in texts]),
        "key": pa.array([f"k{row}" for row in range(rows)]),
        "note": pa.array([None if row % 7 == 0 else texts[row] * (1 + row % 40) for row in range(rows)]),
        "tags": pa.array([[texts[row] * 9] * (row % 3) for row in range(rows)]),
        "meta": pa.array([{"deep": {"er": texts[row] * 9, "n": row}} for row in range(rows)]),
        "n": pa.array([None if row % 5 == 0 else row * row for row in range(rows)]),
        "at": pa.array([None if row % 3 == 0 else row for row in range(rows)], pa.timestamp("us", "UTC")),
        "colour": pa.array([["red", "green", None][row % 3] for row in range(rows)]).dictionary_encode(),
    }
    for number, start in enumerate(range(0, rows, 450)):  # files and shards end at different rows
        part = pa.table(columns).slice(start, 450)
        parquet.write_table(part, str(folder / f"part{number}.parquet"), row_group_size=70)


def header_and_digests(folder: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """The contents of the ledger, checked against the files."""
    header, *entries = map(
        json.loads, folder.with_name(f"{folder.name}.ledger.jsonl").read_text().splitlines()
    )
    digests = {entry["file"]: entry["sha256"] for entry in entries}
    for name, digest in digests.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
    return header, digests


def shards_in(folder: Path) -> int:
    return len(list(folder.glob("data/shard-*.lance")))


def times(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*") if path.name[0] not in "._"}


def hidden(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob(".*") if path.name != ".lock"]


@pytest.mark.parametrize(
    "flags",
    [[], ["--id", "key", "--keep-text"], ["--dtype", "float16"]],
    ids=["numbered", "ids", "float16"],
)
def test_the_dataset_holds_the_same_rows_as_the_parquet_shards(
    flags: list[str], tiny: Path, mlx: Mlx, tmp_path: Path
) -> None:
    write_corpus(tmp_path / "in")
    for name, form in (("parquet", RUN), ("out.lance", LANCE)):
        outcome = mlx("run", tiny, "in", "-o", f"{name}/", *form, *flags)
        assert outcome.code == 0, outcome
    expected = parquet.read_table(str(tmp_path / "parquet"))
    dataset = lance.dataset(tmp_path / "out.lance")
    assert dataset.count_rows() == 1000
    dataset.validate()
    found = dataset.to_table()
    assert found.column_names == expected.column_names
    number = "halffloat" if "float16" in flags else "float"
    assert str(found.schema.field("embedding").type) == f"fixed_size_list<item: {number}>[8]"
    for name in found.column_names:
        assert found.column(name).to_pylist() == expected.column(name).to_pylist(), name
    query = [1.0] * 8
    nearest = {"column": "embedding", "q": pa.array(query, pa.float32()), "k": 3}
    assert len(dataset.to_table(columns=[found.column_names[0], "_distance"], nearest=nearest)) == 3


def test_the_same_rows_give_the_same_bytes(tiny: Path, mlx: Mlx, tmp_path: Path, start: Start) -> None:
    """In another process too, and whichever rows were read before the shard."""
    write_corpus(tmp_path / "in")
    assert mlx("run", tiny, "in", "-o", "one/", *LANCE, "--keep-text").code == 0
    process = start("run", tiny, "in", "-o", "two/", *LANCE, "--keep-text", "--workers", 2)
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 0, stderr
    header, digests = header_and_digests(tmp_path / "one")
    assert (header["format"], set(header["versions"]) >= {"pylance", "pyarrow"}) == ("lance", True)
    assert sorted(digests) == [f"data/shard-{number:06d}.lance" for number in range(4)]
    assert header_and_digests(tmp_path / "two")[1] == digests
    for number in (1, 2, 3):  # read from another row
        (tmp_path / "one" / "data" / f"shard-{number:06d}.lance").unlink()
        assert mlx("run", tiny, "in", "-o", "one/", *LANCE, "--keep-text").code == 0
        assert header_and_digests(tmp_path / "one")[1] == digests
    assert lance.dataset(tmp_path / "one").version == 1


def test_values_behind_nulls_and_outside_a_slice_are_not_written(tmp_path: Path) -> None:
    """Two tables with equal rows but different memory, as two runs may read them from Parquet."""
    rows = [{"n": None if row % 3 else row, "meta": {"deep": {"n": row}}} for row in range(300)]
    clean = pa.Table.from_pylist(rows)
    valid, _ = clean["n"].chunk(0).buffers()
    numbers = pa.Array.from_buffers(pa.int64(), 300, [valid, pa.array(range(300)).buffers()[1]])
    other = pa.concat_tables([clean, clean.set_column(0, "n", numbers)]).combine_chunks().slice(300)
    assert other.equals(clean)
    digests = set()
    for table in (clean, other):
        shard = Shard(0, 0, [], table.add_column(0, "id", pa.array(range(300))))
        digests.add(
            write_shard(tmp_path, shard, np.zeros((300, 8), np.float32), "float32", LANCE_FILES).sha256
        )
    assert len(digests) == 1


def test_a_run_that_is_killed_ends_like_one_that_is_not(
    tiny: Path, mlx: Mlx, tmp_path: Path, start: Start
) -> None:
    write_corpus(tmp_path / "in", 6000)
    assert mlx("run", tiny, "in", "-o", "whole/", *LANCE).code == 0
    for count in (1, 5, 9):
        process = start("run", tiny, "in", "-o", "out/", *LANCE)
        while process.poll() is None and shards_in(tmp_path / "out") < count:
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert not (tmp_path / "out" / "_versions").exists()
    before = shards_in(tmp_path / "out")
    assert 9 <= before < 20
    (tmp_path / "out" / "data" / ".shard-000003.lance.dead").mkdir()
    (tmp_path / "out" / "._versions.dead").mkdir()
    outcome = mlx("run", tiny, "in", "-o", "out/", *LANCE)
    assert outcome.code == 0, outcome
    assert "of them already done" in outcome.stderr
    assert header_and_digests(tmp_path / "out") == header_and_digests(tmp_path / "whole")
    dataset = lance.dataset(tmp_path / "out")
    assert dataset.version == 1
    # Without Lance's hint of the latest version, which a full disk would leave out.
    assert [path.suffix for path in (tmp_path / "out" / "_versions").iterdir()] == [".manifest"]
    assert dataset.to_table(columns=["id"]).column("id").to_pylist() == list(range(6000))
    assert hidden(tmp_path / "out") == []


def test_a_run_interrupted_before_its_manifest_writes_it_when_it_resumes(
    tiny: Path, mlx: Mlx, tmp_path: Path
) -> None:
    write_corpus(tmp_path / "in")
    assert mlx("run", tiny, "in", "-o", "out/", *LANCE).code == 0
    for path in (tmp_path / "out" / "_versions").iterdir():
        path.unlink()
    outcome = mlx("run", tiny, "in", "-o", "out/", *LANCE)
    assert outcome.code == 0, outcome
    assert ", 1,000 of them already done" in outcome.stderr
    assert lance.dataset(tmp_path / "out").count_rows() == 1000


def test_a_complete_run_makes_no_new_version(tiny: Path, mlx: Mlx, tmp_path: Path) -> None:
    write_corpus(tmp_path / "in")
    assert mlx("run", tiny, "in", "-o", "out/", *LANCE).code == 0
    before = times(tmp_path / "out")
    assert mlx("run", tiny, "in", "-o", "out/", *LANCE).code == 0
    assert times(tmp_path / "out") == before
    lance.dataset(tmp_path / "out").delete("id < 10")
    assert mlx("run", tiny, "in", "-o", "out/", *LANCE).code == 0
    dataset = lance.dataset(tmp_path / "out")
    assert (dataset.version, dataset.count_rows()) == (2, 990)


@pytest.mark.parametrize("first", [RUN, LANCE], ids=["parquet", "lance"])
def test_force_starts_over_and_removes_the_old_output(
    first: list[object], tiny: Path, mlx: Mlx, tmp_path: Path
) -> None:
    write_corpus(tmp_path / "in")
    assert mlx("run", tiny, "in", "-o", "out/", *first).code == 0
    (tmp_path / "out" / ".mine").touch()
    outcome = mlx("run", tiny, "in/part0.parquet", "-o", "out/", *LANCE, "--force")
    assert outcome.code == 0, outcome
    dataset = lance.dataset(tmp_path / "out")
    assert (dataset.version, dataset.count_rows(), shards_in(tmp_path / "out")) == (1, 450, 2)
    assert mlx("run", tiny, "in", "-o", "out/", *RUN, "--force").code == 0
    left = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert left == [".lock", ".mine", *(f"shard-{n:06d}.parquet" for n in range(4))]


def test_a_folder_keeps_its_format(tiny: Path, mlx: Mlx, tmp_path: Path) -> None:
    write_corpus(tmp_path / "in")
    assert mlx("run", tiny, "in", "-o", "out/", *RUN).code == 0
    before = times(tmp_path / "out")
    outcome = mlx("run", tiny, "in", "-o", "out/", *LANCE)
    assert outcome.code == 3
    assert outcome.stderr == (
        "Error: out was created with other settings: its format is parquet; expected lance. "
        "Choose another folder, or start over.\n"
    )
    assert times(tmp_path / "out") == before


def test_a_column_that_lance_cannot_hold_is_named_before_any_work(
    tiny: Path, mlx: Mlx, tmp_path: Path
) -> None:
    (tmp_path / "in.jsonl").write_text('{"body": "a", "id": "b", "a.b": 1}\n')
    outcome = mlx("run", tiny, "in.jsonl", "-o", "out/", *LANCE, "--id", "id")
    assert outcome.code == 3
    assert outcome.stderr == (
        "Error: the column a.b cannot be written to Lance: Top level field a.b cannot contain `.`. "
        "Maybe you meant to create a struct field?\n"
    )
    assert not (tmp_path / "out").exists()
    (tmp_path / "in.jsonl").write_text('{"body": "a", "my.id": "b"}\n')
    outcome = mlx("run", tiny, "in.jsonl", "-o", "out/", *LANCE, "--id", "my.id")
    assert "the column my.id cannot be written to Lance" in outcome.stderr


def test_without_pylance_the_error_says_how_to_install_it(
    tiny: Path, mlx: Mlx, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_corpus(tmp_path / "in")
    monkeypatch.setitem(sys.modules, "lance", None)
    outcome = mlx("run", tiny, "in", "-o", "out/", *LANCE)
    assert outcome.code == 3
    assert outcome.stderr == (
        "Error: the format lance needs pylance, which is not installed. Run pip install 'minilmx[lance]'.\n"
    )
    assert not (tmp_path / "out").exists()
