"""mlx run: every input and every output, as a new user would type it."""

import csv
import gzip
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.conftest import Mlx

from minilmx.embedding.embedder import Embedder
from minilmx.models.artifact import Artifact, open_artifact
from minilmx.models.model_folder import ModelSource

TEXTS = ["a cat", 'she said "no", twice', "Köln 她 🐈", "x" * 40, "  indented"]


@pytest.fixture
def expected(tiny: Path) -> NDArray[np.float32]:
    artifact = open_artifact(tiny).with_graph("dynamic")
    with Embedder(artifact, "onnxruntime", artifact.graph_kind) as runner:
        return runner.encode(TEXTS)


def write_input(path: Path, columns: int = 1) -> Path:
    if path.suffix == ".txt":
        path.write_text("\n".join(TEXTS) + "\n", encoding="utf-8")
        return path
    names = ["text", "id"][:columns]
    rows = [[text, str(i)][:columns] for i, text in enumerate(TEXTS)]
    if path.suffix == ".jsonl":
        lines = [json.dumps(dict(zip(names, row, strict=True))) for row in rows]
        path.write_text("\n".join(lines), encoding="utf-8")
    elif path.suffix == ".parquet":
        pyarrow = pytest.importorskip("pyarrow", reason="needs pyarrow for Parquet")
        parquet = pytest.importorskip("pyarrow.parquet", reason="needs pyarrow for Parquet")
        table = dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))
        parquet.write_table(pyarrow.table(table), str(path))
    else:
        with path.open("w", newline="", encoding="utf-8") as stream:
            if path.suffix == ".tsv":
                stream.writelines("\t".join(row) + "\n" for row in [names, *rows])
            else:
                csv.writer(stream).writerows([names, *rows])
    return path


def read_jsonl(text: str) -> tuple[list[str], NDArray[np.float32]]:
    records = [json.loads(line) for line in text.removesuffix("\n").split("\n")]
    values = np.array([record["embedding"] for record in records], np.float64)
    assert np.array_equal(values, values.astype(np.float32))
    return [record["text"] for record in records], values.astype(np.float32)


@pytest.mark.parametrize("name", ["in.txt", "in.csv", "in.tsv", "in.jsonl", "in.parquet"])
def test_every_input_gives_the_same_embeddings(
    name: str, tiny: Path, mlx: Mlx, tmp_path: Path, expected: NDArray[np.float32]
) -> None:
    outcome = mlx("run", tiny, write_input(tmp_path / name))
    assert outcome.code == 0, outcome
    texts, values = read_jsonl(outcome.stdout)
    assert texts == TEXTS
    assert np.array_equal(values, expected)
    assert "5 sentences with onnxruntime (dynamic graph) in" in outcome.stderr
    assert "2 truncated" in outcome.stderr


@pytest.mark.parametrize("dash", [[], ["-"]])
def test_standard_input_has_one_sentence_per_line(
    dash: list[str], tiny: Path, mlx: Mlx, expected: NDArray[np.float32]
) -> None:
    outcome = mlx("run", tiny, *dash, stdin="\r\n".join(TEXTS))
    assert outcome.code == 0, outcome
    assert np.array_equal(read_jsonl(outcome.stdout)[1], expected)


@pytest.mark.parametrize("name", ["in.csv", "in.tsv", "in.jsonl", "in.parquet"])
def test_one_of_several_columns_is_chosen(
    name: str, tiny: Path, mlx: Mlx, tmp_path: Path, expected: NDArray[np.float32]
) -> None:
    file = write_input(tmp_path / name, columns=2)
    outcome = mlx("run", tiny, file, "--column", "text")
    assert np.array_equal(read_jsonl(outcome.stdout)[1], expected)
    outcome = mlx("run", tiny, file)
    assert outcome.code == 3
    assert "has the columns text, id; choose a column" in outcome.stderr
    outcome = mlx("run", tiny, file, "--column", "texts")
    assert outcome.code == 3
    assert "has no column 'texts'; its columns are text, id" in outcome.stderr


def test_a_column_of_a_text_file_is_refused(tiny: Path, mlx: Mlx, tmp_path: Path) -> None:
    outcome = mlx("run", tiny, write_input(tmp_path / "in.txt"), "--column", "text")
    assert outcome.code == 2
    assert "in.txt is a text file, which has no columns" in outcome.stderr


def test_the_format_of_a_file_is_stated(
    tiny: Path, mlx: Mlx, tmp_path: Path, expected: NDArray[np.float32]
) -> None:
    with (tmp_path / "in.tsv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, delimiter="\t")
        writer.writerows([["text", "id"], *((text, str(i)) for i, text in enumerate(TEXTS))])
    outcome = mlx("run", tiny, "in.tsv", "--column", "text")
    assert outcome.code == 3
    assert 'in.tsv, line 3: the field \'"she said ""no"", twice"\' is in double quotes' in outcome.stderr
    outcome = mlx("run", tiny, "in.tsv", "--column", "text", "--quoting", "csv", "--delimiter", "tab")
    assert outcome.code == 0, outcome
    assert np.array_equal(read_jsonl(outcome.stdout)[1], expected)
    for flags in (["--delimiter", ";"], ["--quoting", "none"]):
        outcome = mlx("run", tiny, *flags, stdin="a\n")
        assert outcome.code == 2
        assert "is only for CSV and TSV files; the input is .txt" in outcome.stderr
    assert mlx("run", tiny, "in.tsv", "--delimiter", "ab").code == 2


@pytest.mark.parametrize("kind", ["jsonl", "json", "csv", "tsv"])
def test_standard_input_may_have_any_format(
    kind: str, tiny: Path, mlx: Mlx, tmp_path: Path, expected: NDArray[np.float32]
) -> None:
    if kind == "json":
        content = json.dumps([{"text": text, "n": 1} for text in TEXTS])
    else:
        content = write_input(tmp_path / f"in.{kind}", columns=2).read_text(encoding="utf-8")
    outcome = mlx("run", tiny, "-", "--input-format", kind, "--column", "text", stdin=content)
    assert outcome.code == 0, outcome
    assert np.array_equal(read_jsonl(outcome.stdout)[1], expected)


@pytest.mark.parametrize(
    "words",
    [
        ["run", "-o", "s3://bucket/out/"],
        ["run", "-o", "s3://bucket/out"],
        ["run", "-o", "gs://bucket/e.npy"],
        ["run", "-o", "file:///bucket/e.npy"],
        ["eval", "-o", "s3://bucket/r.json"],
        ["bench", "-o", "s3://bucket/r.json"],
        ["export", "-o", "s3://bucket/artifact"],
    ],
    ids=" ".join,
)
def test_a_url_is_refused_as_an_output_at_once(
    words: list[str], tiny: Path, mlx: Mlx, tmp_path: Path
) -> None:
    (tmp_path / "in.txt").write_text("a\n")
    before = set(tmp_path.iterdir())
    inputs = ["in.txt"] if words[0] == "run" else []
    outcome = mlx(words[0], tiny, *inputs, *words[1:])
    assert outcome.code == 3, outcome
    assert outcome.stderr == (
        f"Error: {words[-1].removesuffix('/')} cannot be written: it is a URL; expected a local path. Write "
        "to a local path and upload the result.\n"
    )
    assert set(tmp_path.iterdir()) == before


def load(path: Path) -> NDArray[np.float32]:
    if path.suffix == ".npy":
        return np.asarray(np.load(path, allow_pickle=False))
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as file:
            assert "embeddings" in file.files
            return np.asarray(file["embeddings"])
    if path.suffix == ".parquet":
        table = pytest.importorskip("pyarrow.parquet", reason="needs pyarrow").read_table(str(path))
        assert table.column("text").to_pylist() == TEXTS
        return np.array(table.column("embedding").to_pylist(), np.float32)
    texts, values = read_jsonl(path.read_text(encoding="utf-8"))
    assert texts == TEXTS
    return values


@pytest.mark.parametrize("name", ["e.npy", "e.npz", "e.parquet", "e.jsonl", "E.NPY", "a/b/e.npy"])
def test_every_output_holds_the_same_embeddings_exactly(
    name: str, tiny: Path, mlx: Mlx, tmp_path: Path, expected: NDArray[np.float32]
) -> None:
    outcome = mlx("run", tiny, write_input(tmp_path / "in.txt"), "-o", name)
    assert outcome.code == 0, outcome
    assert outcome.stdout == ""
    assert f"5 sentences to {name} with" in outcome.stderr
    path = tmp_path / name
    values = load(path.rename(path.with_suffix(path.suffix.lower())))
    assert values.dtype == np.float32
    assert np.array_equal(values, expected)


@pytest.fixture(scope="module")
def many(tiny_original: Artifact) -> tuple[list[str], NDArray[np.float32], str]:
    """More sentences than one chunk has, their embeddings, and the SHA-256 of the inputs."""
    texts = [f"{'abcdefg'[i % 7] * (1 + i % 5)} {i}" for i in range(9001)]
    artifact = tiny_original.with_graph("dynamic")
    with Embedder(artifact, "onnxruntime", artifact.graph_kind) as runner:
        return texts, runner.encode(texts), runner.record().inputs_sha256


@pytest.mark.parametrize("source", ["in.txt", "in.jsonl.gz", "-"])
@pytest.mark.parametrize("name", ["e.npy", "e.npz", "e.parquet", "e.jsonl"])
def test_many_sentences_are_written_as_they_are_embedded(
    name: str,
    source: str,
    tiny: Path,
    mlx: Mlx,
    tmp_path: Path,
    many: tuple[list[str], NDArray[np.float32], str],
) -> None:
    """The files equal those that numpy writes."""
    texts, values, digest = many
    stdin = "\n".join(texts) if source == "-" else None
    if source == "in.txt":
        (tmp_path / source).write_text("\n".join(texts))
    elif source != "-":
        lines = "".join(json.dumps({"text": text}) + "\n" for text in texts)
        (tmp_path / source).write_bytes(gzip.compress(lines.encode()))
    outcome = mlx("run", tiny, source, "-o", name, stdin=stdin)
    assert outcome.code == 0, outcome
    assert json.loads((tmp_path / f"{name}.run.json").read_text())["inputs_sha256"] == digest
    if name == "e.parquet":
        table = pytest.importorskip("pyarrow.parquet", reason="needs pyarrow").read_table(
            str(tmp_path / name)
        )
        assert table.column("text").to_pylist() == texts
        assert np.array_equal(np.array(table.column("embedding").to_pylist(), np.float32), values)
    elif name == "e.jsonl":
        found, numbers = read_jsonl((tmp_path / name).read_text(encoding="utf-8"))
        assert found == texts
        assert np.array_equal(numbers, values)
    else:
        save: Callable[..., None] = np.save if name == "e.npy" else np.savez
        save(tmp_path / f"numpy{name}", **({"arr": values} if name == "e.npy" else {"embeddings": values}))
        assert (tmp_path / name).read_bytes() == (tmp_path / f"numpy{name}").read_bytes()


def test_a_bad_row_far_down_standard_input_leaves_no_output(tiny: Path, mlx: Mlx, tmp_path: Path) -> None:
    before = set(tmp_path.iterdir())
    outcome = mlx("run", tiny, "-o", "e.npy", stdin="a\n" * 9000 + "\n" + "b\n")
    assert outcome.code == 3
    assert outcome.stderr == (
        "Error: -, line 9001: text is empty; expected a text. Fill it in or remove it, or choose to skip "
        "rows without a text.\n"
    )
    assert set(tmp_path.iterdir()) == before


def test_a_bad_row_far_down_a_file_is_found_before_any_work(tiny: Path, mlx: Mlx, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("a\n" * 9000 + "\n" + "b\n")
    outcome = mlx("run", tiny, "in.txt")
    assert outcome.code == 3
    assert outcome.stdout == ""
    assert outcome.stderr == (
        "Error: in.txt, line 9001: text is empty; expected a text. Fill it in or remove it, or choose to "
        "skip rows without a text.\n"
    )


def write_gaps(folder: Path) -> None:
    lines = (TEXTS[0], "", TEXTS[1], "  ", *TEXTS[2:])
    (folder / "in.txt").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


@pytest.mark.parametrize("name", ["e.npy", "e.npz", "e.parquet", "e.jsonl"])
def test_rows_without_a_text_are_skipped_and_listed(
    name: str, tiny: Path, mlx: Mlx, tmp_path: Path, expected: NDArray[np.float32]
) -> None:
    write_gaps(tmp_path)
    outcome = mlx("run", tiny, "in.txt", "-o", name, "--on-empty", "skip")
    assert outcome.code == 0, outcome
    assert "in.txt: 2 rows without a text: skipped (lines 2, 4)" in outcome.stderr.splitlines()
    assert np.array_equal(load(tmp_path / name), expected)
    record = json.loads((tmp_path / f"{name}.run.json").read_text())
    assert (record["sentences"], record["empty_lines"]) == (5, [2, 4])


@pytest.mark.parametrize("name", ["e.parquet", "e.jsonl"])
def test_rows_without_a_text_become_null(
    name: str, tiny: Path, mlx: Mlx, tmp_path: Path, expected: NDArray[np.float32]
) -> None:
    write_gaps(tmp_path)
    outcome = mlx("run", tiny, "in.txt", "-o", name, "--on-empty", "null")
    assert outcome.code == 0, outcome
    assert "in.txt: 2 rows without a text: null (lines 2, 4)" in outcome.stderr.splitlines()
    if name == "e.parquet":
        parquet = pytest.importorskip("pyarrow.parquet", reason="needs pyarrow")
        if int(metadata.version("pyarrow").split(".")[0]) < 26:
            pytest.skip("pyarrow before 26 writes a null list of a fixed size, but cannot read it")
        rows = parquet.read_table(str(tmp_path / name)).to_pylist()
    else:
        rows = [json.loads(line) for line in (tmp_path / name).read_text(encoding="utf-8").splitlines()]
    assert [row["text"] for row in rows] == [TEXTS[0], None, TEXTS[1], None, *TEXTS[2:]]
    assert [row["embedding"] is None for row in rows] == [False, True, False, True, False, False, False]
    values = np.array([row["embedding"] for row in rows if row["embedding"]], np.float32)
    assert np.abs(values - expected).max() < 1e-6
    assert mlx("run", tiny, "in.txt", "-o", "f.parquet", "--on-empty", "skip").code == 0
    outcome = mlx("compare", name, "f.parquet")
    assert outcome.code == 3
    assert f"{'row' if name.endswith('.parquet') else 'line'} 2 has no embedding" in outcome.stderr


def test_null_needs_an_output_that_can_hold_it(tiny: Path, mlx: Mlx, tmp_path: Path) -> None:
    write_gaps(tmp_path)
    outcome = mlx("run", tiny, "in.txt", "-o", "e.npy", "--on-empty", "null")
    assert outcome.code == 3
    assert "e.npy cannot hold null for a row without a text; expected .parquet or .jsonl" in outcome.stderr


def test_what_is_skipped_on_standard_input_is_reported(tiny: Path, mlx: Mlx) -> None:
    outcome = mlx("run", tiny, "--on-empty", "skip", stdin="a\n\nb\n")
    assert outcome.code == 0, outcome
    assert "-: 1 row without a text: skipped (line 2)" in outcome.stderr
    assert read_jsonl(outcome.stdout)[0] == ["a", "b"]


def test_a_named_pipe_is_read_once(
    tiny: Path, mlx: Mlx, tmp_path: Path, expected: NDArray[np.float32]
) -> None:
    pipe = tmp_path / "pipe.txt"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=("\n".join(TEXTS),))
    writer.start()
    outcome = mlx("run", tiny, pipe)
    writer.join()
    assert outcome.code == 0, outcome
    assert np.array_equal(read_jsonl(outcome.stdout)[1], expected)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_waiting_for_a_pipe_ends_at_a_signal(
    number: signal.Signals, tiny: Path, tmp_path: Path, start: Callable[..., Any]
) -> None:
    os.mkfifo(tmp_path / "pipe.txt")
    process = start("run", tiny, "pipe.txt", "-o", "e.npy")
    while True:
        with suppress(OSError):  # nobody reads yet
            writer = os.open(tmp_path / "pipe.txt", os.O_WRONLY | os.O_NONBLOCK)
            break
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=10)
    assert process.returncode == 130, stderr
    assert stderr == "Error: interrupted\n"
    assert not (tmp_path / "e.npy").exists()
    os.close(writer)


PEAK = """
import re, sys
from pathlib import Path
from minilmx.cli import main
try:
    main(sys.argv[1:])
finally:
    print(re.search(r"VmHWM:\\s*(\\d+) kB", Path("/proc/self/status").read_text()).group(1))
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["e.npy", "e.npz", "e.jsonl", "e.parquet"])
def test_memory_does_not_grow_with_the_input(name: str, tiny: Path, tmp_path: Path) -> None:
    if name == "e.parquet":
        pytest.importorskip("pyarrow", reason="needs pyarrow for Parquet")
    peaks = []
    for rows in (10_000, 30_000):
        with (tmp_path / "in.txt").open("w") as stream:
            stream.writelines(f"sentence {i} {'x' * 1000}\n" for i in range(rows))
        command = [sys.executable, "-c", PEAK, "run", "--threads", "1", "--force", "-o", name]
        done = subprocess.run(
            [*command, str(tiny), "in.txt"], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        peaks.append(int(done.stdout) / 1024)
    assert peaks[1] < peaks[0] + 10, f"{peaks} MiB"  # the texts alone are 20 MiB more


def test_the_record_next_to_an_output_describes_the_run(tiny: Path, mlx: Mlx, tmp_path: Path) -> None:
    import hashlib

    file = write_input(tmp_path / "in.txt")
    assert mlx("run", tiny, file, "-o", "e.npy", "--threads", "1").code == 0
    record = json.loads((tmp_path / "e.npy.run.json").read_text())
    assert record["artifact"] == "tiny-b4-s16"
    manifest = (tiny / "mlx.json").read_bytes()
    assert record["artifact_sha256"] == hashlib.sha256(manifest).hexdigest()
    assert record["output"] == "e.npy"
    assert record["sha256"] == hashlib.sha256((tmp_path / "e.npy").read_bytes()).hexdigest()
    assert (record["sentences"], record["truncated_sentences"], record["timing"]["batches"]) == (5, 2, 4)
    assert record["graph"] == "dynamic"
    assert record["runner"] == "onnxruntime"
    assert record["details"]["threads"] == 1
    assert record["timing"]["sentences_per_second"] == pytest.approx(5 / record["timing"]["seconds"])
    assert {"minilmx", "python", "created", "system", "processor"} <= set(record["provenance"])


def test_the_graph_is_chosen_and_reported(tiny: Path, mlx: Mlx, tmp_path: Path) -> None:
    write_input(tmp_path / "in.txt")
    for name, graph, flags in (
        ("d", "dynamic", []),
        ("f", "fixed", ["--graph", "fixed"]),
        ("e", "fixed", ["--runner", "groq-emulator"]),
    ):
        outcome = mlx("run", tiny, "in.txt", "-o", f"{name}.npy", *flags)
        assert outcome.code == 0, outcome
        assert f"({graph} graph)" in outcome.stderr
        assert json.loads((tmp_path / f"{name}.npy.run.json").read_text())["graph"] == graph
    dynamic, fixed = np.load(tmp_path / "d.npy"), np.load(tmp_path / "f.npy")
    assert np.abs(dynamic - fixed).max() < 1e-6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--graph", "packed"], "no packed graph; expected one of fixed, dynamic"),
        (
            ["--graph", "dynamic", "--runner", "groq-emulator"],
            "groq-emulator does not take the dynamic graph",
        ),
    ],
)
def test_a_graph_that_the_artifact_does_not_have_is_refused(
    arguments: list[str], message: str, tiny: Path, mlx: Mlx
) -> None:
    outcome = mlx("run", tiny, *arguments, stdin="a\n")
    assert outcome.code == 3
    assert message in outcome.stderr


@pytest.mark.parametrize(
    ("runner", "arguments", "message"),
    [
        ("onnxruntime", ["--precision", "bf16"], "--precision is not an option of the runner onnxruntime"),
        (
            "onnxruntime",
            ["--groq-execution", "held"],
            "expected --device, --device-option, --graph-optimization, --threads",
        ),
        ("groq-emulator", ["--graph-optimization", "all"], "expected --threads"),
        ("openvino", ["--model", "."], "expected --precision, --threads"),
        ("torch", ["--precision", "f32"], "expected --model, --threads"),
        ("groq", ["--threads", "1"], "expected --bundle, --cards, --groq-execution"),
    ],
)
def test_an_option_that_the_runner_does_not_have_is_refused(
    runner: str, arguments: list[str], message: str, tiny: Path, mlx: Mlx
) -> None:
    outcome = mlx("run", tiny, "--runner", runner, *arguments, stdin="a\n")
    assert outcome.code == 2, outcome
    assert message in outcome.stderr
    assert outcome.stdout == ""


def test_the_torch_runner_reads_the_folder_that_is_named(
    artifact: Artifact, real_source: ModelSource, mlx: Mlx, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    words = ("run", artifact.path, "--runner", "torch", "--model")
    outcome = mlx(*words, real_source.folder, stdin="a\n")
    assert outcome.code == 0, outcome
    refused = mlx(*words, "empty", stdin="a\n")
    assert refused.code == 3
    assert "empty" in refused.stderr


def test_equal_inputs_have_equal_digests_for_every_runner(tiny: Path, mlx: Mlx, tmp_path: Path) -> None:
    def digest(name: str, text: str, runner: str) -> str:
        outcome = mlx("run", tiny, "--runner", runner, "-o", f"{name}.npy", stdin=text)
        assert outcome.code == 0, outcome
        record = json.loads((tmp_path / f"{name}.npy.run.json").read_text())
        return str(record["inputs_sha256"])

    first = digest("a", "one\ntwo\n", "onnxruntime")
    assert digest("b", "one\ntwo\n", "groq-emulator") == first
    assert digest("c", "two\none\n", "onnxruntime") != first


def test_an_output_is_replaced_only_with_force(tiny: Path, mlx: Mlx, tmp_path: Path) -> None:
    assert mlx("run", tiny, "-o", "e.npy", stdin="a\n").code == 0
    before = (tmp_path / "e.npy").read_bytes()
    outcome = mlx("run", tiny, "-o", "e.npy", stdin="b\nc\n")
    assert outcome.code == 3
    assert (
        outcome.stderr == "Error: e.npy already exists. Choose another output, or allow it to be replaced.\n"
    )
    assert (tmp_path / "e.npy").read_bytes() == before
    assert mlx("run", tiny, "-o", "e.npy", "--force", stdin="b\nc\n").code == 0
    assert np.load(tmp_path / "e.npy").shape == (2, 8)
    assert json.loads((tmp_path / "e.npy.run.json").read_text())["sentences"] == 2


def test_an_existing_record_is_noticed_before_any_work(tiny: Path, mlx: Mlx, tmp_path: Path) -> None:
    (tmp_path / "e.npy.run.json").write_text("mine")
    outcome = mlx("run", tiny, "-o", "e.npy", stdin="a\n")
    assert outcome.code == 3
    assert "e.npy.run.json already exists" in outcome.stderr
    assert not (tmp_path / "e.npy").exists()


def test_the_record_says_that_the_emulator_is_an_emulation(tiny: Path, mlx: Mlx, tmp_path: Path) -> None:
    outcome = mlx("run", tiny, "--runner", "groq-emulator", "-o", "e.npy", stdin="a\n")
    assert outcome.code == 0, outcome
    assert "with groq-emulator" in outcome.stderr
    record = json.loads((tmp_path / "e.npy.run.json").read_text())
    assert "not from a GroqCard" in record["details"]["emulation"]


def test_output_is_utf8_whatever_the_locale(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("\u4e2d\u6587\n", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "minilmx", "run", str(tiny), "in.txt"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONIOENCODING": "latin-1"},
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.decode("utf-8"))["text"] == "\u4e2d\u6587"
