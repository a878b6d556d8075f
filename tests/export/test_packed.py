"""The packed graph equals the fixed one, and no text affects its neighbours."""

from collections.abc import Sequence
from itertools import permutations
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from tests.conftest import MakeModel, Mlx

from minilmx.embedding.embedder import Embedder
from minilmx.errors import ArtifactError, ExportError, RunnerUnavailable
from minilmx.eval.ladder import climb
from minilmx.export.exporter import export_model
from minilmx.export.options import ExportOptions
from minilmx.models.artifact import Artifact, open_artifact
from minilmx.models.manifest import Shape
from minilmx.models.sample_texts import sample_texts
from minilmx.models.source import resolve_model
from minilmx.models.tokenizer import Tokenizer
from minilmx.runners.registry import open_runner

STSB = Path(__file__).parents[3] / "shared" / "stsb" / "stsb-en-test.csv"
FULL = "word " * 46  # with the special tokens exactly 48


def embeddings(artifact: Artifact, texts: Sequence[str], runner: str = "onnxruntime") -> NDArray[np.float32]:
    with Embedder(artifact, runner, artifact.graph_kind) as opened:
        return opened.encode(texts)


def test_it_is_static_and_has_the_interface_of_a_packed_graph(packed: Artifact) -> None:
    graph = open_artifact(packed.path).manifest.packed
    assert graph is not None and graph.path == "model_b2_s48_p8.onnx"
    assert [str(tensor) for tensor in graph.inputs] == [
        "input_ids int64 [2, 48]",
        "position_ids int64 [2, 48]",
        "segment_ids int64 [2, 48]",
    ]
    assert [str(tensor) for tensor in graph.outputs] == ["sentence_embedding float32 [2, 8, 384]"]


def test_it_has_no_operator_that_the_fixed_graph_does_not_have_and_no_cast(packed: Artifact) -> None:
    fixed, own = (
        {node.op_type for node in onnx.load(packed.with_graph(kind).graph_file).graph.node}
        for kind in ("fixed", "packed")
    )
    assert own - {"Constant"} <= fixed - {"Cast"}  # a number, which the fixed graph has as an initializer


@pytest.mark.parametrize("runner", ["onnxruntime", "groq-emulator"])
def test_it_equals_the_fixed_graph_on_texts_of_all_lengths(packed: Artifact, runner: str) -> None:
    texts = [*sample_texts(48), FULL, "a", "", "b", FULL]
    plain = embeddings(packed, texts, runner)
    limit = 1e-5 if runner == "onnxruntime" else 1e-3
    assert np.abs(embeddings(packed.with_graph("packed"), texts, runner) - plain).max() <= limit


def test_the_order_of_the_texts_does_not_matter(packed: Artifact) -> None:
    texts = ["one two", "three", "four five six", "seven"]
    expected = dict(zip(texts, embeddings(packed, texts), strict=True))
    with Embedder(packed, "onnxruntime", "packed") as embedder:
        for order in permutations(texts):
            found = embedder.encode(order)
            for text, values in zip(order, found, strict=True):
                assert np.abs(values - expected[text]).max() <= 1e-6


def test_changing_one_text_leaves_its_neighbours_as_they_were(packed: Artifact) -> None:
    before = embeddings(packed.with_graph("packed"), ["a cat sat", "the other", "a third one"])
    after = embeddings(packed.with_graph("packed"), ["a cat sat", "new words", "a third one"])
    assert np.array_equal(before[[0, 2]], after[[0, 2]])
    assert not np.allclose(before[1], after[1], atol=1e-2)


def test_packing_takes_fewer_runs(packed: Artifact, mlx: Mlx, tmp_path: Path) -> None:
    import json

    (tmp_path / "texts.txt").write_text("a short text\n" * 64)
    for name, flags in (("plain.npy", ["--graph", "fixed"]), ("packed.npy", ["--graph", "packed"])):
        assert mlx("run", packed.path, "texts.txt", "--output", name, *flags).code == 0
    records = [json.loads((tmp_path / f"{name}.npy.run.json").read_text()) for name in ("plain", "packed")]
    assert [record["timing"]["batches"] for record in records] == [32, 4]
    assert records[0]["inputs_sha256"] == records[1]["inputs_sha256"]
    one, other = np.load(tmp_path / "plain.npy"), np.load(tmp_path / "packed.npy")
    assert np.abs(one - other).max() <= 1e-6


@pytest.mark.parametrize("pooling", ["mean", "cls"])
@pytest.mark.parametrize("architecture", ["Bert", "Electra"])
def test_other_models_can_be_packed(
    make_model: MakeModel, tmp_path: Path, architecture: str, pooling: str
) -> None:
    source = resolve_model(str(make_model(architecture, pooling=pooling)))
    artifact = export_model(source, tmp_path / "out", ExportOptions(Shape(2, 12), segments=3))
    texts = ["a b", "c", "d e f g h i j k l m n", "", "ab"]
    difference = embeddings(artifact.with_graph("packed"), texts) - embeddings(artifact, texts)
    assert np.abs(difference).max() <= 1e-5


@pytest.mark.parametrize(("architecture", "pooling"), [("Bert", "max"), ("Roberta", "mean")])
def test_some_models_cannot_be_packed(
    make_model: MakeModel, tmp_path: Path, architecture: str, pooling: str
) -> None:
    source = resolve_model(str(make_model(architecture, pooling=pooling)))
    with pytest.raises(ExportError, match="cannot be packed"):
        export_model(source, tmp_path / "out", ExportOptions(Shape(2, 12), segments=3))


def test_an_artifact_without_a_packed_graph_says_how_to_get_one(tiny: Path) -> None:
    with pytest.raises(ArtifactError, match="Export the model with a packed graph"):
        open_artifact(tiny).with_graph("packed")


def test_the_torch_runner_has_no_packed_graph(packed: Artifact) -> None:
    with pytest.raises(RunnerUnavailable, match="packed"):
        open_runner("torch", packed.with_graph("packed"))


def test_the_ladder_of_a_packed_graph_starts_at_the_model_itself(packed: Artifact) -> None:
    view = packed.with_graph("packed")
    texts = Tokenizer(view.tokenizer_file, view.shape).encode(["a cat sat", "the other", FULL])
    ladder = climb(view, texts, {})
    assert [step.runner for step in ladder.steps] == ["torch", "onnxruntime", "onnxruntime", "groq-emulator"]
    assert ladder.steps[-1].share > 0.99


@pytest.mark.parametrize(("runner", "graph"), [("onnxruntime", "dynamic"), ("groq-emulator", "packed")])
def test_auto_prefers_it_to_the_fixed_graph_only(packed: Artifact, runner: str, graph: str) -> None:
    with Embedder(packed, runner) as embedder:
        assert embedder.artifact.graph_kind == graph


@pytest.mark.parametrize(
    ("runner", "graph"),
    [
        *(("onnxruntime", graph) for graph in ("fixed", "dynamic", "packed")),
        *(("openvino", graph) for graph in ("fixed", "dynamic", "packed")),
        *(("groq-emulator", graph) for graph in ("fixed", "packed")),
    ],
)
def test_the_number_of_threads_changes_no_bit(packed: Artifact, runner: str, graph: str) -> None:
    found = []
    for threads in (1, 3):
        with Embedder(packed, runner, graph, threads=threads) as embedder:
            assert embedder.runner.concurrency == threads
            found.append(embedder.encode(sample_texts(48)))
    assert np.array_equal(found[0], found[1])
