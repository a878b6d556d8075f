"""mlx bench: runners measured side by side, and the page about them."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper
from tests.conftest import MakeOnce, Mlx, reseal, run_mlx

from minilmx.models.artifact import Artifact, open_artifact
from minilmx.models.onnx_file import load_onnx
from minilmx.models.tokenizer import Tokenizer

TEXTS = [*"abcdefg", "h i j k l", "x" * 40]


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    return write_texts(tmp_path)


def write_texts(folder: Path) -> Path:
    file = folder / "texts.txt"
    file.write_text("\n".join(TEXTS) + "\n")
    return file


@pytest.fixture(scope="module")
def measured(tiny_original: Artifact, make_once: MakeOnce) -> Path:
    """The file of a benchmark, measured once."""

    def measure(folder: Path) -> None:
        words = (tiny_original.path, write_texts(folder), "--rounds", "3", "-o", folder / "b.json")
        outcome = run_mlx("bench", *words)
        assert outcome.code == 0, outcome
        assert "onnxruntime dynamic" in outcome.stdout

    return make_once("bench", measure) / "b.json"


@pytest.fixture
def result(measured: Path, tmp_path: Path) -> dict[str, Any]:
    document = json.loads(Path(shutil.copy(measured, tmp_path / "b.json")).read_text())
    assert isinstance(document, dict)
    return document


def test_every_graph_is_measured_over_the_same_texts(result: dict[str, Any], tiny: Path) -> None:
    artifact: Artifact = open_artifact(tiny)
    counts = Tokenizer(artifact.tokenizer_file, artifact.shape).encode(TEXTS).token_counts
    assert result["schema_version"] == 4
    assert result["artifact_sha256"] == artifact.digest
    assert (result["sentences"], result["tokens"]) == (9, int(counts.sum()))
    fixed, dynamic = result["timings"]
    assert fixed["contender"] == {"runner": "onnxruntime", "graph": "fixed"}
    assert dynamic["contender"] == {"runner": "onnxruntime", "graph": "dynamic"}
    assert fixed["batches"] == 3
    assert fixed["padding_share"] == pytest.approx(1 - int(counts.sum()) / (3 * 4 * 16))
    assert dynamic["padding_share"] == 0
    for timing in (fixed, dynamic):
        assert len(timing["rounds"]) == 3
        middle = sorted(timing["rounds"])[1]
        assert timing["seconds"] == middle
        assert timing["versions"] == {"onnxruntime": onnxruntime.__version__}
        assert timing["sentences_per_second"] == pytest.approx(9 / middle)
        assert timing["tokens_per_second"] == pytest.approx(int(counts.sum()) / middle)
        assert 0 < timing["latency_median"] <= timing["latency_p95"] <= max(timing["rounds"])
        assert timing["first_embedding"] > max(timing["rounds"])  # Python alone takes longer to start
        assert 20e6 < timing["peak_bytes"] < 300e6
        assert timing["on_chip_compute_seconds"] is timing["sdk_call_seconds"] is None


def test_a_saved_benchmark_becomes_a_page_with_a_plot(
    result: dict[str, Any], mlx: Mlx, tmp_path: Path
) -> None:
    assert mlx("report", "b.json", "-o", "b.html").code == 0
    page = (tmp_path / "b.html").read_text()
    assert page.count('<rect class="bar') == 4
    assert "onnxruntime dynamic" in page
    assert f"onnxruntime {onnxruntime.__version__}, " in page
    assert "http" not in page.replace("http-equiv", "")
    table = mlx("report", "b.json")
    assert table.code == 0
    assert "sentences/s" in table.stdout
    outcome = mlx("report", "b.json", "--format", "junit")
    assert outcome.code != 0
    assert "format of a benchmark: junit; expected table or html" in outcome.stderr
    (tmp_path / "b.json").write_text(json.dumps(result | {"sentences": "many"}))
    outcome = mlx("report", "b.json")
    assert "does not follow schema version 4: Expected `int`, got `str` - at `$.sentences`" in outcome.stderr


def test_an_emulation_is_named_as_one(tiny: Path, mlx: Mlx, texts: Path, tmp_path: Path) -> None:
    outcome = mlx("bench", tiny, texts, "--rounds", "1", "--runner", "groq-emulator", "-o", "b.json")
    assert outcome.code == 0, outcome
    (timing,) = json.loads((tmp_path / "b.json").read_text())["timings"]
    assert timing["contender"]["graph"] == "fixed"
    assert "its times say nothing about a GroqCard" in outcome.stdout


def test_embeddings_that_are_not_finite_are_an_error(tiny: Path, mlx: Mlx, texts: Path) -> None:
    graph = open_artifact(tiny).fixed_graph
    model = load_onnx(graph)
    (mix,) = (tensor for tensor in model.graph.initializer if list(tensor.dims) == [8, 8])
    mix.CopyFrom(numpy_helper.from_array(np.full((8, 8), np.nan, np.float32), mix.name))
    onnx.save(model, graph)
    reseal(tiny)
    outcome = mlx("bench", tiny, texts, "--rounds", "1", "--graph", "fixed")
    assert outcome.code == 3, outcome
    assert "the runner onnxruntime returned numbers that are not finite for sentence 1" in outcome.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--runner", "gpu"], "the runner 'gpu' does not exist"),
        (["--graph", "wide"], "'wide' is not one of 'auto', 'dynamic', 'fixed', 'packed'"),
        (["--graph", "packed"], "no packed graph; expected one of fixed, dynamic"),
        (["--precision", "int8"], "--precision is not an option of the runner onnxruntime"),
        (["--runner", "groq-emulator", "--graph", "dynamic"], "does not take the dynamic graph"),
    ],
)
def test_what_cannot_be_measured_is_refused(arguments: list[str], message: str, tiny: Path, mlx: Mlx) -> None:
    outcome = mlx("bench", tiny, "--rounds", "1", *arguments)
    assert outcome.code not in (0, 1)
    assert message in outcome.stderr
    assert "Traceback" not in outcome.stderr
