"""Whatever a file holds, reading it ends with one sentence that names the file, and with code 3."""

import io
import json
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from tests.conftest import Mlx, reseal

Change = Callable[[Path], None]


def npy(header: str, content: bytes = b"") -> bytes:
    text = header.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + content


def npy_of(shape: str, dtype: str = "<f4") -> bytes:
    return npy(f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}", b"\0" * 32)


def npz(name: str, content: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return stream.getvalue()


def pickled() -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    return stream.getvalue()


EMBEDDINGS = {
    "empty.npy": b"",
    "magic.npy": b"\x93NUMPY\x01\x00",
    "text.npy": b"not an array",
    "pickle.npy": pickled(),
    "terabytes.npy": npy_of("(1000000000, 384)"),
    "digits.npy": npy_of(f"({'9' * 5000}, 8)"),
    "negative.npy": npy_of("(-1, -8)"),
    "brackets.npy": npy("-" * 9000 + "1"),
    "complex.npy": npy_of("(2, 2)", "<c8"),
    "subarray.npy": npy_of("(1, 8)", "(9999999,9999999)f4"),
    "empty.npz": b"",
    "names.npz": npz("other.npy", npy_of("(1, 8)")),
    "terabytes.npz": npz("embeddings.npy", npy_of("(1000000000, 384)")),
    "array.npz": npy_of("(1, 8)"),
    "empty.jsonl": b"",
    "list.jsonl": b"[1, 2]\n",
    "ragged.jsonl": b'{"embedding": [1, 2]}\n{"embedding": [1]}\n',
    "huge.jsonl": b'{"embedding": [1' + b"0" * 400 + b"]}\n",
    "digits.jsonl": b'{"embedding": [1' + b"0" * 5000 + b"]}\n",
    "deep.jsonl": b"[" * 100_000,
    "texts.jsonl": b'{"embedding": ["a", "b"]}\n',
    "bytes.jsonl": b"\xff\xfe\n",
    "empty.parquet": b"",
    "magic.parquet": b"PAR1PAR1PAR1",
}


@pytest.mark.parametrize("name", EMBEDDINGS)
def test_embeddings(name: str, mlx: Mlx, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(EMBEDDINGS[name])
    outcome = mlx("compare", name, name)
    assert outcome.code == 3, outcome
    assert outcome.stderr.startswith(f"Error: {name}"), outcome
    assert "fault in minilmx" not in outcome.stderr
    assert len(outcome.stderr.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_an_array_in_fortran_order_is_read(mlx: Mlx, tmp_path: Path) -> None:
    values = np.arange(12, dtype=np.float32).reshape(3, 4) + 1
    np.save(tmp_path / "c.npy", values)
    np.save(tmp_path / "f.npy", np.asfortranarray(values))
    np.savez_compressed(tmp_path / "z.npz", embeddings=values)
    assert mlx("compare", "c.npy", "f.npy", "z.npz").code == 0


def parquet(column: Any, name: str = "text") -> Change:
    def write(folder: Path) -> None:
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.table({name: column}), folder / "in.parquet")

    return write


def _not_utf8() -> Any:
    import pyarrow

    offsets = pyarrow.py_buffer(struct.pack("<2i", 0, 2))
    return pyarrow.StringArray.from_buffers(1, offsets, pyarrow.py_buffer(b"\xff\xfe"))


def _far_date() -> Any:
    import pyarrow

    return pyarrow.array([2**62], pyarrow.timestamp("us"))


TABLES: dict[str, Callable[[], Any]] = {"not UTF-8": _not_utf8, "a date beyond 9999": _far_date}


@pytest.mark.parametrize("what", TABLES)
def test_values_that_python_does_not_have(what: str, tiny: Path, mlx: Mlx, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    parquet(TABLES[what]())(tmp_path)
    outcome = mlx("run", tiny, "in.parquet", "-o", "e.npy")
    assert outcome.code == 3, outcome
    assert outcome.stderr.startswith("Error: in.parquet"), outcome
    assert "fault in minilmx" not in outcome.stderr


def tokenizer(change: Callable[[dict[str, Any]], object]) -> Change:
    def write(folder: Path) -> None:
        path = folder / "tokenizer.json"
        document = json.loads(path.read_text())
        change(document)
        path.write_text(json.dumps(document))

    return write


def no_json(folder: Path) -> None:
    (folder / "tokenizer.json").write_bytes(b"\xff")


TOKENIZERS: dict[str, Change] = {
    "a panic while it is loaded": tokenizer(
        lambda t: t.update(normalizer={"type": "Precompiled", "precompiled_charsmap": "AAAA"})
    ),
    "a panic while a text is tokenized": tokenizer(
        lambda t: t.update(pre_tokenizer={"type": "FixedLength", "length": 0})
    ),
    "a template without its token": tokenizer(lambda t: t["post_processor"].update(special_tokens={})),
    "no JSON": no_json,
}


@pytest.mark.parametrize("what", TOKENIZERS)
@pytest.mark.parametrize("runner", ["onnxruntime", "groq-emulator"])
def test_a_tokenizer(what: str, runner: str, tiny: Path, mlx: Mlx, tmp_path: Path) -> None:
    TOKENIZERS[what](tiny)
    reseal(tiny)
    outcome = mlx("run", tiny, "--runner", runner, "-o", "e.npy", stdin="a b\n")
    assert outcome.code == 3, outcome
    assert outcome.stderr.splitlines()[-1].startswith(f"Error: {tiny}/tokenizer.json"), outcome
    assert not (tmp_path / "e.npy").exists()


def graph(change: Callable[[onnx.ModelProto], object]) -> Change:
    def write(folder: Path) -> None:
        for path in folder.rglob("*.onnx"):
            model = onnx.load(path)
            change(model)
            onnx.save(model, path)

    return write


def _dims(*dims: int) -> Change:
    def change(model: onnx.ModelProto) -> None:
        del model.graph.initializer[0].dims[:]
        model.graph.initializer[0].dims.extend(dims)

    return graph(change)


def _elem_type(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.elem_type = 999


def _no_inputs(model: onnx.ModelProto) -> None:
    for node in model.graph.node:
        del node.input[:]


def no_graph(folder: Path) -> None:
    for path in folder.rglob("*.onnx"):
        path.write_bytes(b"\xff" * 9)


def name_that_is_not_utf8(folder: Path) -> None:
    for path in folder.rglob("*.onnx"):
        path.write_bytes(path.read_bytes().replace(b"Tanh", b"Tan\xff"))


GRAPHS: dict[str, Change] = {
    "a type that does not exist": graph(_elem_type),
    "huge dimensions": _dims(*[2**62] * 400),
    "a negative dimension": _dims(-1, 8),
    "operators without inputs": graph(_no_inputs),
    "no graph": no_graph,
    "a name that is not UTF-8": name_that_is_not_utf8,
}


@pytest.mark.parametrize("what", GRAPHS)
@pytest.mark.parametrize("command", ["inspect", "run"])
def test_a_graph(what: str, command: str, tiny: Path, mlx: Mlx, tmp_path: Path) -> None:
    GRAPHS[what](tiny)
    reseal(tiny)
    words = ["inspect", tiny] if command == "inspect" else ["run", tiny, "-o", "e.npy"]
    outcome = mlx(*words, stdin="a b\n")
    is_harmless = command == "inspect" and what in ("operators without inputs", "a name that is not UTF-8")
    assert outcome.code == (0 if is_harmless and not outcome.stderr else 3), outcome
    assert "fault in minilmx" not in outcome.stderr
    assert len(outcome.stderr.splitlines()) <= 1
    assert command == "inspect" or outcome.stdout == ""  # onnxruntime prints there that it tries again
    assert not (tmp_path / "e.npy").exists()


@pytest.mark.parametrize("error", ["panic", "memory", "end of file", "exit", "unknown"])
def test_no_error_of_a_runner_ends_with_another_code(
    error: str, environment: dict[str, str], tiny: Path, tmp_path: Path, start: Callable[..., Any]
) -> None:
    """A runner of a third party that raises what is not an Exception, or what click makes an interrupt."""
    raised = {
        "panic": "raise type('PanicException', (BaseException,), {})('index out of bounds')",
        "memory": "raise MemoryError",
        "end of file": "raise EOFError",
        "exit": "raise SystemExit(1)",
        "unknown": "raise BaseException('unknown')",
    }
    module = tmp_path / "packages" / "waiting_runners.py"
    module.write_text(module.read_text().replace("1 / 0", "fail()") + f"\ndef fail():\n    {raised[error]}\n")
    process = start("run", tiny, "--runner", "faulty", "-o", "e.npy")
    stdout, stderr = process.communicate("a sentence\n", timeout=60)
    assert process.returncode == 3, stderr
    assert stdout == ""
    assert stderr.startswith("Error: "), stderr
    assert len(stderr.splitlines()) == 1
    assert not (tmp_path / "e.npy").exists()
