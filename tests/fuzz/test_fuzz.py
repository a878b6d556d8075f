"""Fuzzers of every reader: whatever a file holds, reading it works or ends with an error of minilmx.

A case is decided by the seed, the reader and its number. The tests take a fixed seed and few cases;
`make fuzz N=20000 SEED=1` takes others. A case that breaks a reader is kept in build/fuzz, and from there as
one of BREAKS.
"""

import copy
import gzip
import hashlib
import io
import json
import os
import random
import shutil
import struct
import tarfile
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import pytest
from tests.conftest import Mlx

from minilmx.embedding.corpus.ledger import Ledger, ledger_path
from minilmx.embedding.corpus.source import Reading, scan_corpus
from minilmx.embedding.saved_run import read_run
from minilmx.embedding.vectors import read_vectors
from minilmx.errors import EvalError, MinilmxError
from minilmx.eval.datasets.pairs import load_pairs
from minilmx.eval.golden import read_golden
from minilmx.eval.limits import read_limits
from minilmx.files.texts import open_texts
from minilmx.models.artifact import open_artifact, read_artifact
from minilmx.models.manifest import Shape
from minilmx.models.onnx_file import load_onnx, read_facts
from minilmx.models.tokenizer import Tokenizer
from minilmx.models.verification import find_problems
from minilmx.runners.groq.bundle import unpack_bundle, write_bundle
from minilmx.runners.groq.cache import PROGRAM, STATE, Build

SEED = int(os.environ.get("FUZZ_SEED", "14"))
CASES = int(os.environ.get("FUZZ_N", "20"))
KEPT = Path(__file__).parents[2] / "build" / "fuzz"

Rng = random.Random
Message = Any  # a protocol buffer

VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2**31, 2**63, -(2**63) - 1, 10**400, 0.5, -0.0, 1e308, 5e-324),
    *("", "a", "../x", "/etc/passwd", "\0", "\x1b[2J", "\u202e", "\ud800", "9" * 5000, "é" * 300),
    *([], {}, [[]], [None], {"": None}, [[[[[[[[]]]]]]]]),
)
TEXTS = (
    *(b"NaN", b"Infinity", b"1e999", b"-", b"9" * 5000, b"[" * 3000, b'{"a":' * 3000, b'"\\ud800"'),
    *(b"\xff", b"\0", b"\xef\xbb\xbf", b"\n", b"\r", b'"', b",", b"\t", b"\xe2\x80\xa8", b"{}", b"[]"),
    *(b"null", b"\\u0000"),
)
NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 2**40, 2**63 - 1, 2**64 - 1)


# Mutations: of bytes, of documents, of protocol buffers


def mutate_bytes(rng: Rng, data: bytes) -> bytes:
    """One to four changes of bytes: flips, cuts, repetitions, and numbers and texts that are special."""
    content = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        at = rng.randrange(len(content) + 1)
        end = min(len(content), at + rng.choice((1, 1, 2, 4, 8, 64, 1024)))
        kind = rng.randrange(7)
        if kind == 0 and content:
            content[at % len(content)] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del content[at:end]
        elif kind == 2:
            content[at:at] = content[at:end] * rng.choice((1, 2, 50))
        elif kind == 3:
            size = rng.choice((1, 2, 4, 8))
            content[at : at + size] = (rng.choice(NUMBERS) % 2 ** (8 * size)).to_bytes(
                size, rng.choice(("little", "big"))
            )
        elif kind == 4:
            content[at:at] = rng.choice(TEXTS)
        elif kind == 5:
            content[at:end] = rng.choice(TEXTS)
        else:
            del content[at:]
    return bytes(content)


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Each container of a document with one of its keys."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from places(value[key])


def mutate_value(rng: Rng, document: Any) -> Any:
    """One to three changes of a document: other values, missing, more, renamed and exchanged ones."""
    document = copy.deepcopy(document)
    for _ in range(rng.choice((1, 1, 2, 3))):
        found = list(places(document))
        if not found:
            return rng.choice(VALUES)
        container, key = rng.choice(found)
        kind = rng.randrange(7)
        if kind <= 1:
            container[key] = copy.deepcopy(rng.choice(VALUES))
        elif kind == 2:
            del container[key]
        elif kind == 3:
            other, name = rng.choice(found)
            if name in other if isinstance(other, dict) else name < len(other):
                container[key] = copy.deepcopy(other[name])
        elif kind == 4 and isinstance(container, dict):
            container[rng.choice(("", "x", "schema_version", "__class__", key + " "))] = rng.choice(VALUES)
        elif kind == 5 and isinstance(container, list):
            container[key:key] = [copy.deepcopy(container[key])] * rng.choice((1, 2, 200))
        elif isinstance(container[key], int | float):
            number = container[key]
            container[key] = rng.choice((-number, number, number // 2)) + rng.choice((0, 1, -1, 2**20))
        elif isinstance(container[key], str):
            text = container[key]
            container[key] = rng.choice((text.upper(), text[:-1], text + "\n", text * 2, text[::-1]))
    return document


def mutate_json(rng: Rng, data: bytes) -> bytes:
    """A changed document, or now and then changed bytes of it."""
    if rng.random() < 0.25:
        return mutate_bytes(rng, data)
    changed = json.dumps(mutate_value(rng, json.loads(data)), ensure_ascii=rng.random() < 0.8)
    return changed.encode("utf-8", "surrogatepass")


def mutate_lines(rng: Rng, data: bytes) -> bytes:
    """A changed line of JSON lines."""
    lines = data.splitlines(keepends=True)
    at = rng.randrange(len(lines))
    lines[at] = mutate_json(rng, lines[at]) + b"\n"
    return b"".join(lines)


def mutate_message(rng: Rng, message: Message) -> None:
    """One change somewhere in a protocol buffer."""
    found: list[tuple[Message, Any]] = []

    def visit(each: Message) -> None:
        for field, value in each.ListFields():
            found.append((each, field))
            if field.message_type:
                for part in value if isinstance(value, list) or hasattr(value, "__len__") else [value]:
                    visit(part)

    visit(message)
    holder, field = rng.choice(found)
    value = getattr(holder, field.name)
    if rng.random() < 0.2:
        holder.ClearField(field.name)
    elif hasattr(value, "append") or hasattr(value, "add"):
        at = rng.randrange(len(value))
        if field.message_type:
            value.add().CopyFrom(value[at]) if rng.random() < 0.5 else value.__delitem__(at)
        elif isinstance(value[at], int):
            value[at] = rng.choice((0, -1, 7, 2**31 - 1, -(2**31)))
        elif isinstance(value[at], str):
            value[at] = rng.choice(("", "x", "input_ids", "words"))
    elif isinstance(value, int):
        setattr(holder, field.name, rng.choice((0, -1, 1, 7, 16, 999, 2**31 - 1)))
    elif isinstance(value, str):
        setattr(holder, field.name, rng.choice(("", "x", "Gather", "Loop", "input_ids", "\x1b[2J")))
    elif isinstance(value, bytes):
        setattr(holder, field.name, mutate_bytes(rng, value))


def mutate_onnx(rng: Rng, data: bytes) -> bytes:
    if rng.random() < 0.3:
        return mutate_bytes(rng, data)
    model = onnx.load_from_string(data)
    for _ in range(rng.choice((1, 1, 3))):
        try:
            mutate_message(rng, model)
        except (ValueError, IndexError, TypeError):  # a number that the field cannot hold
            continue
    return bytes(model.SerializeToString())


def mutate_npy(rng: Rng, data: bytes) -> bytes:
    if rng.random() < 0.3:
        return mutate_bytes(rng, data)
    sizes = ("-1", "0", "1", "3", "8", "2**9", "9" * 30, "9" * 5000, "1.5", "'a'", "True", "(1,)", "None")
    dtypes = ("<f4", ">f4", "<f8", "<f2", "<i4", "|O", "<U9", "|V8", "(9,9)f4", "<M8[ns]", "|S0", "x", "[]")
    shape = ", ".join(rng.choice(sizes) for _ in range(rng.choice((0, 1, 2, 2, 2, 3, 40))))
    order = rng.choice(("False", "True", "0"))
    header = f"{{'descr': '{rng.choice(dtypes)}', 'fortran_order': {order}, 'shape': ({shape}), }}"
    text = mutate_bytes(rng, header.encode()) if rng.random() < 0.2 else header.encode()
    version = rng.choice((1, 1, 1, 2, 3, 9))
    size = struct.pack("<H" if version == 1 else "<I", len(text) % 2**16)
    return b"\x93NUMPY" + bytes((version, 0)) + size + text + b"\0" * rng.choice((0, 96, 97))


def mutate_npz(rng: Rng, data: bytes) -> bytes:
    if rng.random() < 0.4:
        return mutate_bytes(rng, data)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        array = archive.read("embeddings.npy")
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as archive:
        archive.writestr(rng.choice(("embeddings.npy", "embeddings", "../e.npy")), mutate_npy(rng, array))
    return stream.getvalue()


def mutate_parquet(rng: Rng, data: bytes) -> bytes:
    import pyarrow
    import pyarrow.parquet

    if rng.random() < 0.5:
        return mutate_bytes(rng, data)
    offsets = pyarrow.py_buffer(struct.pack("<3i", 0, 2, 3))
    columns = (
        pyarrow.array(["a", None]),
        pyarrow.array([1, 2]),
        pyarrow.array([2**62, -(2**62)], pyarrow.timestamp("us")),
        pyarrow.array([2**62, 1], pyarrow.timestamp("ns", "Nowhere/Here")),
        pyarrow.array([[0.5] * 8, None]),
        pyarrow.array([[0.5], [0.5, 0.5]]),
        pyarrow.array([{"a": 1}, {"a": 2}]),
        pyarrow.array([b"\xff", b""]),
        pyarrow.array(["a", "b"]).dictionary_encode(),
        pyarrow.StringArray.from_buffers(2, offsets, pyarrow.py_buffer(b"\xff\xfea")),
        pyarrow.nulls(2),
        pyarrow.array([[[0.5]], [[]]]),
        pyarrow.array([10**30, 1], pyarrow.decimal128(38, 2)),
        pyarrow.array([2**40, -1], pyarrow.duration("s")),
    )
    names = [
        rng.choice(("text", "embedding", "sentence1", "sentence2", "score", "", "\0", "text"))
        for _ in range(rng.choice((0, 1, 1, 2, 3)))
    ]
    table = pyarrow.Table.from_arrays([rng.choice(columns) for _ in names], names)
    stream = io.BytesIO()
    pyarrow.parquet.write_table(table, stream)
    return stream.getvalue()


def mutate_toml(rng: Rng, data: bytes) -> bytes:
    if rng.random() < 0.4:
        return mutate_bytes(rng, data)
    values = ("nan", "inf", "-1", "true", "[]", "{}", '"a"', "1979-05-27", "1e999", "9" * 5000, "0x7f", "")
    keys = ("max_abs", "min_spearman", "max_x", "language", '""', '"\\u0000"', "default.max_abs")
    tables = ("default", "runner", "runner.x", "language.de", "runner.x.language.de", "[default]", "a.b", "")
    lines = [
        rng.choice((f"[{rng.choice(tables)}]", f"{rng.choice(keys)} = {rng.choice(values)}"))
        for _ in range(rng.choice((1, 2, 4)))
    ]
    return b"\n".join([data, *(line.encode() for line in lines)])


def mutate_bundle(rng: Rng, data: bytes) -> bytes:
    """Changed bytes, or a changed index with the digest that it needs to be read."""
    if rng.random() < 0.4:
        return mutate_bytes(rng, data)
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        members = [(member, tar.extractfile(member).read()) for member in tar]  # type: ignore[union-attr]
    if rng.random() < 0.7:
        index = mutate_value(rng, json.loads(members[0][1]))
        if isinstance(index, dict):
            index.pop("bundle_sha256", None)
            text = json.dumps(index, sort_keys=True)
            index["bundle_sha256"] = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
        members[0] = (members[0][0], json.dumps(index, indent=2, sort_keys=True).encode())
    else:
        at = rng.randrange(len(members))
        member, content = members[at]
        member.name = rng.choice((member.name, "../x", "/x", "", "a" * 300, "bundle.json"))
        member.type = rng.choice((tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.DIRTYPE, tarfile.CHRTYPE, b"x"))
        members[at] = (member, mutate_bytes(rng, content))
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for member, content in members:
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return stream.getvalue()


# Readers


@dataclass(frozen=True, slots=True)
class Reader:
    """A reader of `file`: what it is given as a seed, how that is changed, and how it is read."""

    file: str
    seed: Callable[[Path, Mlx], bytes]
    mutate: Callable[[Rng, bytes], bytes]
    read: Callable[..., object]
    is_command: bool = False


def from_file(path: str) -> Callable[[Path, Mlx], bytes]:
    return lambda folder, mlx: (folder / path).read_bytes()


def made(content: bytes) -> Callable[[Path, Mlx], bytes]:
    return lambda folder, mlx: content


def from_run(file: str, path: str) -> Callable[[Path, Mlx], bytes]:
    """What `mlx run` leaves in the file `path` if its output is `file`."""

    def seed(folder: Path, mlx: Mlx) -> bytes:
        outcome = mlx("run", folder / "tiny-b4-s16", "-o", folder / file, stdin="a b\nc\nd e f\n")
        assert outcome.code == 0, outcome
        return (folder / path).read_bytes()

    return seed


def a_ledger(folder: Path, mlx: Mlx) -> bytes:
    (folder / "in.txt").write_text("a\nb\nc\n")
    outcome = mlx(
        "run", folder / "tiny-b4-s16", folder / "in.txt", "--shard-rows", "1", "-o", f"{folder}/out/"
    )
    assert outcome.code == 0, outcome
    return (folder / "out.ledger.jsonl").read_bytes()


def a_result(folder: Path, mlx: Mlx) -> bytes:
    words = ("--runner", "onnxruntime", "--runner", "groq-emulator", "--preset", "int8", "--limit", "9")
    outcome = mlx("eval", folder / "tiny-b4-s16", *words, "-o", folder / "result.json")
    assert outcome.code in (0, 1), outcome
    return (folder / "result.json").read_bytes()


def a_bundle(folder: Path, mlx: Mlx) -> bytes:
    artifact = open_artifact(folder / "tiny-b4-s16")
    build = folder / "build"
    for name in (PROGRAM, STATE):
        (build / name).parent.mkdir(parents=True, exist_ok=True)
        (build / name).write_bytes(b"content\n")
    facts = {
        "onnx_sha256": artifact.graph_sha256,
        "f16_onnx": "x.onnx",
        "output_names": [],
        "program_bytes": {},
        "chips": 1,
        "total_cycles": 1.5,
        "compiler_flags": ["--effort=standard"],
        "warning": None,
        "versions": {},
        "info": {},
    }
    write_bundle(Build(build, artifact.digest, "1.0", facts), artifact, folder / "b.bundle", replace=True)
    return (folder / "b.bundle").read_bytes()


def read_manifest(path: Path) -> None:
    artifact = read_artifact(path.parent)
    find_problems(artifact)
    _ = (artifact.packed_segments, artifact.search_prompts, artifact.graph_sha256, artifact.size_bytes)


def read_graph(path: Path) -> None:
    read_facts(load_onnx(path), path)


def read_tokenizer(path: Path) -> None:
    tokenizer = Tokenizer(path, Shape(4, 16))
    tokenizer.token_beyond(80)
    tokenizer.encode(["a b c", "", "é 她 🐈" * 20, "x" * 99])


def read_ledger(path: Path) -> None:
    folder = path.with_name("out")
    assert ledger_path(folder) == path
    header = json.loads((path.parent / "header.json").read_bytes())
    Ledger(folder, header)


def read_result(path: Path, mlx: Mlx) -> None:
    content = path.read_bytes()
    form = ("html", "table", "markdown", "junit")[len(content) % 4]
    outcome = mlx("report", path, "--format", form, *["--min-spearman", "-101"][: len(content) % 3 * 2])
    assert "fault in minilmx" not in outcome.stderr, outcome
    assert outcome.code in (0, 3) or (outcome.code == 1 and b'"finite": false' in content), outcome
    if outcome.code == 3:
        assert len(outcome.stderr.splitlines()) == 1, outcome
        raise EvalError(outcome.stderr)


def a_golden(folder: Path, mlx: Mlx) -> bytes:
    (folder / "t.txt").write_text("a b\nc\n")
    words = ("--from", folder / "tiny-b4-s16", "--texts", folder / "t.txt", "--preset", "int8")
    outcome = mlx("golden", "create", folder / "g.safetensors", *words)
    assert outcome.code == 0, outcome
    return (folder / "g.safetensors").read_bytes()


def read_record(path: Path) -> None:
    read_run(path.with_name("e.npy"))


def read_bundle(path: Path) -> None:
    with_artifact = open_artifact(path.parent / "tiny-b4-s16")
    target = path.parent / "unpacked"
    target.mkdir()
    try:
        unpack_bundle(path, with_artifact, "1.0", target)
    finally:
        shutil.rmtree(target)


def read_rows(path: Path) -> None:
    list(open_texts(str(path), None if ".txt" in path.suffixes else "text"))


def read_corpus(path: Path) -> None:
    scan_corpus([str(path)], Reading("text", keep_text=True), 2)


def read_pairs(path: Path) -> None:
    load_pairs(str(path))


CSV = b'sentence1,sentence2,score\na,b,1.5\n"c, ""d""",e,2\n'
JSONL = b'{"text": "a", "n": 1, "when": null}\n{"text": "b", "n": 2.5, "tags": ["x"]}\n'
LIMITS = b"[default]\nmax_abs = 0.1\n[runner.onnxruntime.language.de]\nmin_spearman = 20\n"


def a_parquet(folder: Path, mlx: Mlx) -> bytes:
    import pyarrow
    import pyarrow.parquet

    stream = io.BytesIO()
    table = pyarrow.table({"text": ["a", "b"], "n": [1, 2], "tags": [["x"], None]})
    pyarrow.parquet.write_table(table, stream)
    return stream.getvalue()


READERS = {
    "manifest": Reader("tiny-b4-s16/mlx.json", from_file("tiny-b4-s16/mlx.json"), mutate_json, read_manifest),
    "onnx": Reader("g.onnx", from_file("tiny-b4-s16/onnx/model.onnx"), mutate_onnx, read_graph),
    "tokenizer": Reader("t.json", from_file("tiny-b4-s16/tokenizer.json"), mutate_json, read_tokenizer),
    "bundle": Reader("b.bundle", a_bundle, mutate_bundle, read_bundle),
    "ledger": Reader("out.ledger.jsonl", a_ledger, mutate_lines, read_ledger),
    "result": Reader("result.json", a_result, mutate_json, read_result, is_command=True),
    "record": Reader("e.npy.run.json", from_run("e.npy", "e.npy.run.json"), mutate_json, read_record),
    "limits": Reader("limits.toml", made(LIMITS), mutate_toml, read_limits),
    "golden": Reader("g.safetensors", a_golden, mutate_bytes, read_golden),
    "npy": Reader("e.npy", from_run("e.npy", "e.npy"), mutate_npy, read_vectors),
    "npz": Reader("e.npz", from_run("e.npz", "e.npz"), mutate_npz, read_vectors),
    "embeddings jsonl": Reader("e.jsonl", from_run("e.jsonl", "e.jsonl"), mutate_lines, read_vectors),
    "embeddings parquet": Reader(
        "e.parquet", from_run("e.parquet", "e.parquet"), mutate_parquet, read_vectors
    ),
    "text": Reader("in.txt", made(b"one\ntwo \xc3\xa9\n"), mutate_bytes, read_rows),
    "csv": Reader("in.csv", made(b"text,n\na,1\nb,2\n"), mutate_bytes, read_corpus),
    "pairs": Reader("in.csv", made(CSV), mutate_bytes, read_pairs),
    "jsonl": Reader("in.jsonl", made(JSONL), mutate_lines, read_corpus),
    "json": Reader("in.json", made(b'[{"text": "a"}, {"text": "b"}]'), mutate_json, read_rows),
    "gz": Reader(
        "in.txt.gz",
        made(gzip.compress(b"one\ntwo\n", mtime=0)),
        mutate_bytes,
        read_rows,
    ),
    "parquet": Reader("in.parquet", a_parquet, mutate_parquet, read_rows),
    "parquet corpus": Reader("in.parquet", a_parquet, mutate_parquet, read_corpus),
}
OPTIONAL = {name for name in READERS if "parquet" in name} | {"ledger", "csv", "jsonl"}


def with_value(*path: Any) -> Callable[[bytes], bytes]:
    """Set a value of a document: the last argument, at the place that the others name."""

    def change(seed: bytes) -> bytes:
        document = json.loads(seed)
        *parents, key, value = path
        holder = document
        for each in parents:
            holder = holder[each]
        assert key in holder if isinstance(holder, dict) else len(holder) > key
        holder[key] = value
        text = json.dumps(document)
        return (text + " " * (-len(text) % 12)).encode()  # read_result renders it as HTML

    return change


PROFILE = ("evaluations", 0, "runners", 1, "comparison", "profile")

# What once broke a reader: its name, and how the seed was changed.
BREAKS: list[tuple[str, Callable[[bytes], bytes]]] = [
    ("manifest", with_value("graphs", "dynamic", "inputs", 2, "\ud800")),
    ("manifest", with_value("files", 0, "path", "9" * 5000)),
    ("result", with_value(*PROFILE, "log10_max_abs", "counts", [])),
    ("result", with_value(*PROFILE, "worst", [])),
    ("record", with_value("timing", "seconds", 10**400)),
    ("npy", lambda seed: b""),
    ("npy", lambda seed: seed.replace(b"(3, 8)", b"(3000000000, 8)")),
    ("embeddings jsonl", lambda seed: b"[]\n"),
    ("embeddings jsonl", lambda seed: b"[" * 3000),
    ("tokenizer", with_value("pre_tokenizer", {"type": "FixedLength", "length": 0})),
    ("tokenizer", with_value("post_processor", "special_tokens", {})),
    ("tokenizer", with_value("post_processor", "single", [{"Sequence": {"id": "A", "type_id": 0}}] * 200)),
    ("result", with_value("evaluations", 0, "runners", 1, "scores", "spearman", -2.0)),
]


@pytest.fixture
def folder(tiny: Path) -> Path:
    return tiny.parent


def files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*"))


def outcome_of(reader: Reader, content: bytes, path: Path, mlx: Mlx) -> str:
    """What comes of reading a file: "read", or the class of minilmx's error. Raises AssertionError."""
    path.write_bytes(content)
    before = files(path.parent)
    try:
        reader.read(path, mlx) if reader.is_command else reader.read(path)
        outcome = "read"
    except MinilmxError as error:
        assert error.message.strip()
        outcome = type(error).__name__
    assert files(path.parent) == before, "it left files"
    return outcome


def prepare(name: str, folder: Path, mlx: Mlx) -> tuple[Reader, bytes, Path]:
    if name in OPTIONAL:
        pytest.importorskip("pyarrow", reason="needs pyarrow")
    reader = READERS[name]
    seed = reader.seed(folder, mlx)
    if name == "ledger":
        (folder / "header.json").write_bytes(seed.splitlines()[0])
    return reader, seed, folder / reader.file


@pytest.mark.timeout(0)
@pytest.mark.parametrize("name", READERS)
def test_changed_files_are_read_or_refused(
    name: str, folder: Path, mlx: Mlx, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUST_BACKTRACE", "0")
    reader, seed, path = prepare(name, folder, mlx)
    assert outcome_of(reader, seed, path, mlx) == "read"
    outcomes: Counter[str] = Counter()
    broken: list[str] = []
    KEPT.mkdir(parents=True, exist_ok=True)
    running = KEPT / f"{name.replace(' ', '-')}-{SEED}-running"
    cases = CASES // 4 if name in ("ledger", "result") else CASES  # they take longer
    for number in range(cases):
        content = reader.mutate(random.Random(f"{SEED} {name} {number}"), seed)
        if CASES > 100:  # a process that dies leaves the case behind
            running.write_bytes(content)
        try:
            outcomes[outcome_of(reader, content, path, mlx)] += 1
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - a panic is not an Exception
            kept = running.with_name(running.name.replace("running", str(number)))
            kept.write_bytes(content)
            broken.append(f"{kept}: {type(error).__name__}: {str(error)[:200]}")
    running.unlink(missing_ok=True)
    print(f"\nfuzz {name}: seed {SEED}, {cases} cases: {dict(sorted(outcomes.items()))}")
    assert not broken, "\n".join([f"seed {SEED}, {len(broken)} of {cases}:", *broken[:20]])


@pytest.mark.parametrize("number", range(len(BREAKS)))
def test_what_once_broke_a_reader(number: int, folder: Path, mlx: Mlx) -> None:
    name, change = BREAKS[number]
    reader, seed, path = prepare(name, folder, mlx)
    assert outcome_of(reader, change(seed), path, mlx) != "read"
