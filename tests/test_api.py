"""The Python API: what is public, that importing it is cheap, and that its sample runs."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.conftest import Mlx

import minilmx
from minilmx.eval.document import save_document
from minilmx.eval.metrics.table import METRICS
from minilmx.models.artifact import Artifact

PUBLIC = [
    "Artifact",
    "Embedder",
    "MinilmxError",
    "Progress",
    "Result",
    "Runner",
    "RunnerEntry",
    "Scorer",
    "TextFormat",
    "__version__",
    "benchmark",
    "bisect",
    "check",
    "check_golden",
    "compare",
    "create_golden",
    "embed_corpus",
    "embed_file",
    "evaluate",
    "export_model",
    "load",
    "load_result",
    "open_artifact",
    "push",
    "score_file",
]
TEXTS = ["one sentence", "another one", "a third"]


def test_the_public_names_are_these_and_each_exists() -> None:
    assert sorted(minilmx.__all__) == PUBLIC
    for name in PUBLIC:
        assert getattr(minilmx, name) is not None
    assert dir(minilmx) == PUBLIC


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'no_such_name'"):
        _ = minilmx.no_such_name


def test_importing_minilmx_imports_nothing_else() -> None:
    code = "import sys; before = set(sys.modules); import minilmx; print(*(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    packages = {name.split(".")[0] for name in done.stdout.split()}
    assert packages - set(sys.stdlib_module_names) == {"minilmx"}


def test_every_public_function_says_what_it_raises_and_has_an_example() -> None:
    for name in PUBLIC:
        thing = getattr(minilmx, name)
        if callable(thing) and not isinstance(thing, type):
            assert "Example:" in (thing.__doc__ or ""), name
            assert "Raises" in (thing.__doc__ or ""), name


def test_the_command_line_and_the_functions_write_the_same_bytes(
    tiny_folder: Path, mlx: Mlx, tmp_path: Path
) -> None:
    shape = ("--batch-size", 2, "--sequence-length", 16)
    assert mlx("export", tiny_folder, "--from-onnx", *shape, "-o", "by-command").code == 0
    artifact = minilmx.export_model(
        str(tiny_folder), tmp_path / "by-function", batch_size=2, sequence_length=16, from_onnx=True
    )
    assert (tmp_path / "by-command" / "mlx.json").read_bytes() == (artifact.path / "mlx.json").read_bytes()
    assert artifact.report.parity is not None and artifact.report.parity.max_abs_embedding <= 1e-5
    (tmp_path / "in.txt").write_text("\n".join(TEXTS))
    assert mlx("run", "by-command", "in.txt", "-o", "command.npy").code == 0
    record = minilmx.embed_file(artifact, tmp_path / "in.txt", tmp_path / "function.npy")
    assert (tmp_path / "command.npy").read_bytes() == (tmp_path / "function.npy").read_bytes()
    assert record.sentences == 3
    saved = json.loads((tmp_path / "function.npy.run.json").read_text())
    assert (
        record.to_document().items() <= saved.items()
    )  # the very record that was saved, its seconds included
    with minilmx.load(artifact) as model:
        assert np.array_equal(model.encode(TEXTS), np.load(tmp_path / "command.npy"))


def without_times(path: Path) -> bytes:
    """What was written, but for the four fields that say when a run was and how long it took."""
    times = rb'"(created|seconds|latency_seconds|sentences_per_second)": [^,\n]+'
    return re.sub(times, rb'"\1": -', path.read_bytes())


def test_run_eval_and_compare_write_the_same_bytes_as_the_functions(
    tiny: Path, mlx: Mlx, tmp_path: Path
) -> None:
    def written(name: str) -> bytes:
        return without_times(tmp_path / name)

    (tmp_path / "in.txt").write_text("\n".join(TEXTS))
    runners = ("onnxruntime", "groq-emulator")
    for runner in runners:
        assert mlx("run", tiny, "in.txt", "--runner", runner, "-o", f"{runner}.npy").code == 0
        minilmx.embed_file(tiny, tmp_path / "in.txt", tmp_path / "function.npy", runner=runner, replace=True)
        assert written("function.npy") == written(f"{runner}.npy")
        assert written("function.npy.run.json") == written(f"{runner}.npy.run.json").replace(
            f"{runner}.npy".encode(), b"function.npy"
        )

    words = [word for runner in runners for word in ("--runner", runner)]
    assert mlx("eval", tiny, *words, "--limit", 20, "--max-abs", 1, "-o", "eval.json").code == 0
    minilmx.evaluate(tiny, runners, limit=20, limits={"max_abs": 1.0}).save(tmp_path / "evaluate.json")
    assert written("eval.json") == written("evaluate.json")

    files = [f"{runner}.npy" for runner in runners]
    assert mlx("compare", *files, "--min-cosine", "0.5", "-o", "compared.json").code == 0
    minilmx.compare(*files, limits={"min_cosine": 0.5}).save(tmp_path / "compare.json")
    assert written("compared.json") == written("compare.json")


def test_bisect_writes_the_same_bytes_as_the_function(small: Artifact, mlx: Mlx, tmp_path: Path) -> None:
    words = ("--candidate", "groq-emulator", "--limit", 2, "-o", "command.json")
    assert mlx("bisect", small.path, *words).code == 0
    result = minilmx.bisect(small, candidate="groq-emulator", limit=2)
    save_document(result, tmp_path / "function.json", replace=False)
    assert without_times(tmp_path / "command.json") == without_times(tmp_path / "function.json")


def test_a_result_shows_saves_and_renders_itself(tiny: Path, mlx: Mlx, tmp_path: Path) -> None:
    result = minilmx.evaluate(tiny, ["onnxruntime", "groq-emulator"], limit=20, limits={"max_abs": 1.0})
    assert result.passed is True
    result.save(tmp_path / "r.json")
    assert minilmx.load_result(tmp_path / "r.json") == result
    result.save_html(tmp_path / "r.html")
    assert "<svg" in (tmp_path / "r.html").read_text()
    assert "<iframe" in result._repr_html_()
    assert "PASS" in result.render("table")
    assert mlx("report", "r.json").stdout == result.render("table")
    assert json.loads((tmp_path / "r.json").read_text())["kind"] == "result"


def test_a_data_frame_has_a_row_per_runner_and_a_column_per_metric(tiny: Path) -> None:
    pytest.importorskip("pandas", reason="needs pandas for Result.to_dataframe")
    frame = minilmx.evaluate(tiny, ["onnxruntime", "groq-emulator"], limit=20).to_dataframe()
    assert list(frame.columns) == ["language", "runner", *(metric.name for metric in METRICS)]
    assert list(frame["runner"]) == ["onnxruntime", "groq-emulator"]
    assert list(frame["max_abs"].isna()) == [True, False]  # the reference is compared with nothing
    assert 0 < frame["max_abs"][1] < 0.1


def test_a_limit_that_does_not_exist_is_refused(tiny: Path) -> None:
    with pytest.raises(minilmx.MinilmxError, match="unknown limit 'max_apples'"):
        minilmx.evaluate(tiny, ["onnxruntime"], limits={"max_apples": 1.0})


def test_arrays_are_compared() -> None:
    values = np.random.default_rng(0).normal(size=(20, 8)).astype(np.float32)
    assert minilmx.compare(values, values, limits={"max_abs": 0.0}).passed is True
    assert minilmx.compare(values, values + np.float32(1), limits={"max_abs": 0.5}).passed is False


def test_one_string_is_not_a_sequence_of_texts(tiny: Path) -> None:
    with minilmx.load(tiny) as model, pytest.raises(TypeError, match="expected a sequence of strings"):
        model.encode("One sentence.")


def test_a_custom_runner_needs_only_a_name_and_run(tiny: Path) -> None:
    class Ones(minilmx.Runner):
        name = "ones"

        def run(self, batch: Any) -> Any:
            return np.ones((len(batch.feeds()["input_ids"]), 8), np.float32)

    entry = minilmx.RunnerEntry("ones", "answers with ones", lambda options: None, lambda *_: Ones())
    with minilmx.load(tiny, entry) as model:
        assert model.encode(TEXTS).tolist() == [[1.0] * 8] * 3
        assert model.record().runner == "ones"
    with pytest.raises(
        minilmx.MinilmxError, match="unknown option of the runner ones: threads; expected none"
    ):
        minilmx.load(tiny, entry, threads=1)


def wrong(value: object) -> Any:
    """A value of a type that the annotations rule out."""
    return value


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda tiny: minilmx.load(tiny).encode("a text"), "texts: one str; expected a sequence of strings"),
        (lambda tiny: minilmx.load(tiny).encode(["a", wrong(None)]), "texts[1]: NoneType; expected str"),
        (lambda tiny: minilmx.load(tiny).encode([wrong(("a", "pair"))]), "texts[0]: tuple; expected str"),
        (
            lambda tiny: minilmx.evaluate(tiny, "onnxruntime"),
            "runners: one str; expected a sequence of strings",
        ),
        (
            lambda tiny: minilmx.benchmark(tiny, graphs="fixed"),
            "graphs: one str; expected a sequence of strings",
        ),
        (
            lambda tiny: minilmx.check(tiny, "onnxruntime"),
            "consumers: one str; expected a sequence of strings",
        ),
        (
            lambda tiny: minilmx.embed_corpus(tiny, "in/", "out"),
            "inputs: one str; expected a sequence of strings",
        ),
        (
            lambda tiny: minilmx.embed_corpus(tiny, wrong(Path("in")), "out"),
            "inputs: PosixPath; expected a sequence of strings",
        ),
        (
            lambda tiny: minilmx.compare(wrong([[1.0]]), tiny),
            "embedder: list; expected an artifact",
        ),
        (lambda tiny: minilmx.load(tiny).encode(wrong({"a", "b"})), "texts: set; expected a sequence"),
        (lambda tiny: minilmx.load(tiny).encode(wrong({"a": 1})), "texts: dict; expected a sequence"),
        (lambda tiny: minilmx.load(tiny).encode(wrong(iter("a"))), "texts: str_ascii_iterator; expected"),
        (lambda tiny: minilmx.load(tiny, threads="2"), "threads: str; expected int"),
        (lambda tiny: minilmx.load(tiny, threads=True), "threads: bool; expected int"),
        (lambda tiny: minilmx.benchmark(tiny, rounds=wrong("3")), "rounds: str; expected int"),
        (
            lambda tiny: minilmx.evaluate(tiny, ["onnxruntime"], limit=wrong(2.5)),
            "limit: float; expected int",
        ),
        (lambda tiny: minilmx.export_model(batch_size=wrong("3")), "batch_size: str; expected int"),
        (lambda tiny: minilmx.export_model(sequence_length=wrong(3.5)), "sequence_length: float; expected"),
        (lambda tiny: minilmx.export_model(dimension=wrong("9")), "dimension: str; expected int"),
    ],
    ids=[
        *(
            "text",
            "none",
            "pair",
            "runner",
            "graph",
            "consumer",
            "input",
            "path",
            "list",
            "set",
            "dict",
            "iterator",
        ),
        *("threads", "bool", "rounds", "limit", "batch", "length", "dimension"),
    ],
)
def test_arguments_of_another_type_are_refused_by_name(
    call: Callable[[Any], object], message: str, tiny: Path
) -> None:
    with pytest.raises(TypeError, match=re.escape(message)):
        call(tiny)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda tiny: minilmx.load(tiny, threads=0), "threads: 0; expected a whole number from 1"),
        (
            lambda tiny: minilmx.load(tiny, graph_optimization="x"),
            "graph_optimization: 'x'; expected one",
        ),
        (
            lambda tiny: minilmx.load(tiny, "groq", groq_execution="x"),
            "groq_execution: 'x'; expected one of",
        ),
        (lambda tiny: minilmx.benchmark(tiny, rounds=0), "rounds: 0; expected a whole number from 1"),
        (
            lambda tiny: minilmx.evaluate(tiny, ["onnxruntime"], limit=-1),
            "limit: -1; expected a whole number",
        ),
        (lambda tiny: minilmx.bisect(tiny, candidate="groq-emulator", limit=0), "limit: 0; expected a whole"),
        (
            lambda tiny: minilmx.embed_corpus(tiny, ["a.txt"], "out", shard_rows=0),
            "shard_rows: 0; expected a",
        ),
        (
            lambda tiny: minilmx.embed_corpus(tiny, ["a.txt"], "out", workers=0),
            "workers: 0; expected a whole",
        ),
        (
            lambda tiny: minilmx.embed_corpus(tiny, ["a.txt"], "out", format="csv"),
            "format: 'csv'; expected one",
        ),
        (
            lambda tiny: minilmx.embed_corpus(tiny, ["a.txt"], "out", dtype="int8"),
            "dtype: 'int8'; expected one",
        ),
        (
            lambda tiny: minilmx.embed_corpus(tiny, ["a.txt"], "out", engine="dask"),
            "engine: 'dask'; expected",
        ),
        (
            lambda tiny: minilmx.export_model(precision="int4"),
            "precision: 'int4'; expected one of",
        ),
    ],
    ids=[
        *("threads", "optimization", "execution", "rounds", "limit", "bisect", "shard", "workers", "format"),
        *("dtype", "engine", "precision"),
    ],
)
def test_arguments_that_cannot_be_are_refused_by_name(
    call: Callable[[Any], object], message: str, tiny: Path
) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        call(tiny)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda tiny: minilmx.benchmark(tiny, column="text"), "the column 'text': no file of texts"),
        (
            lambda tiny: minilmx.embed_corpus(tiny, ["a.txt"], "out", ray_address="auto"),
            "ray_address: 'auto' with the engine local; expected the engine ray",
        ),
        (
            lambda tiny: minilmx.embed_corpus(tiny, ["a.txt"], "out", cpus_per_worker=1),
            "cpus_per_worker: 1 with the engine local; expected the engine ray",
        ),
    ],
    ids=["column", "address", "cpus"],
)
def test_a_setting_that_would_change_nothing_is_refused(
    call: Callable[[Any], object], message: str, tiny: Path
) -> None:
    with pytest.raises(minilmx.MinilmxError, match=re.escape(message)) as caught:
        call(tiny)
    assert caught.value.unused


def test_a_precision_that_openvino_does_not_have_is_refused(tiny: Path) -> None:
    """Another name computed in float32, and the record named what was asked for."""
    pytest.importorskip("openvino", reason="needs openvino")
    with pytest.raises(ValueError, match="precision: 'bfloat16'; expected one of f32, bf16, int8"):
        minilmx.load(tiny, "openvino", precision="bfloat16")


def test_a_path_is_as_good_as_a_string(tiny: Path, tmp_path: Path) -> None:
    pairs, texts = tmp_path / "pairs.csv", tmp_path / "texts.txt"
    pairs.write_text("sentence1,sentence2,score\na b,b a,1\nc d,d e,2\nf,g,3\n")
    texts.write_text("a\nb\n")
    first, second = (minilmx.evaluate(tiny, ["onnxruntime"], each) for each in (pairs, str(pairs)))
    assert first.evaluations[0].gold == second.evaluations[0].gold == (1.0, 2.0, 3.0)
    pytest.importorskip("pyarrow", reason="needs pyarrow")
    assert minilmx.embed_corpus(tiny, [texts], tmp_path / "out").rows == 2


def test_half_a_surrogate_pair_is_refused_by_its_place(tiny: Path) -> None:
    with (
        minilmx.load(tiny) as model,
        pytest.raises(ValueError, match=r"texts\[1\]: half of a surrogate pair"),
    ):
        model.encode(["a", "\ud83d"])


def test_paths_may_be_strings(tiny: Path) -> None:
    with minilmx.load(str(tiny)) as model:
        assert model.encode([]).shape == (0, 8)
