"""mlx run to a folder of shards: any inputs, interrupted and resumed anywhere, one run at a time."""

import errno
import gzip
import hashlib
import json
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.cli.conftest import Start, wait_for
from tests.conftest import FULL_SIZE, MakeOnce, Mlx, run_mlx

from minilmx.embedding.embedder import Embedder
from minilmx.models.artifact import Artifact, open_artifact

pa = pytest.importorskip("pyarrow", reason="needs pyarrow for shards")
parquet = pytest.importorskip("pyarrow.parquet", reason="needs pyarrow for shards")


MORTAL = """
import os, signal
from pathlib import Path
from minilmx.runners.base import ALL_GRAPHS, RunnerEntry
from minilmx.runners.registry import find_runner


def open_mortal(artifact, options, progress):
    entry = find_runner("onnxruntime")
    runner = entry.open(artifact, entry.options(), progress)
    run = runner.run

    def mortal(batch):
        if Path("die").exists() or Path("die-again").exists():
            Path("die").unlink(missing_ok=True)
            os.kill(os.getpid(), signal.SIGKILL)
        return run(batch)

    runner.run = mortal
    return runner


ENTRY = RunnerEntry("mortal", "dies when told to", lambda options: None, open_mortal, graphs=ALL_GRAPHS)
"""

# A signal while a module of native code starts in a worker, or runs Python: NATIVE is "start" or "call".
STARTING = """
import importlib.util, multiprocessing, os, signal, sys, types
from importlib.machinery import ExtensionFileLoader

class Loader(ExtensionFileLoader):
    def create_module(self, spec):
        return types.ModuleType(spec.name)

    def exec_module(self, module):
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        except BaseException:
            os.abort()  # as nanobind does

def call():
    try:
        os.kill(os.getpid(), signal.SIGTERM)
    except SystemExit as error:
        raise ImportError("a module that native code imports") from error  # as pybind11 does

if not multiprocessing.parent_process():
    pass
elif NATIVE == "call":
    call()
else:
    spec = importlib.util.spec_from_file_location("native", "native.so", loader=Loader("native", "native.so"))
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
folder = os.path.dirname(__file__)
sys.path.remove(folder)
del sys.modules["onnxruntime"]
import onnxruntime
sys.path.insert(0, folder)
"""

# What Ray's runtime_env agent starts, which writes to the cluster's folder for a minute, whatever Ray kills.
OUTLIVING = """
import subprocess, sys
if any(argument.endswith("runtime_env/agent/main.py") for argument in sys.orig_argv):
    folder = next(each.partition("=")[2] for each in sys.orig_argv if each.startswith("--session-dir="))
    code = (
        "import os, sys, time; os.setsid(); open(sys.argv[2], 'w').write(str(os.getpid()))\\n"
        "for _ in range(600): os.makedirs(sys.argv[1] + '/late', exist_ok=True); time.sleep(0.1)"
    )
    subprocess.Popen([sys.executable, "-S", "-c", code, folder, FILE])
"""


@pytest.fixture(autouse=True)
def ray_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """A separate token for the clusters that a test starts, so that the user's is not touched."""
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))


@pytest.fixture
def mortal(environment: dict[str, str], tmp_path: Path) -> None:
    """A runner that kills its process: once if a file `die` exists, always if `die-again` does."""
    info = tmp_path / "packages" / "mortal-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mortal\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[minilmx.runners]\nmortal = mortal_runner:ENTRY\n")
    (tmp_path / "packages" / "mortal_runner.py").write_text(MORTAL)


@pytest.fixture(scope="session")
def finished_once(tiny_original: Artifact, make_once: MakeOnce) -> Path:
    def run(folder: Path) -> None:
        write_corpus(folder / "in", 1000)
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            assert run_mlx("run", tiny_original.path, "in", "-o", "out/", *RUN).code == 0

    return make_once("corpus", run)


@pytest.fixture
def finished(finished_once: Path, tmp_path: Path) -> None:
    """A folder `in` of 1,000 rows, and `out` with their shards."""
    shutil.copytree(finished_once, tmp_path, dirs_exist_ok=True)


def texts_of(rows: int, seed: int = 0) -> list[str]:
    draw = random.Random(seed)
    return ["".join(draw.choices("abc def 123", k=draw.randint(1, 20))) + "." for _ in range(rows)]


def write_jsonl(path: Path, texts: list[str], first: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps({"key": f"k{first + i}", "n": i, "body": text}) for i, text in enumerate(texts)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_corpus(folder: Path, rows: int) -> list[str]:
    """Three files of different sizes, whose natural order differs from that of their names."""
    texts = texts_of(rows)
    cuts = [0, rows // 5, rows // 2, rows]
    for number, (start, end) in zip((1, 2, 10), pairwise(cuts), strict=True):
        write_jsonl(folder / f"part{number}.jsonl", texts[start:end], start)
    return texts


def contents(folder: Path) -> dict[str, str]:
    """The digest of every visible file and of the ledger."""
    files = [path for path in sorted(folder.iterdir()) if path.name != ".lock"]
    digests = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    ledger = folder.with_name(f"{folder.name}.ledger.jsonl")
    return digests | {"the ledger": hashlib.sha256(ledger.read_bytes()).hexdigest()}


def ledger_lines(folder: Path) -> list[dict[str, Any]]:
    """The header and the shards that a folder's ledger records."""
    return [
        json.loads(line) for line in folder.with_name(f"{folder.name}.ledger.jsonl").read_text().splitlines()
    ]


def embeddings(table: Any) -> NDArray[Any]:
    column = table.column("embedding").combine_chunks()
    return np.asarray(column.flatten().to_numpy(zero_copy_only=False)).reshape(len(column), -1)


def embedded(artifact: Path, texts: list[str]) -> NDArray[np.float32]:
    opened = open_artifact(artifact).with_graph("dynamic")
    with Embedder(opened, "onnxruntime", opened.graph_kind) as runner:
        return runner.encode(texts)


RAY: list[object] = ["--engine", "ray", "--workers", 2]
RUN = ["--column", "body", "--id", "key", "--shard-rows", "300"]


def test_a_folder_of_files_becomes_shards_in_natural_order(tiny: Path, mlx: Mlx, tmp_path: Path) -> None:
    texts = write_corpus(tmp_path / "in", 1000)
    outcome = mlx("run", tiny, "in", "-o", "out/", *RUN)
    assert outcome.code == 0, outcome
    assert outcome.stdout == ""
    assert "1,000 rows of 3 files to 4 shards in out with onnxruntime (dynamic graph)" in outcome.stderr
    table = parquet.read_table(str(tmp_path / "out"))
    assert table.column_names == ["key", "embedding", "n"]
    assert table.column("key").to_pylist() == [f"k{i}" for i in range(1000)]
    assert table.column("n").to_pylist() == [*range(200), *range(300), *range(500)]
    assert str(table.schema.field("embedding").type) == "fixed_size_list<element: float>[8]"
    assert np.abs(embeddings(table) - embedded(tiny, texts)).max() < 1e-6
    sizes = [
        parquet.read_metadata(str(file)).num_rows for file in sorted((tmp_path / "out").glob("*.parquet"))
    ]
    assert sizes == [300, 300, 300, 100]


def read_with(reader: str, folder: Path) -> list[str]:
    """The keys that a library reads from a folder, as its users would."""
    module = pytest.importorskip(reader, reason=f"needs {reader}")
    if reader == "polars":
        return list(module.scan_parquet(f"{folder}/").collect()["key"])
    if reader == "duckdb":
        return [row[0] for row in module.sql(f"select key from '{folder}/*.parquet'").fetchall()]
    if reader == "datasets":
        cache = str(folder.parent / "cache")
        return list(
            module.load_dataset("parquet", data_dir=str(folder), split="train", cache_dir=cache)["key"]
        )
    if reader == "pandas":
        return list(module.read_parquet(folder)["key"])
    keys: list[str] = module.dataset(folder).to_table()["key"].to_pylist()
    return keys


@pytest.mark.usefixtures("finished")
@pytest.mark.parametrize("reader", ["polars", "duckdb", "datasets", "pandas", "pyarrow.dataset"])
def test_a_folder_opens_in_other_libraries(reader: str, tmp_path: Path) -> None:
    assert sorted(read_with(reader, tmp_path / "out")) == sorted(f"k{row}" for row in range(1000))


@pytest.mark.usefixtures("finished")
def test_only_shards_and_an_empty_lock_are_in_the_folder(tmp_path: Path) -> None:
    """As Spark and Polars want it: whatever has another name starts with a dot and is empty."""
    sizes = {path.name: path.stat().st_size for path in (tmp_path / "out").iterdir()}
    assert sizes.pop(".lock") == 0
    assert sorted(sizes) == [f"shard-00000{number}.parquet" for number in range(4)]


def test_a_ledger_without_its_folder_binds_nothing(tiny: Path, mlx: Mlx, tmp_path: Path) -> None:
    write_corpus(tmp_path / "in", 500)
    assert mlx("run", tiny, "in", "-o", "out/", *RUN).code == 0
    shutil.rmtree(tmp_path / "out")
    assert mlx("run", tiny, "nowhere", "-o", "out/", *RUN).code == 3
    assert not (tmp_path / "out").exists()
    outcome = mlx("run", tiny, "in", "-o", "out/", *RUN, "--dtype", "float16")
    assert outcome.code == 0, outcome
    assert ledger_lines(tmp_path / "out")[0]["dtype"] == "float16"


@pytest.mark.usefixtures("finished")
def test_the_ledger_describes_the_shards_and_their_inputs(tiny: Path, mlx: Mlx, tmp_path: Path) -> None:
    header, *entries = ledger_lines(tmp_path / "out")
    assert header["artifact"] == hashlib.sha256((tiny / "mlx.json").read_bytes()).hexdigest()
    assert (header["runner"], header["graph"], header["dtype"]) == ("onnxruntime", "dynamic", "float32")
    assert (header["rows"], header["rows_per_shard"]) == (1000, 300)
    assert [Path(file["path"]).name for file in header["inputs"]] == [
        "part1.jsonl",
        "part2.jsonl",
        "part10.jsonl",
    ]
    for file in header["inputs"]:
        content = (tmp_path / file["path"]).read_bytes()
        assert (file["sha256"], file["size_bytes"]) == (hashlib.sha256(content).hexdigest(), len(content))
    assert [entry["first_row"] for entry in entries] == [0, 300, 600, 900]
    for entry in entries:
        content = (tmp_path / "out" / entry["file"]).read_bytes()
        assert (entry["sha256"], entry["size_bytes"]) == (hashlib.sha256(content).hexdigest(), len(content))


def test_every_kind_of_file_goes_into_one_corpus(tiny: Path, mlx: Mlx, tmp_path: Path) -> None:
    data = tmp_path / "in"
    (data / "deep" / "er").mkdir(parents=True)
    (data / "a.csv").write_text("text,n\none,1\ntwo,2\n")
    (data / "b.tsv").write_text("n\ttext\n3\tthree\n")
    (data / "c.jsonl.gz").write_bytes(gzip.compress(b'{"text": "four", "n": "4"}\n{"text": "five"}\n'))
    days = pa.array([86_400_000_000], pa.timestamp("us"))
    colours = pa.array(["red"]).dictionary_encode()
    table = pa.table({"text": ["six"], "n": ["6"], "day": days, "colour": colours})
    parquet.write_table(table, str(data / "deep" / "er" / "d.parquet"))
    (data / "README.md").write_text("no sentences")
    (data / ".hidden.csv").write_text("text\nno\n")
    (data / "_hidden.jsonl").write_text("{}")
    (data / "other.ledger.jsonl").write_text("{}")
    outcome = mlx(
        "run", tiny, "in", "in/a.csv", "in/*.tsv", "-o", "in/out/", "--column", "text", "--keep-text"
    )
    assert outcome.code == 0, outcome
    assert "6 rows of 4 files to 1 shard in" in outcome.stderr
    found = parquet.read_table(str(data / "out"))
    assert found.column_names == ["id", "embedding", "text", "n", "day", "colour"]
    assert found.column("id").to_pylist() == [0, 1, 2, 3, 4, 5]
    assert found.column("text").to_pylist() == ["one", "two", "three", "four", "five", "six"]
    assert found.column("n").to_pylist() == ["1", "2", "3", "4", None, "6"]
    assert found.column("colour").to_pylist()[5] == "red"
    assert found.column("day").to_pylist()[5].day == 2
    # Its own output is inside the input folder and is left out.
    assert mlx("run", tiny, "in", "-o", "in/out/", "--column", "text", "--keep-text").code == 0


def test_the_format_of_the_files_is_part_of_the_folder(tiny: Path, mlx: Mlx, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('text|n\n"a|1\nb|2\n')
    words = ["run", tiny, "a.csv", "-o", "out/", "--column", "text", "--keep-text", "--delimiter", "|"]
    assert "not valid CSV" in mlx(*words).stderr
    assert mlx(*words, "--quoting", "none").code == 0
    assert parquet.read_table(str(tmp_path / "out")).column("text").to_pylist() == ['"a', "b"]
    (tmp_path / "a.csv").write_text("text|n\na|1\nb|2\n")
    assert mlx(*words, "--quoting", "none", "--force").code == 0
    outcome = mlx(*words)
    assert outcome.code == 3
    assert (
        "its text_format is {'kind': None, 'delimiter': '|', 'quoting': 'none'}; expected" in outcome.stderr
    )


def test_a_corpus_is_read_from_urls(tiny: Path, mlx: Mlx, tmp_path: Path) -> None:
    memory = pytest.importorskip("fsspec", reason="needs fsspec").filesystem("memory")
    write_corpus(tmp_path / "in", 500)
    for path in (tmp_path / "in").iterdir():
        memory.pipe(f"/corpus/{path.name}", path.read_bytes())
    memory.pipe("/corpus/README.md", b"no sentences")
    memory.pipe("/corpus/_hidden.jsonl", b"{}")
    try:
        assert mlx("run", tiny, "in", "-o", "whole/", *RUN).code == 0
        whole = parquet.read_table(str(tmp_path / "whole"))
        for given in ("memory://corpus/", "memory://corpus/part*.jsonl"):
            outcome = mlx("run", tiny, given, "-o", "out/", *RUN, "--force")
            assert outcome.code == 0, outcome
            assert parquet.read_table(str(tmp_path / "out")).equals(whole)
        assert [file["path"] for file in ledger_lines(tmp_path / "out")[0]["inputs"]] == [
            f"memory:///corpus/part{number}.jsonl" for number in (1, 2, 10)
        ]
        assert ", 500 of them already done" in mlx("run", tiny, given, "-o", "out/", *RUN).stderr
        memory.pipe("/corpus/part2.jsonl", b'{"body": "changed", "key": "k", "n": 1}\n')
        assert "was created with other settings" in mlx("run", tiny, given, "-o", "out/", *RUN).stderr
        outcome = mlx("run", tiny, "memory://nowhere/", "-o", "out2/", *RUN)
        assert "memory://nowhere/ does not exist" in outcome.stderr
    finally:
        memory.store.clear()


def test_the_only_column_besides_the_id_needs_no_name(tiny: Path, mlx: Mlx, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,sentence\n7,one\n8,two\n")
    outcome = mlx("run", tiny, "a.csv", "-o", "out/", "--id", "id")
    assert outcome.code == 0, outcome
    assert parquet.read_table(str(tmp_path / "out")).column("id").to_pylist() == ["7", "8"]


@pytest.mark.parametrize(
    ("columns", "flags", "message"),
    [
        (
            "id,embedding,body",
            ["--id", "id"],
            "the input has a column 'embedding'; expected no column with a name that the output adds. Rename",
        ),
        (
            "id,embedding,body",
            [],
            "the input has the columns 'id', 'embedding'; expected no column with a name that the output "
            "adds. Rename them, or choose the column of the ids.",
        ),
        ("ID,body", [], "the input has a column 'ID'; expected no column with a name"),
        ("embedding,body", ["--id", "embedding"], "the input has a column 'embedding'"),
        ("key,text,body", ["--id", "key", "--keep-text"], "the input has a column 'text'"),
        ("text,body", ["--id", "text", "--keep-text"], "the input has a column 'text'"),
    ],
)
def test_two_columns_of_one_name_are_refused_before_any_work(
    columns: str, flags: list[str], message: str, tiny: Path, mlx: Mlx, tmp_path: Path
) -> None:
    (tmp_path / "a.csv").write_text(f"{columns}\n" + ",".join("abc"[: columns.count(",") + 1]) + "\n")
    outcome = mlx("run", tiny, "a.csv", "-o", "out/", "--column", "body", *flags)
    assert outcome.code == 3, outcome
    assert message in outcome.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("form", ["parquet", "lance"])
def test_a_column_of_ids_keeps_its_name(form: str, tiny: Path, mlx: Mlx, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,body,doc_id\n1,one,x\n2,two,y\n")
    words = ("run", tiny, "a.csv", "-o", "out/", "--column", "body", "--id", "doc_id", "--format", form)
    assert mlx(*words).code == 0
    if form == "parquet":
        table = parquet.read_table(str(tmp_path / "out"))
    else:
        table = pytest.importorskip("lance", reason="needs pylance").dataset(tmp_path / "out").to_table()
    assert table.column_names == ["doc_id", "embedding", "id"]
    assert table.column("doc_id").to_pylist() == ["x", "y"]


def write_gaps(folder: Path, rows: int) -> list[int]:
    """Two files, with a gap at every seventh row and in the first and the last ones; where the gaps are."""
    folder.mkdir()
    gaps = [row for row in range(rows) if row % 7 == 0 or row in (1, rows - 1)]
    lines = [json.dumps({"body": None if row in gaps else f"text {row}", "n": row}) for row in range(rows)]
    (folder / "part1.jsonl").write_text("\n".join(lines[: rows // 3]) + "\n")
    (folder / "part2.jsonl").write_text("\n\n".join(lines[rows // 3 :]) + "\n")
    return gaps


@pytest.mark.parametrize("form", ["parquet", "lance"])
@pytest.mark.parametrize("on_empty", ["skip", "null"])
def test_rows_without_a_text_do_not_stop_a_corpus(
    on_empty: str, form: str, tiny: Path, mlx: Mlx, tmp_path: Path
) -> None:
    lance = pytest.importorskip("lance", reason="needs pylance") if form == "lance" else None
    gaps = write_gaps(tmp_path / "in", 100)
    words = ["run", tiny, "in", "-o", "out/", "--column", "body", "--shard-rows", 20, "--on-empty", on_empty]
    words += ["--keep-text", "--format", form]
    outcome = mlx(*words)
    assert outcome.code == 0, outcome
    said = {"skip": f"{100 - len(gaps)} rows of 2 files", "null": "100 rows of 2 files"}[on_empty]
    how = {"skip": "more without a text skipped", "null": "of them without a text"}[on_empty]
    assert said in outcome.stderr
    assert f", {len(gaps)} {how}" in outcome.stderr

    def rows() -> list[dict[str, Any]]:
        out = tmp_path / "out"
        table = lance.dataset(out).to_table() if lance else parquet.read_table(str(out))
        found: list[dict[str, Any]] = table.to_pylist()
        return found

    before = rows()
    kept = [row for row in range(100) if on_empty == "null" or row not in gaps]
    assert [row["id"] for row in before] == [row["n"] for row in before] == kept
    for row in before:
        assert row["text"] == (None if row["n"] in gaps else f"text {row['n']}")
        assert (row["embedding"] is None) == (row["n"] in gaps)
    header, *_ = ledger_lines(tmp_path / "out")
    assert header["on_empty"] == on_empty
    assert sum(len(file["empty_lines"]) for file in header["inputs"]) == len(gaps)
    assert header["inputs"][0]["empty_lines"] == [gap + 1 for gap in gaps if gap < 33]
    for shard in sorted((tmp_path / "out").rglob("shard-*"))[1:]:
        shard.unlink()
        assert mlx(*words).code == 0
        assert rows() == before


def test_an_empty_part_has_zero_rows(tiny: Path, mlx: Mlx, tmp_path: Path) -> None:
    texts = write_corpus(tmp_path / "in", 500)
    assert mlx("run", tiny, "in", "-o", "whole/", *RUN).code == 0
    (tmp_path / "in" / "part0.jsonl").touch()
    (tmp_path / "in" / "part3.csv").write_text("body,key\n")
    (tmp_path / "in" / "part4.tsv").touch()
    (tmp_path / "in" / "part5.txt").touch()
    (tmp_path / "in" / "part11.jsonl.gz").write_bytes(gzip.compress(b""))
    parquet.write_table(pa.table({"other": pa.array([], pa.int64())}), str(tmp_path / "in" / "part6.parquet"))
    outcome = mlx("run", tiny, "in", "-o", "out/", *RUN)
    assert outcome.code == 0, outcome
    assert f"{len(texts)} rows of 9 files to 2 shards" in outcome.stderr
    for name in ("shard-000000.parquet", "shard-000001.parquet"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.parametrize("on_empty", ["error", "skip"])
def test_a_corpus_without_a_row_is_refused(on_empty: str, tiny: Path, mlx: Mlx, tmp_path: Path) -> None:
    (tmp_path / "a.txt").touch()
    (tmp_path / "b.txt").write_text("\n" if on_empty == "skip" else "")
    outcome = mlx("run", tiny, "a.txt", "b.txt", "-o", "out/", "--on-empty", on_empty)
    assert outcome.code == 3
    assert "a.txt, b.txt is empty; expected at least one row" in outcome.stderr
    assert not (tmp_path / "out").exists()


def test_float16_is_the_float32_embedding_rounded(tiny: Path, mlx: Mlx, tmp_path: Path) -> None:
    write_corpus(tmp_path / "in", 1000)
    assert mlx("run", tiny, "in", "-o", "full/", *RUN).code == 0
    assert mlx("run", tiny, "in", "-o", "half/", *RUN, "--dtype", "float16").code == 0
    full = embeddings(parquet.read_table(str(tmp_path / "full")))
    half = embeddings(parquet.read_table(str(tmp_path / "half")))
    assert half.dtype == np.float16
    assert np.array_equal(half, full.astype(np.float16))


def test_the_bytes_do_not_depend_on_workers_or_their_threads(tiny: Path, mlx: Mlx, tmp_path: Path) -> None:
    write_corpus(tmp_path / "in", 5000)
    for name, flags in (("one", ["--threads", "2"]), ("three", ["--workers", "3"])):
        assert mlx("run", tiny, "in", "-o", f"{name}/", *RUN, *flags).code == 0
    assert contents(tmp_path / "one") == contents(tmp_path / "three")


def test_shards_of_many_chunks_are_the_same_after_an_interruption(
    tiny: Path, mlx: Mlx, tmp_path: Path
) -> None:
    write_corpus(tmp_path / "in", 15_000)
    flags = ["--column", "body", "--shard-rows", 5000]
    assert mlx("run", tiny, "in", "-o", "out/", *flags).code == 0
    before = contents(tmp_path / "out")
    (tmp_path / "out" / "shard-000001.parquet").unlink()
    outcome = mlx("run", tiny, "in", "-o", "out/", *flags)
    assert ", 10,000 of them already done" in outcome.stderr
    assert contents(tmp_path / "out") == before


@pytest.mark.parametrize("workers", [1, 2])
def test_a_run_that_is_killed_repeatedly_ends_like_one_that_is_not(
    workers: int, tiny: Path, mlx: Mlx, tmp_path: Path, start: Start
) -> None:
    kill_and_resume(tiny, mlx, tmp_path, start, rows=8_000, kills=3, flags=["--workers", workers])


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif(not FULL_SIZE, reason="takes minutes: set FULL_SIZE")
def test_many_rows_survive_many_kills(tiny: Path, mlx: Mlx, tmp_path: Path, start: Start) -> None:
    kill_and_resume(tiny, mlx, tmp_path, start, rows=100_000, kills=10, flags=["--workers", 2])


NO_RAY = pytest.mark.skipif(find_spec("ray") is None, reason="needs ray")


@NO_RAY
@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_rows_survive_kills_with_ray(tiny: Path, mlx: Mlx, tmp_path: Path, start: Start) -> None:
    """It is resumed without Ray every other time."""
    rows, kills = (30_000, 6) if FULL_SIZE else (15_000, 2)
    others = ["--workers", 2]
    kill_and_resume(tiny, mlx, tmp_path, start, rows=rows, kills=kills, flags=RAY, others=others)


@NO_RAY
@pytest.mark.slow
def test_an_actor_that_is_killed_loses_only_its_shard(
    tiny: Path, mlx: Mlx, tmp_path: Path, start: Start, environment: dict[str, str]
) -> None:
    """And Ray makes the same bytes as processes."""
    write_corpus(tmp_path / "in", 15_000)
    (tmp_path / "temporary").mkdir()
    environment["TMPDIR"] = str(tmp_path / "temporary")  # like that of a PBS job, too long for Ray's sockets
    assert mlx("run", tiny, "in", "-o", "whole/", *RUN).code == 0
    process = start("run", tiny, "in", "-o", "out/", *RUN, *RAY)
    wait_for(lambda: shards_in(tmp_path / "out") >= 3, process)
    actors = [pid for pid in descendants(process.pid) if b"_Actor" in command_of(pid)]
    assert len(actors) == 2
    os.kill(actors[0], signal.SIGKILL)
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 0, stderr
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder with a path short enough for Ray's sockets."""
    with tempfile.TemporaryDirectory(prefix="mlx", ignore_cleanup_errors=True) as name:
        yield Path(name)


def listening(pids: list[int]) -> set[str]:
    """The addresses at which these processes accept connections, in hexadecimal digits."""
    sockets = set()
    for pid in pids:
        with suppress(OSError):
            sockets |= {str(each.readlink()) for each in Path(f"/proc/{pid}/fd").iterdir()}
    addresses = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in sockets:
                addresses.add(fields[1].partition(":")[0])
    return addresses


@NO_RAY
@pytest.mark.slow
def test_a_cluster_of_this_machine_is_closed_to_others_and_ends_with_the_run(
    tiny: Path, tmp_path: Path, start: Start, environment: dict[str, str]
) -> None:
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN"):
        environment.pop(name, None)
    with tempfile.TemporaryDirectory() as short:  # the paths of sockets have a limit
        environment["TMPDIR"] = short
        write_corpus(tmp_path / "in", 60_000)
        process = start("run", tiny, "in", "-o", "out/", *RUN, *RAY)
        wait_for(lambda: shards_in(tmp_path / "out") >= 1, process)
        started = descendants(process.pid)
        assert listening([process.pid, *started]) <= {"0100007F", "0000000000000000FFFF00000100007F"}
        assert [folder.stat().st_mode & 0o777 for folder in Path(short).glob("*ray*")] == [0o700]
        process.send_signal(signal.SIGTERM)
        _, stderr = process.communicate(timeout=60)
        assert process.returncode == 130, stderr
        assert stderr.splitlines()[-1] == "Error: interrupted"
        wait_until(lambda: not any(Path(f"/proc/{pid}/exe").exists() for pid in started))
        assert not list(Path(short).glob("*ray*"))


@NO_RAY
@pytest.mark.slow
def test_what_outlives_a_cluster_of_this_machine_is_ended_before_its_folder_is_removed(
    tiny: Path, tmp_path: Path, start: Start, environment: dict[str, str], short: Path
) -> None:
    """On a busy machine Ray's agents do. A process that one of them starts stands for them here."""
    (tmp_path / "packages" / "sitecustomize.py").write_text(
        OUTLIVING.replace("FILE", repr(str(tmp_path / "outliving")))
    )
    environment["TMPDIR"] = str(short)
    write_corpus(tmp_path / "in", 10)
    process = start("run", tiny, "in", "-o", "out/", *RUN, *RAY)
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 0, stderr
    pid = int((tmp_path / "outliving").read_text())
    assert not Path(f"/proc/{pid}/exe").exists()
    assert not list(short.glob("minilmx-*"))


@NO_RAY
@pytest.mark.slow
def test_a_cluster_that_does_not_start_is_an_error(
    tiny: Path, tmp_path: Path, start: Start, environment: dict[str, str]
) -> None:
    (tmp_path / "packages" / "sitecustomize.py").write_text(
        'import sys; "/runtime_env/agent/main.py" in "".join(sys.orig_argv[:3]) and sys.exit(1)\n'
    )
    write_corpus(tmp_path / "in", 10)
    process = start("run", tiny, "in", "-o", "out/", *RUN, *RAY)
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 3, stderr
    assert stderr.startswith("Error: no Ray cluster can be started here: ")
    assert len(stderr.splitlines()) == 1


@NO_RAY
def test_a_cluster_that_a_killed_run_left_is_removed_also_if_no_shard_is_left(
    tiny: Path, mlx: Mlx, tmp_path: Path, start: Start, environment: dict[str, str], short: Path
) -> None:
    environment["TMPDIR"] = str(short)
    write_corpus(tmp_path / "in", 10)
    assert mlx("run", tiny, "in", "-o", "out/", *RUN).code == 0
    (short / "minilmx-ray-abcdefgh" / "ray" / "session").mkdir(parents=True)
    process = start("run", tiny, "in", "-o", "out/", *RUN, *RAY)
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 0, stderr
    assert not list(short.glob("minilmx-*"))


def wait_until(condition: Callable[[], bool]) -> None:
    for _ in range(1000):
        if condition():
            return
        time.sleep(0.02)
    raise AssertionError("it never happened")


@NO_RAY
@pytest.mark.slow
def test_the_artifact_is_sent_to_an_existing_cluster(
    tiny: Path, mlx: Mlx, tmp_path: Path, start: Start, environment: dict[str, str], short: Path
) -> None:
    """Its workers run in another folder, in which the artifact's relative path does not exist."""
    write_corpus(tmp_path / "in", 2000)
    assert mlx("run", tiny, "in", "-o", "local/", *RUN).code == 0
    left = short / f"minilmx-{open_artifact(tiny).digest}"  # of an earlier run, by what cleans up /tmp
    shutil.copytree(tiny, left)
    (left / "mlx.json").unlink()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (tmp_path / "elsewhere").mkdir()
    command = [str(Path(sys.executable).with_name("ray")), "start", "--head", "--block", f"--port={port}"]
    command += ["--node-ip-address=127.0.0.1", "--num-cpus=2", "--include-dashboard=false"]
    quiet = {"RAY_USAGE_STATS_ENABLED": "0", "TMPDIR": str(short)}
    with (tmp_path / "ray.log").open("w") as log:
        cluster = subprocess.Popen(
            command, cwd=tmp_path / "elsewhere", env=environment | quiet, stdout=log, stderr=log, text=True
        )
    try:
        wait_for(lambda: "Ray runtime started" in (tmp_path / "ray.log").read_text(), cluster)
        address = f"127.0.0.1:{port}"
        process = start(
            "run", tiny.name, "in", "-o", "ray/", *RUN, "--engine", "ray", "--ray-address", address
        )
        _, stderr = process.communicate(timeout=120)
        assert process.returncode == 0, stderr
    finally:
        cluster.terminate()
        cluster.wait(60)
    assert contents(tmp_path / "ray") == contents(tmp_path / "local")
    assert list(short.glob("minilmx-*")) == [left]
    assert open_artifact(left).digest == open_artifact(tiny).digest


@NO_RAY
@pytest.mark.slow
@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            ["--ray-address", "127.0.0.1:1"],
            "the Ray cluster at 127.0.0.1:1 cannot be reached: [Errno 111] Connection refused",
        ),
        (["--cpus-per-worker", "4096"], "expected at least the 4096 of one worker"),
        (["--runner", "faulty"], "the runner onnxruntime failed on a batch: ZeroDivisionError"),
    ],
)
def test_an_error_with_ray_is_one_line(
    flags: list[str], message: str, tiny: Path, tmp_path: Path, start: Start
) -> None:
    write_corpus(tmp_path / "in", 1000)
    process = start("run", tiny, "in", "-o", "out/", *RUN, "--engine", "ray", *flags)
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 3, stderr
    assert [line for line in stderr.splitlines() if line.startswith("Error: ")] == stderr.splitlines()[-1:]
    assert message in stderr.splitlines()[-1]


@pytest.mark.skipif(find_spec("ray") is not None, reason="ray is installed")
def test_without_ray_the_error_says_how_to_install_it(tiny: Path, mlx: Mlx, tmp_path: Path) -> None:
    write_corpus(tmp_path / "in", 10)
    outcome = mlx("run", tiny, "in", "-o", "out/", *RUN, "--engine", "ray")
    assert outcome.code == 3
    assert outcome.stderr == (
        "Error: the Ray engine needs ray, which is not installed. Run pip install 'minilmx[ray]'.\n"
    )


def kill_and_resume(
    tiny: Path,
    mlx: Mlx,
    tmp_path: Path,
    start: Start,
    *,
    rows: int,
    kills: int,
    flags: list[object],
    others: list[object] | None = None,
) -> None:
    """Kill runs at random moments after random numbers of shards, then resume."""
    write_corpus(tmp_path / "in", rows)
    assert mlx("run", tiny, "in", "-o", "whole/", *RUN).code == 0
    draw = random.Random(rows)
    shards = len(list((tmp_path / "whole").glob("*.parquet")))
    for turn, count in enumerate(sorted(draw.sample(range(shards), kills))):
        chosen = others if others and turn % 2 else flags
        process = start("run", tiny, "in", "-o", "out/", *RUN, *chosen)
        while process.poll() is None and shards_in(tmp_path / "out") < count:
            time.sleep(0.005)
        time.sleep(draw.uniform(0, 0.05))
        process.kill()
        process.communicate()
    before = shards_in(tmp_path / "out")
    assert 0 < before <= shards
    outcome = mlx("run", tiny, "in", "-o", "out/", *RUN, *flags)
    assert outcome.code == 0, outcome
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    assert not [path for path in (tmp_path / "out").iterdir() if path.name.startswith(".shard")]


def shards_in(folder: Path) -> int:
    return len(list(folder.glob("shard-*.parquet")))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_says_so_and_resumes(
    number: int, tiny: Path, mlx: Mlx, tmp_path: Path, start: Start
) -> None:
    write_corpus(tmp_path / "in", 10_000)
    process = start("run", tiny, "in", "-o", "out/", *RUN)
    wait_for(lambda: shards_in(tmp_path / "out") >= 2, process)
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=30)
    assert process.returncode == 130, stderr
    assert stderr.splitlines()[-1] == "Error: interrupted"
    assert "Traceback" not in stderr
    assert stdout == ""
    assert mlx("run", tiny, "in", "-o", "out/", *RUN).code == 0
    assert mlx("run", tiny, "in", "-o", "whole/", *RUN).code == 0
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def descendants(pid: int) -> list[int]:
    below = [
        child for task in Path(f"/proc/{pid}/task").iterdir() for child in read_numbers(task / "children")
    ]
    return [*below, *(further for child in below for further in descendants(child))]


def read_numbers(path: Path) -> list[int]:
    return [int(word) for word in path.read_text().split()]


def command_of(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def test_workers_end_with_a_parent_that_is_killed(tiny: Path, tmp_path: Path, start: Start) -> None:
    write_corpus(tmp_path / "in", 20_000)
    flags = ["--column", "body", "--shard-rows", 10_000, "--workers", 2, "--runner", "slow"]
    process = start("run", tiny, "in", "-o", "out/", *flags)  # minutes per shard
    wait_for((tmp_path / "started").exists, process)
    workers = descendants(process.pid)
    assert len(workers) >= 2
    process.kill()
    process.communicate(timeout=10)
    for _ in range(500):
        if not any(Path(f"/proc/{worker}/exe").exists() for worker in workers):
            return
        time.sleep(0.02)
    raise AssertionError("a worker outlived its parent")


@pytest.mark.usefixtures("mortal")
def test_a_worker_that_dies_loses_only_its_shard(tiny: Path, tmp_path: Path, start: Start) -> None:
    write_corpus(tmp_path / "in", 3000)
    for name in ("whole", "out"):
        process = start("run", tiny, "in", "-o", f"{name}/", *RUN, "--workers", 2, "--runner", "mortal")
        if name == "out":
            wait_for(lambda: shards_in(tmp_path / "out") >= 1, process)
            (tmp_path / "die").touch()
        _, stderr = process.communicate(timeout=60)
        assert process.returncode == 0, stderr
    assert not (tmp_path / "die").exists()
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


@pytest.mark.usefixtures("mortal")
def test_a_shard_on_which_workers_die_ends_the_run_and_is_named(
    tiny: Path, tmp_path: Path, start: Start
) -> None:
    write_corpus(tmp_path / "in", 1000)
    (tmp_path / "die-again").touch()
    process = start("run", tiny, "in", "-o", "out/", *RUN, "--runner", "mortal")
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 3
    assert stderr.startswith("Error: two workers died at shard 0, from row 1: it was killed by SIGKILL")
    (tmp_path / "die-again").unlink()
    process = start("run", tiny, "in", "-o", "out/", *RUN, "--runner", "mortal")
    assert process.communicate(timeout=60) and process.returncode == 0


@pytest.mark.parametrize("native", ["start", "call"])
def test_a_worker_that_is_ended_in_native_code_prints_nothing(
    native: str, tiny: Path, tmp_path: Path, start: Start
) -> None:
    (tmp_path / "packages" / "onnxruntime.py").write_text(f"NATIVE = {native!r}{STARTING}")
    write_corpus(tmp_path / "in", 1000)
    process = start("run", tiny, "in", "-o", "out/", *RUN, "--workers", 2)
    _, stderr = process.communicate(timeout=60)
    assert stderr.startswith("Error: ") and stderr.endswith("it ended with exit code 143\n")
    assert process.returncode == 3


def test_a_runner_that_fails_on_every_worker_ends_the_run(tiny: Path, tmp_path: Path, start: Start) -> None:
    write_corpus(tmp_path / "in", 1000)
    process = start("run", tiny, "in", "-o", "out/", *RUN, "--runner", "faulty", "--workers", 2)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 3
    failure = "the runner onnxruntime failed on a batch: ZeroDivisionError: division by zero"
    first = f"a worker failed: {failure}; the run continues on 1 worker."
    assert stderr.splitlines() == [first, f"Error: {failure}"]


def test_a_second_run_on_a_folder_is_refused(tiny: Path, mlx: Mlx, tmp_path: Path, start: Start) -> None:
    write_corpus(tmp_path / "in", 3000)
    process = start("run", tiny, "in", "-o", "out/", *RUN, "--runner", "slow")
    wait_for((tmp_path / "started").exists, process)
    for flags in ([], ["--force"]):
        outcome = mlx("run", tiny, "in", "-o", "out/", *RUN, *flags)
        assert outcome.code == 3
        assert outcome.stderr == (
            "Error: out: another run is writing to it. Wait until it ends, or choose another folder.\n"
        )
    process.kill()
    process.communicate(timeout=10)
    outcome = mlx("run", tiny, "in", "-o", "out/", *RUN, "--force")
    assert outcome.code == 0, outcome  # a killed run does not hold the lock


def test_a_file_system_without_locks_is_a_warning(
    tiny: Path, mlx: Mlx, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As shared homes are that are mounted without them."""

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", refuse)
    write_corpus(tmp_path / "in", 100)
    outcome = mlx("run", tiny, "in", "-o", "out/", *RUN)
    assert outcome.code == 0, outcome
    assert "out is on a file system without locks" in outcome.stderr


def damage(folder: Path, how: str) -> None:
    shard, ledger = folder / "shard-000001.parquet", folder.with_name("out.ledger.jsonl")
    if how == "flipped":
        data = bytearray(shard.read_bytes())
        data[len(data) // 2] ^= 1
        shard.write_bytes(data)
    elif how == "cut":
        shard.write_bytes(shard.read_bytes()[:-1])
    elif how == "gone":
        shard.unlink()
    elif how == "torn":
        ledger.write_bytes(ledger.read_bytes()[:-20])
    elif how == "unrecorded":
        lines = ledger.read_bytes().splitlines(keepends=True)
        ledger.write_bytes(b"".join(lines[:2]))


@pytest.mark.parametrize("how", ["flipped", "cut", "gone", "torn", "unrecorded"])
@pytest.mark.usefixtures("finished")
def test_a_shard_that_does_not_match_the_ledger_is_written_again(
    how: str, tiny: Path, mlx: Mlx, tmp_path: Path
) -> None:
    before = contents(tmp_path / "out")
    damage(tmp_path / "out", how)
    outcome = mlx("run", tiny, "in", "-o", "out/", *RUN)
    assert outcome.code == 0, outcome
    made_again = {"flipped": 300, "cut": 300, "gone": 300, "torn": 100, "unrecorded": 700}[how]
    assert f", {1000 - made_again} of them already done" in outcome.stderr
    assert contents(tmp_path / "out") == before


@pytest.mark.usefixtures("finished")
def test_a_complete_run_does_nothing(tiny: Path, mlx: Mlx, tmp_path: Path) -> None:
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("shard-*")}
    shutil.copytree(tmp_path / "in", tmp_path / "moved")
    outcome = mlx("run", tiny, "moved", "-o", "out", *RUN)
    assert outcome.code == 0, outcome
    assert "1,000 of them already done" in outcome.stderr
    assert times == {path: path.stat().st_mtime_ns for path in times}


def other_artifact(folder: Path) -> None:
    path = folder / "tiny-b4-s16" / "mlx.json"
    path.write_bytes(path.read_bytes().replace(b"{", b"{ ", 1))


def other_text(folder: Path) -> None:
    path = folder / "in" / "part2.jsonl"
    path.write_bytes(path.read_bytes().replace(b".", b"!", 1))


def one_more_file(folder: Path) -> None:
    write_jsonl(folder / "in" / "part11.jsonl", ["one more"])


def nothing(folder: Path) -> None: ...


@pytest.mark.parametrize(
    ("change", "flags", "message"),
    [
        (other_artifact, [], "its artifact is "),
        (other_text, [], "its inputs is {'path': 'in/part2.jsonl'"),
        (one_more_file, [], "its rows is 1000; expected 1001"),
        (nothing, ["--dtype", "float16"], "its dtype is float32; expected float16"),
        (nothing, ["--shard-rows", "200"], "its rows_per_shard is 300; expected 200"),
        (nothing, ["--graph", "fixed"], "its graph is dynamic; expected fixed"),
        (nothing, ["--graph-optimization", "basic"], "its graph_optimization is all; expected basic"),
        (nothing, ["--keep-text"], "its text_kept is False; expected True"),
    ],
    ids=["artifact", "text", "file", "dtype", "shard rows", "graph", "optimization", "text kept"],
)
@pytest.mark.usefixtures("finished")
def test_a_folder_with_other_settings_is_refused_and_unchanged(
    change: Callable[[Path], None], flags: list[str], message: str, tiny: Path, mlx: Mlx, tmp_path: Path
) -> None:
    before = contents(tmp_path / "out")
    change(tmp_path)
    outcome = mlx("run", tiny, "in", "-o", "out/", *RUN, *flags)
    assert outcome.code == 3, outcome
    assert outcome.stderr.startswith("Error: out was created with other settings: ")
    assert message in outcome.stderr
    assert outcome.stderr.endswith("Choose another folder, or start over.\n")
    assert contents(tmp_path / "out") == before
    outcome = mlx("run", tiny, "in", "-o", "out/", *RUN, *flags, "--force")
    assert outcome.code == 0, outcome
    assert "already done" not in outcome.stderr


@pytest.mark.slow
@pytest.mark.skipif(not FULL_SIZE, reason="takes minutes: set FULL_SIZE")
def test_a_run_with_millions_of_rows_without_a_text_is_resumed_and_compared(
    tiny: Path, mlx: Mlx, tmp_path: Path
) -> None:
    """Their lines are listed in the ledger and in the record, which then have more than 64 MiB."""
    (tmp_path / "in.txt").write_text("a\n" + "\n" * 7_000_000 + "b\n")
    words = ("run", tiny, "in.txt", "--on-empty", "skip", "-o")
    for state in ("7,000,000 more without a text skipped", "2 of them already done"):
        outcome = mlx(*words, "out/")
        assert outcome.code == 0, outcome
        assert state in outcome.stderr
    assert mlx(*words, "a.npy").code == 0
    assert (tmp_path / "a.npy.run.json").stat().st_size > 64 * 1024**2
    outcome = mlx("compare", "a.npy", "a.npy")
    assert outcome.code == 0, outcome


@pytest.mark.usefixtures("mortal")
def test_a_runner_of_another_version_does_not_resume(start: Start, tiny: Path, tmp_path: Path) -> None:
    write_corpus(tmp_path / "in", 1000)
    words = ("run", tiny, "in", "-o", "out/", *RUN, "--runner", "mortal")
    process = start(*words)
    assert process.communicate()[1].count("1,000 rows")
    (tmp_path / "out" / "shard-000001.parquet").unlink()
    info = tmp_path / "packages" / "mortal-1.0.dist-info"
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mortal\nVersion: 1.1\n")
    process = start(*words)
    _, stderr = process.communicate()
    assert process.returncode == 3, stderr
    assert "out was created with other settings: its versions is {" in stderr
    assert "'mortal': '1.0'}; expected {" in stderr


@pytest.mark.parametrize("runner", ["openvino", "onnxruntime"])
def test_the_ledger_states_the_versions_that_the_runner_reports(
    runner: str, tiny: Path, mlx: Mlx, tmp_path: Path
) -> None:
    pytest.importorskip(runner, reason=f"needs {runner}")
    write_corpus(tmp_path / "in", 10)
    outcome = mlx("run", tiny, "in", "-o", "out/", *RUN, "--runner", runner)
    assert outcome.code == 0, outcome
    with Embedder(open_artifact(tiny), runner, "fixed") as embedder:
        reported = embedder.runner.versions[runner]  # openvino adds its build
    assert reported.startswith(ledger_lines(tmp_path / "out")[0]["versions"][runner])


def csv(name: str, content: str) -> Callable[[Path], object]:
    return lambda folder: (folder / "in" / name).write_text(content)


def table(name: str, **columns: list[Any]) -> Callable[[Path], object]:
    return lambda folder: parquet.write_table(pa.table(columns), str(folder / "in" / name))


def corrupt(folder: Path) -> None:
    path = folder / "in" / "part5.parquet"
    texts = texts_of(50_000, seed=5)
    columns = {"body": texts, "key": texts}
    parquet.write_table(pa.table(columns), str(path), row_group_size=20_000, use_dictionary=False)
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 4000] = os.urandom(4000)
    path.write_bytes(data)


def occupied(folder: Path) -> None:
    (folder / "out").mkdir()
    (folder / "out" / "thesis.txt").write_text("mine")


def a_file(folder: Path) -> None:
    (folder / "out").write_text("mine")


def damaged_ledger(folder: Path) -> None:
    (folder / "out.ledger.jsonl").write_text('{"schema_version": 1}\nnonsense\n{}\n')


def truncated_gzip(folder: Path) -> None:
    (folder / "in" / "part5.csv.gz").write_bytes(gzip.compress(b"body,key\n" + b"abc,d\n" * 9999)[:-50])


BAD: list[tuple[Callable[[Path], object], str]] = [
    (csv("part5.csv", "key,text\na,b\n"), "in/part5.csv has no column 'body'; its columns are key, text"),
    (csv("part5.csv", "body,text\na,b\n"), "in/part5.csv has no column 'key'; its columns are body, text"),
    (
        csv("part5.csv", "body,key\na,b\n,c\n"),
        "in/part5.csv, line 3: body is empty; expected a text. Fill it in",
    ),
    (
        csv("part5.csv", "body,key\na,b\n,c\n,d\n"),
        "in/part5.csv, line 3: body is empty, the first of 2 rows without a text; expected a text. Fill it",
    ),
    (csv("part5.csv", "body,key\na,b\na\n"), "in/part5.csv, line 3: 1 fields; expected 2"),
    (csv("part5.csv", "body,key,key\na,b,c\n"), "in/part5.csv: two columns are named 'key'. Rename one"),
    (csv("part5.csv", "body,key,embedding\na,b,c\n"), "the input has a column 'embedding'; expected no col"),
    (csv("part5.csv", "body,key,Embedding\na,b,c\n"), "the input has a column 'Embedding'; expected no col"),
    (
        csv("part5.csv", "body,key,n\na,b,7\n"),
        "in/part5.csv, line 2: n is string; expected int64, as before it",
    ),
    (csv("part5.jsonl", '{"body": "a", "key": "b"}\n{"key": "c"}\n'), "line 2: body is null; expected"),
    (csv("part5.jsonl", '{"body": "a", "key": "b"}\n{"body": 3, "key": "c"}\n'), "line 2: body is int"),
    (
        csv("part5.jsonl", '{"body": "a", "key": "b"}\n{"body": "c", "key": 3}\n'),
        "line 2: key is int64; expected string, as",
    ),
    (csv("part5.jsonl", '{"body": "a", "key": "b"}\n{\n'), "in/part5.jsonl, line 2: not JSON"),
    (csv("part5.jsonl", '{"body": "a", "key": "\\ud800"}\n'), "line 1: key cannot be carried over"),
    (csv("part5.txt", "a\n"), "in/part5.txt is a text file, which has no columns"),
    (table("part5.parquet", body=["a", None], key=["b", "c"]), "in/part5.parquet, row 2: body is null"),
    (table("part5.parquet", body=["a", ""], key=["b", "c"]), "in/part5.parquet, row 2: body is empty"),
    (table("part5.parquet", body=["a"], key=[7]), "in/part5.parquet, row 1: key is int64; expected string"),
    (corrupt, "in/part5.parquet, after row 20000, cannot be read as Parquet"),
    (truncated_gzip, "in/part5.csv.gz cannot be read: Compressed file ended"),
    (occupied, "out contains thesis.txt but there is no out.ledger.jsonl; expected an output folder. Choose"),
    (a_file, "out cannot be written: it is a file; expected a folder"),
    (damaged_ledger, "out.ledger.jsonl is damaged"),
]


def everything(folder: Path) -> dict[str, bytes | None]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
        if path.name != ".lock"
    }


@pytest.mark.parametrize(("prepare", "message"), BAD, ids=map(str, range(len(BAD))))
def test_bad_input_ends_with_one_line_before_any_work(
    prepare: Callable[[Path], object], message: str, tiny: Path, mlx: Mlx, tmp_path: Path
) -> None:
    write_corpus(tmp_path / "in", 500)
    prepare(tmp_path)
    before = everything(tmp_path)
    outcome = mlx("run", tiny, "in", "-o", "out/", *RUN)
    assert outcome.code == 3, outcome
    assert outcome.stdout == ""
    assert outcome.stderr.startswith("Error: ")
    assert outcome.stderr.count("\n") == 1
    assert message in outcome.stderr
    assert "a fault in minilmx" not in outcome.stderr
    assert everything(tmp_path) == before


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["none.jsonl"], 3, "none.jsonl does not exist"),
        (["in/*.parquet"], 3, "in/*.parquet does not exist"),
        (["empty"], 3, "empty has no file of a known kind"),
        (["a.doc"], 3, "a.doc: unknown extension; expected one of .txt"),
        ([], 3, "a corpus cannot come from standard input"),
        (["-"], 3, "a corpus cannot come from standard input"),
        (["in", "--runner", "gpu"], 3, "the runner 'gpu' does not exist"),
        (["in", "--ray-address", "auto"], 2, "ray_address: 'auto' with the engine local"),
        (["in", "--workers", "0"], 2, "Invalid value for '--workers'"),
    ],
)
def test_wrong_arguments_are_refused(
    words: list[str], code: int, message: str, tiny: Path, mlx: Mlx, tmp_path: Path
) -> None:
    write_corpus(tmp_path / "in", 10)
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.doc").touch()
    outcome = mlx("run", tiny, *words, "-o", "out/", "--column", "body")
    assert outcome.code == code, outcome
    assert message in outcome.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "flags", [["--workers", "2"], ["--id", "key"], ["--dtype", "float16"], ["--engine", "ray"], ["in.txt"]]
)
def test_folder_options_are_refused_for_a_file(
    flags: list[str], tiny: Path, mlx: Mlx, tmp_path: Path
) -> None:
    (tmp_path / "in.txt").write_text("a\n")
    for output in ([], ["-o", "e.npy"]):
        outcome = mlx("run", tiny, "in.txt", *flags, *output)
        assert outcome.code == 2
        assert "an output folder: end --output with a /" in outcome.stderr


def test_a_file_that_changes_while_it_is_read_is_detected(tiny: Path, tmp_path: Path, start: Start) -> None:
    write_corpus(tmp_path / "in", 1000)  # part10 is read for the second shard
    process = start("run", tiny, "in", "-o", "out/", *RUN, "--runner", "slow")
    wait_for((tmp_path / "started").exists, process)
    with (tmp_path / "in" / "part10.jsonl").open("a") as stream:
        stream.write("{}\n")
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 3
    assert "in/part10.jsonl was changed while it was read" in stderr


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    if shutil.which("mount") is None or os.geteuid() != 0:
        pytest.skip("needs root to mount a small disk")
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], capture_output=True)
    if made.returncode != 0:
        pytest.skip(f"a small disk cannot be mounted here: {made.stderr.decode().strip()}")
    yield disk
    subprocess.run(["umount", disk], check=True)


def test_a_full_disk_loses_nothing(small_disk: Path, tiny: Path, mlx: Mlx, tmp_path: Path) -> None:
    write_corpus(tmp_path / "in", 5000)
    assert mlx("run", tiny, "in", "-o", "whole/", *RUN).code == 0
    outcome = mlx("run", tiny, "in", "-o", "disk/out/", *RUN)
    assert outcome.code == 3, outcome
    assert "No space left on device; " in outcome.stderr
    assert (
        " of 17 shards are complete and kept. Fix the cause and run the same command again to resume.\n"
        in outcome.stderr
    )
    assert outcome.stderr.count("\n") == 1
    done = shards_in(small_disk / "out")
    assert 0 < done < 17
    subprocess.run(["mount", "-o", "remount,size=10m", small_disk], check=True)
    outcome = mlx("run", tiny, "in", "-o", "disk/out/", *RUN)
    assert outcome.code == 0, outcome
    assert f"{done * 300:,} of them already done" in outcome.stderr
    assert contents(small_disk / "out") == contents(tmp_path / "whole")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"file": "shard-000000.parquet"}, "shard 1 is 'shard-000000.parquet', 300 rows from 300"),
        ({"file": "../in/part0.jsonl"}, "shard 1 is '../in/part0.jsonl'"),
        ({"first_row": 0}, "300 rows from 0; expected shard-000001.parquet, 300 from 300"),
        ({"rows": 299}, "299 rows from 300; expected"),
        ({"shard": True}, "Expected `int`"),
        ({"sha256": 1}, "Expected `str`"),
    ],
)
@pytest.mark.usefixtures("finished")
def test_a_line_of_the_ledger_that_contradicts_the_rest_is_refused(
    change: dict[str, Any], message: str, tiny: Path, mlx: Mlx, tmp_path: Path
) -> None:
    ledger = tmp_path / "out.ledger.jsonl"
    lines = ledger.read_text().splitlines()
    lines[2] = json.dumps({**json.loads(lines[2]), **change})
    ledger.write_text("\n".join(lines) + "\n")
    outcome = mlx("run", tiny, "in", "-o", "out/", *RUN)
    assert outcome.code == 3
    assert "out.ledger.jsonl is damaged: " in outcome.stderr
    assert message in outcome.stderr


@pytest.mark.parametrize("name", ["notes.txt", "shard-1.parquet", "shard-000001.parquet.bak", "data/mine"])
@pytest.mark.usefixtures("finished")
def test_force_removes_nothing_if_the_folder_holds_anything_else(
    name: str, tiny: Path, mlx: Mlx, tmp_path: Path
) -> None:
    before = contents(tmp_path / "out")
    path = tmp_path / "out" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("mine")
    outcome = mlx("run", tiny, "in", "-o", "out/", *RUN, "--force")
    assert outcome.code == 3
    assert f"out/{name}: not a file that minilmx wrote" in outcome.stderr
    path.unlink()
    if path.parent.name == "data":
        path.parent.rmdir()
    assert contents(tmp_path / "out") == before
