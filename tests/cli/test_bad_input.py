"""Bad input ends with a helpful one-line error and the documented exit code, and writes nothing."""

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import Mlx


def text(content: bytes) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / "in.txt").write_bytes(content)

    return write


def pairs(content: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / "p.csv").write_text("sentence1,sentence2,score\n" + content)

    return write


def flip_byte(folder: Path) -> None:
    flip(next((folder / "tiny-b4-s16").glob("*.onnx")))


def flip_byte_of_dynamic(folder: Path) -> None:
    flip(folder / "tiny-b4-s16" / "onnx" / "model.onnx")


def flip(graph: Path) -> None:
    data = bytearray(graph.read_bytes())
    data[len(data) // 2] ^= 1
    graph.write_bytes(data)


def remove_file(folder: Path) -> None:
    (folder / "tiny-b4-s16" / "tokenizer.json").unlink()


def manifest(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        path = folder / "tiny-b4-s16" / "mlx.json"
        document = json.loads(path.read_text())
        change(document)
        path.write_text(json.dumps(document))

    return write


def leave_the_folder(document: dict[str, Any]) -> None:
    document["files"][0]["path"] = "../../etc/passwd"


def nothing(folder: Path) -> None: ...


def occupied(folder: Path) -> None:
    (folder / "taken").write_text("a file")
    (folder / "folder.npy").mkdir()
    (folder / "r.json").write_text("a result")


RUN = "run tiny-b4-s16 in.txt"
EVAL = "eval tiny-b4-s16 --runner onnxruntime"
GOOD = text(b"a sentence\n")

NO_WEIGHTS = (
    "the source of the artifact: a folder called tiny, whose path is not recorded"
    if importlib.util.find_spec("torch")
    else "torch and transformers not installed; pip install"
)

CASES: list[tuple[str, Callable[[Path], None], str]] = [
    # an artifact that does not exist or is damaged
    (
        "run nowhere in.txt",
        GOOD,
        "nowhere is not an artifact: it does not exist. Create one with `mlx export`.",
    ),
    ("run . in.txt", GOOD, ". is not an artifact: it has no mlx.json"),
    ("run in.txt in.txt", GOOD, "in.txt is not an artifact: it has no mlx.json"),
    ("eval nowhere", nothing, "nowhere is not an artifact: it does not exist"),
    ("inspect nowhere", nothing, "nowhere is not an artifact: it does not exist"),
    (f"{RUN} --graph fixed", flip_byte, "the artifact tiny-b4-s16 is damaged:"),
    (RUN, flip_byte_of_dynamic, "the artifact tiny-b4-s16 is damaged: onnx/model.onnx has SHA-256"),
    (RUN, remove_file, "tokenizer.json is missing. Export it again."),
    (EVAL, flip_byte, "has SHA-256"),
    (EVAL, manifest(lambda m: m.update(schema_version=99)), "mlx.json: schema version 99; expected 1"),
    (EVAL, manifest(leave_the_folder), "expected a path inside the artifact"),
    # a runner that does not exist or cannot run
    (f"{RUN} --runner gpu", GOOD, "the runner 'gpu' does not exist; expected one of onnxruntime"),
    ("eval tiny-b4-s16 --runner gpu", nothing, "the runner 'gpu' does not exist"),
    (
        f"{EVAL} --runner onnxruntime",
        nothing,
        "runners: onnxruntime, onnxruntime; expected different runners",
    ),
    (f"{RUN} --runner torch", GOOD, NO_WEIGHTS),
    # sentences
    ("run tiny-b4-s16 none.txt", nothing, "none.txt does not exist"),
    ("run tiny-b4-s16 in.doc", nothing, "in.doc: unknown extension; expected one of .txt"),
    (RUN, text(b""), "in.txt is empty; expected at least one row"),
    (RUN, text(b"a\n\nb\n"), "in.txt, line 2: text is empty; expected a text. Fill it in or remove it, or"),
    (RUN, text(b"a\n  \t\n"), "in.txt, line 2: text is empty"),
    (RUN, text(b"a\nb\nK\xf6ln\n"), "in.txt, line 3: byte 0xf6 is not UTF-8"),
    # outputs
    (f"{RUN} -o e.txt", GOOD, "e.txt: unknown extension; expected one of .npy, .npz"),
    (f"{RUN} -o e", GOOD, "e: unknown extension"),
    (f"{RUN} -o taken/e.npy", occupied, "taken is not a folder"),
    (f"{RUN} -o taken/a/b/e.npy", occupied, "taken is not a folder"),
    (f"{RUN} -o folder.npy", occupied, "folder.npy cannot be written: it is a folder"),
    (f"{RUN} -o folder.npy --force", occupied, "folder.npy cannot be written: it is a folder"),
    (f"{RUN} -o {'n' * 300}.npy", GOOD, "cannot be written: File name too long"),
    (f"{EVAL} -o taken/r.json", occupied, "taken is not a folder"),
    (
        f"{EVAL} -o r.json",
        occupied,
        "r.json already exists. Choose another output, or allow it to be replaced.",
    ),
    # pairs
    (f"{EVAL} --dataset none.csv", nothing, "none.csv does not exist"),
    (f"{EVAL} --dataset data/none.csv", nothing, "data/none.csv does not exist"),
    (f"{EVAL} --dataset stsbb", nothing, "unknown data set 'stsbb'; expected bundled, stsb"),
    (f"{EVAL} --dataset stsb --language xx", nothing, "stsb: unknown language 'xx'"),
    (f"{EVAL} --dataset org/name", nothing, "the data set org/name (language None, split test)"),
    (
        f"{EVAL} --dataset p.csv",
        pairs("a,b,1\nc,d,high\n"),
        "p.csv, line 3: the score is 'high'; expected a number",
    ),
    (f"{EVAL} --dataset p.csv", pairs("a,b,3\nc,d,3\n"), "p.csv: all 2 pairs have the score 3"),
    (f"{EVAL} --dataset p.csv", pairs("a,b,3\n"), "p.csv: one pair; expected at least two"),
    (f"{EVAL} --dataset p.csv", pairs(""), "p.csv is empty"),
    (f"{EVAL} --dataset p.csv", pairs("a,b\n"), "p.csv, line 2: 2 fields; expected 3"),
    # models
    ("export no-such-model", nothing, "unknown model 'no-such-model'"),
]


def snapshot(folder: Path) -> dict[str, bytes | None]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


@pytest.mark.parametrize(("command", "prepare", "message"), CASES, ids=map(str, range(len(CASES))))
def test_bad_input_ends_with_one_line_and_changes_nothing(
    command: str,
    prepare: Callable[[Path], None],
    message: str,
    tiny: Path,
    mlx: Mlx,
    tmp_path: Path,
) -> None:
    assert tiny.parent == tmp_path
    GOOD(tmp_path)
    prepare(tmp_path)
    if "--dataset org/name" in command or "--language xx" in command:
        pytest.importorskip("datasets", reason="needs datasets")
    before = snapshot(tmp_path)
    outcome = mlx(*command.split())
    assert outcome.code == 3, outcome
    assert outcome.stdout == ""
    *notes, last = outcome.stderr.splitlines()
    assert last.startswith("Error: "), outcome
    assert message in last
    assert "a fault in minilmx" not in last
    assert all(note.startswith(("no GroqCard was found", "bundled: 208 rows read")) for note in notes), (
        outcome
    )
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize(
    "command",
    [
        "nonsense",
        "run",
        "eval",
        "run tiny-b4-s16 in.txt --nonsense",
        "run tiny-b4-s16 in.txt --threads 0",
        "run tiny-b4-s16 in.txt --graph-optimization most",
        "run tiny-b4-s16 in.txt --model nowhere",
        "eval tiny-b4-s16 --limit 1",
        "eval tiny-b4-s16 --limit many",
        "export --batch-size 0",
        "export --opset 12",
    ],
)
def test_wrong_usage_shows_the_usage_and_exits_with_2(
    command: str, tiny: Path, mlx: Mlx, tmp_path: Path
) -> None:
    before = snapshot(tmp_path)
    outcome = mlx(*command.split())
    assert outcome.code == 2, outcome
    assert outcome.stdout == ""
    assert outcome.stderr.startswith("Usage: mlx")
    assert outcome.stderr.splitlines()[-1].startswith("Error: ")
    assert snapshot(tmp_path) == before


def test_a_message_of_several_lines_is_shown_on_one_line(mlx: Mlx, tmp_path: Path) -> None:
    outcome = mlx("run", "no\nwhere", stdin="a\n")
    assert (
        outcome.stderr
        == "Error: no where is not an artifact: it does not exist. Create one with `mlx export`.\n"
    )
