"""Bisection: planted faults are located, and the numbers equal slow, independent computations."""

import copy
import json
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, helper, numpy_helper
from tests.conftest import reseal, with_other_graph

from minilmx.embedding.embedder import Embedder
from minilmx.errors import EvalError, RunnerError
from minilmx.eval.bisect.bisect import Bisection
from minilmx.eval.bisect.bisect import bisect as bisect_in_threads
from minilmx.eval.bisect.boundaries import find_boundaries
from minilmx.eval.bisect.steps import Step
from minilmx.eval.bisect.traces import finish, trace
from minilmx.eval.datasets.pairs import SentencePairs, load_pairs
from minilmx.eval.document import to_json
from minilmx.export.checks import interface_of
from minilmx.export.freeze import write_fixed
from minilmx.export.model import ExportableModel
from minilmx.export.onnx_model import DynamicModel, find_onnx_file
from minilmx.export.options import ExportOptions
from minilmx.models.artifact import Artifact, open_artifact
from minilmx.models.manifest import GraphKind, Shape
from minilmx.models.model_folder import ModelSource
from minilmx.models.onnx_file import load_onnx
from minilmx.models.source import resolve_model
from minilmx.models.tokenizer import TokenBatch, TokenizedTexts, Tokenizer

LAYERS = range(6)
PARTS = ("attention", "MLP")
NAMES = [
    "embeddings",
    *(f"layer {layer} {part}" for layer in LAYERS for part in PARTS),
    "pooling",
    "sentence_embedding",
]
ONNX, EMULATOR = "onnxruntime", "groq-emulator"


# The machine is shared: two threads wait for each other more than they gain.
bisect = partial(bisect_in_threads, threads=1)


def round_to_8_bits(weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """Symmetric rounding with one scale for the tensor."""
    scale = np.abs(weights).max() / 127
    return np.asarray(np.round(weights / scale) * scale, dtype=np.float32)


def round_layer(layer: int) -> Callable[[ModelProto], None]:
    """A change of a graph: the weights of a layer's MatMuls rounded to 8 bits."""

    def change(model: ModelProto) -> None:
        weights = {tensor.name: tensor for tensor in model.graph.initializer}
        rounded = 0
        for node in model.graph.node:
            if node.op_type == "MatMul" and f"/layer.{layer}/" in node.name and node.input[1] in weights:
                tensor = weights[node.input[1]]
                values = round_to_8_bits(numpy_helper.to_array(tensor))
                tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
                rounded += 1
        assert rounded == 6  # query, key, value, attention output, MLP in, MLP out

    return change


def add_noise_at(tensor: str) -> Callable[[ModelProto], None]:
    """A change of a graph: noise of a fiftieth is added to `tensor`."""

    def change(model: ModelProto) -> None:
        (node,) = (node for node in model.graph.node if tensor in node.output)
        node.output[0] = "without_noise"
        noise = np.random.default_rng(1).normal(scale=0.02 / math.sqrt(32), size=32)
        model.graph.initializer.append(numpy_helper.from_array(noise.astype(np.float32), "noise"))
        position = list(model.graph.node).index(node) + 1
        added = helper.make_node("Add", ["without_noise", "noise"], [tensor], name="/noise")
        model.graph.node.insert(position, added)

    return change


def step(bisection: Bisection, boundary: str) -> Step:
    return next(step for step in bisection.steps if step.boundary == boundary)


def shares(bisection: Bisection) -> list[float]:
    return [step.share for step in bisection.steps if step.share is not None]


@pytest.fixture(scope="module")
def pairs() -> SentencePairs:
    """8 sentences: one batch of the artifact."""
    return load_pairs("bundled", limit=4)


@pytest.fixture(scope="module")
def layer2_rounded(artifact: Artifact, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return with_other_graph(artifact, tmp_path_factory.mktemp("rounded") / "layer2", round_layer(2))


@pytest.fixture(scope="module")
def layer2(artifact: Artifact, layer2_rounded: Artifact, pairs: SentencePairs) -> Bisection:
    """The artifact compared with a copy whose layer 2 is rounded to 8 bits."""
    return bisect(artifact, ONNX, ONNX, pairs, candidate_artifact=layer2_rounded)


@pytest.fixture(scope="module")
def emulated(artifact: Artifact, pairs: SentencePairs) -> Bisection:
    """onnxruntime compared with the emulator."""
    return bisect(artifact, ONNX, EMULATOR, pairs)


@pytest.mark.parametrize("runner", [ONNX, EMULATOR])
def test_a_runner_compared_with_itself_has_no_drift(
    small: Artifact, pairs: SentencePairs, runner: str
) -> None:
    found = bisect(small, runner, runner, pairs)
    assert [step.boundary for step in found.steps] == NAMES
    assert [step.relative_error for step in found.steps] == [0.0] * len(NAMES)
    # The rest of the graph, given the values at a boundary, computes what the whole graph does.
    assert [step.remaining_drift for step in found.steps] == [0.0] * len(NAMES)
    assert {step.share for step in found.steps} == {None}
    assert found.final_drift == 0
    assert found.first_past_threshold is None
    assert found.largest_share is None
    for one in found.steps:
        assert one.min_cosine == pytest.approx(1, abs=1e-12)
    if runner == EMULATOR:
        with Embedder(small, EMULATOR, small.graph_kind) as emulator:
            emulator.encode(pairs.texts)
            largest = emulator.runner.details["largest_magnitude"]
        assert max(one.largest_magnitude or 0 for one in found.steps) == largest


def test_artifacts_in_folders_of_one_name_are_told_apart(
    small: Artifact, pairs: SentencePairs, tmp_path: Path
) -> None:
    other = with_other_graph(small, tmp_path / small.path.name, round_layer(0))
    names = [f"onnxruntime on {small.path.name} {each.digest[:12]}" for each in (other, small)]
    sentence = bisect(small, ONNX, ONNX, pairs, candidate_artifact=other).verdict.sentence
    assert f": {names[0]}, compared with {names[1]}, " in sentence


@pytest.mark.parametrize("layer", [0, 3])
def test_the_layer_that_was_rounded_to_8_bits_is_named(
    small: Artifact, pairs: SentencePairs, tmp_path: Path, layer: int
) -> None:
    other = with_other_graph(small, tmp_path / "rounded", round_layer(layer))
    found = bisect(small, ONNX, ONNX, pairs, candidate_artifact=other, threshold=1e-4)
    for named in (found.first_past_threshold, found.largest_share):
        assert named is not None
        assert named.startswith(f"layer {layer} ")
    before = [step for step in found.steps if NAMES.index(step.boundary) < 1 + 2 * layer]
    assert [one.relative_error for one in before] == [0.0] * (1 + 2 * layer)
    own = sum(step(found, f"layer {layer} {part}").share or 0 for part in PARTS)
    assert own == pytest.approx(1, abs=1e-6)
    assert sum(shares(found)) == pytest.approx(1)


def test_a_rounded_layer_stands_out_from_the_emulators_own_drift(
    artifact: Artifact, layer2_rounded: Artifact, pairs: SentencePairs
) -> None:
    found = bisect(artifact, ONNX, EMULATOR, pairs, candidate_artifact=layer2_rounded)
    for named in (found.first_past_threshold, found.largest_share):
        assert named in ("layer 2 attention", "layer 2 MLP")
    assert (step(found, "embeddings").relative_error or 0) > 0
    assert (step(found, "layer 1 MLP").share or 0) < 0.05
    assert found.candidate.artifact == "layer2"
    assert found.candidate.emulation is not None
    assert found.reference.emulation is None


@pytest.mark.parametrize("boundary", ["pooling", "sentence_embedding"])
def test_noise_at_a_boundary_is_named(
    small: Artifact, pairs: SentencePairs, tmp_path: Path, boundary: str
) -> None:
    found = find_boundaries(load_onnx(small.fixed_graph))
    tensor = next(one.tensor for one in found if one.name == boundary)
    other = with_other_graph(small, tmp_path / "noisy", add_noise_at(tensor))
    result = bisect(small, ONNX, ONNX, pairs, candidate_artifact=other, threshold=1e-3)
    assert result.first_past_threshold == result.largest_share == boundary
    assert step(result, boundary).share == pytest.approx(1, abs=1e-6)


def test_the_emulators_shares_add_up_and_its_drift_equals_that_of_the_runner(
    artifact: Artifact, pairs: SentencePairs, emulated: Bisection
) -> None:
    assert len(shares(emulated)) == len(NAMES)
    assert sum(shares(emulated)) == pytest.approx(1)
    assert max(shares(emulated)) < 0.5  # no step of it stands out
    assert emulated.largest_share == NAMES[int(np.argmax(shares(emulated)))]
    assert sum(one.increase or 0 for one in emulated.steps) == pytest.approx(
        emulated.steps[-1].relative_error
    )
    assert emulated.final_drift == emulated.steps[-1].relative_error
    with Embedder(artifact, ONNX, "fixed") as exact, Embedder(artifact, EMULATOR) as rounded:
        wanted, got = (embedder.encode(pairs.texts) for embedder in (exact, rounded))
    drift = np.linalg.norm(got - wanted) / np.linalg.norm(wanted)
    assert emulated.final_drift == pytest.approx(drift, rel=1e-2)


@pytest.fixture(scope="module")
def torch_model(real_source: ModelSource) -> Any:
    """The model that the artifact was made from; copy it before changing it."""
    from minilmx.models.pytorch import SentenceModel

    return SentenceModel.load(real_source)


def torch_values(
    original: Any, texts: TokenizedTexts, parts: tuple[str, ...]
) -> dict[str, list[NDArray[np.float32]]]:
    """By boundary, each sentence's tokens: from PyTorch, one sentence at a time, without padding.

    The weights of `parts` (module names) are rounded to 8 bits.
    """
    import torch

    model = copy.deepcopy(original)
    encoder = model.encoder
    for name, module in encoder.named_modules():
        if isinstance(module, torch.nn.Linear) and name in parts:
            rounded = round_to_8_bits(module.weight.detach().numpy())
            module.weight.data = torch.from_numpy(rounded)
    found: dict[str, list[NDArray[np.float32]]] = {name: [] for name in NAMES}

    def keep(name: str) -> Callable[..., None]:
        return lambda module, inputs, output: found[name].append(output[0].numpy())

    encoder.embeddings.register_forward_hook(keep("embeddings"))
    for index, layer in enumerate(encoder.encoder.layer):
        layer.attention.output.register_forward_hook(keep(f"layer {index} attention"))
        layer.output.register_forward_hook(keep(f"layer {index} MLP"))
    for row, count in enumerate(texts.token_counts):
        batch = TokenBatch(**{name: array[[row], :count] for name, array in texts.tokens.feeds().items()})
        hidden, embedding = model.run(batch)
        found["pooling"].append(hidden[0].mean(axis=0, keepdims=True))
        found["sentence_embedding"].append(embedding)
    return found


def dense(layer: int, *modules: str) -> tuple[str, ...]:
    return tuple(f"encoder.layer.{layer}.{module}" for module in modules)


ATTENTION = ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense")
MLP = ("intermediate.dense", "output.dense")


def slow_error(wanted: list[NDArray[np.float32]], got: list[NDArray[np.float32]]) -> float:
    difference = norm = 0.0
    for first, second in zip(wanted, got, strict=True):
        for x, y in zip(first.ravel().tolist(), second.ravel().tolist(), strict=True):
            difference += (y - x) ** 2
            norm += x**2
    return math.sqrt(difference / norm)


def slow_cosines(wanted: list[NDArray[np.float32]], got: list[NDArray[np.float32]]) -> list[float]:
    return [
        float(x @ y / (np.linalg.norm(x) * np.linalg.norm(y)))
        for first, second in zip(wanted, got, strict=True)
        for x, y in zip(first.astype(np.float64), second.astype(np.float64), strict=True)
    ]


def test_the_numbers_equal_those_of_pytorch_without_padding(
    artifact: Artifact, pairs: SentencePairs, layer2: Bisection, torch_model: Any
) -> None:
    texts = Tokenizer(artifact.tokenizer_file, artifact.shape).encode(pairs.texts)
    exact = torch_values(torch_model, texts, ())
    rounded = torch_values(torch_model, texts, dense(2, *ATTENTION, *MLP))
    for boundary in ("layer 2 attention", "layer 2 MLP", "layer 4 attention", "pooling"):
        wanted, got = exact[boundary], rounded[boundary]
        one = step(layer2, boundary)
        assert one.relative_error == pytest.approx(slow_error(wanted, got), rel=1e-3), boundary
        cosines = slow_cosines(wanted, got)
        assert one.mean_cosine == pytest.approx(sum(cosines) / len(cosines), abs=1e-6), boundary
        assert one.min_cosine == pytest.approx(min(cosines), abs=1e-5), boundary
        assert len(cosines) == (8 if boundary == "pooling" else layer2.attended_tokens)
    # Given the exact output of the attention, only the MLP's rounding is left.
    only_mlp = torch_values(torch_model, texts, dense(2, *MLP))["sentence_embedding"]
    left = slow_error(exact["sentence_embedding"], only_mlp)
    whole = slow_error(exact["sentence_embedding"], rounded["sentence_embedding"])
    assert step(layer2, "layer 2 attention").remaining_drift == pytest.approx(left, rel=1e-3)
    assert step(layer2, "layer 2 MLP").share == pytest.approx((left / whole) ** 2, rel=2e-3)
    assert step(layer2, "layer 2 attention").share == pytest.approx(1 - (left / whole) ** 2, rel=2e-3)


def without_headroom(one: Step) -> Step:
    return replace(one, largest_magnitude=None, float16_headroom=None)


def test_the_content_of_padding_does_not_matter(
    artifact: Artifact, layer2_rounded: Artifact, pairs: SentencePairs, layer2: Bisection, tmp_path: Path
) -> None:
    other_padding = []
    for index, original in enumerate((artifact, layer2_rounded)):
        folder = Path(shutil.copytree(original.path, tmp_path / str(index)))
        tokenizer = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
        tokenizer["padding"] = {**(tokenizer["padding"] or {}), "pad_id": 7592, "pad_token": "hello"}
        tokenizer["padding"] |= {"strategy": "BatchLongest", "direction": "Right", "pad_type_id": 1}
        tokenizer["padding"] |= {"pad_to_multiple_of": None}
        (folder / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
        other_padding.append(reseal(folder))
    first, second = other_padding
    found = bisect(first, ONNX, ONNX, pairs, candidate_artifact=second)
    assert found.inputs_sha256 != layer2.inputs_sha256
    for one, other in zip(found.steps, layer2.steps, strict=True):
        # The headroom counts padding, as hardware computes it too.
        assert without_headroom(one) == without_headroom(other)
    with pytest.raises(EvalError, match=r": tokenizer .* expected two artifacts of one"):
        bisect(artifact, ONNX, ONNX, pairs, candidate_artifact=second)


def test_float16_headroom_is_smallest_in_the_first_mlp(artifact: Artifact, emulated: Bisection) -> None:
    headrooms = {one.boundary: one.float16_headroom or math.inf for one in emulated.steps}
    assert min(headrooms, key=headrooms.__getitem__) == "layer 0 MLP"
    assert headrooms["layer 0 MLP"] == pytest.approx(65504 / 50000, rel=0.05)
    # The mask's -10000 is the largest number where the attention is computed.
    assert headrooms["layer 0 attention"] == pytest.approx(6.55, rel=0.05)


def test_values_that_are_not_finite_are_located_and_the_json_stays_valid(
    small: Artifact, pairs: SentencePairs, tmp_path: Path
) -> None:
    def break_layer_3(model: ModelProto) -> None:
        (bias,) = (t for t in model.graph.initializer if t.name.endswith("layer.3.output.dense.bias"))
        bias.CopyFrom(numpy_helper.from_array(np.full(32, np.inf, np.float32), bias.name))

    other = with_other_graph(small, tmp_path / "broken", break_layer_3)
    found = bisect(small, ONNX, ONNX, pairs, candidate_artifact=other)
    assert found.first_past_threshold == "layer 3 MLP"
    assert step(found, "layer 3 attention").relative_error == 0
    assert step(found, "layer 3 MLP").relative_error is None
    assert step(found, "pooling").mean_cosine is None
    # With the reference's values behind the fault, nothing is left of it.
    assert step(found, "layer 3 MLP").remaining_drift == 0
    assert found.final_drift is None
    assert found.largest_share is None
    assert shares(found) == []
    document = json.loads(to_json(found))
    assert document["schema_version"] == 4
    assert (document["reference"]["finite"], document["candidate"]["finite"]) == (True, False)
    assert [one["boundary"] for one in document["steps"]] == NAMES


@pytest.mark.parametrize(
    ("runner", "error", "message"),
    [
        ("groq", EvalError, "the runner groq cannot be bisected: .* expected onnxruntime or groq-emulator"),
        ("torch", EvalError, "the runner torch cannot be bisected"),
        ("gorq", RunnerError, "the runner 'gorq' does not exist"),
    ],
)
def test_a_runner_without_intermediate_tensors_is_refused(
    tiny: Path, pairs: SentencePairs, runner: str, error: type[Exception], message: str
) -> None:
    for names in ((ONNX, runner), (runner, ONNX)):
        with pytest.raises(error, match=message):
            bisect(open_artifact(tiny), *names, pairs)


def test_artifacts_that_do_not_fit_are_refused(
    small: Artifact, tiny: Path, pairs: SentencePairs, tmp_path: Path
) -> None:
    with pytest.raises(EvalError, match=": shape 8x48 and 4x16; expected two artifacts"):
        bisect(small, ONNX, ONNX, pairs, candidate_artifact=open_artifact(tiny))

    def leave_out_normalisation(model: ModelProto) -> None:
        pooled = find_boundaries(model)[-2].tensor
        model.graph.node[-1].CopyFrom(helper.make_node("Identity", [pooled], ["sentence_embedding"]))

    other = with_other_graph(small, tmp_path / "unnormalised", leave_out_normalisation)
    with pytest.raises(EvalError, match=": 15 and 14 boundaries; expected the same"):
        bisect(small, ONNX, ONNX, pairs, candidate_artifact=other)


def test_a_graph_without_module_names_is_refused(small: Artifact, tiny: Path, pairs: SentencePairs) -> None:
    with pytest.raises(
        EvalError, match=r"not exactly one tensor is the output of the LayerNorm of embeddings"
    ):
        bisect(open_artifact(tiny), ONNX, EMULATOR, pairs)
    model = load_onnx(small.fixed_graph)
    expected = find_boundaries(model)
    for node in model.graph.node:
        node.name = ""  # as PyTorch before 1.13 wrote them: the weights still have names
    assert find_boundaries(model) == expected
    for index, tensor in enumerate(model.graph.initializer):
        if "layer.4" in tensor.name:
            for node in model.graph.node:
                for position, name in enumerate(node.input):
                    if name == tensor.name:
                        node.input[position] = f"weight_{index}"
            tensor.name = f"weight_{index}"
    with pytest.raises(EvalError, match="the output of the LayerNorm of layer 4 attention; expected"):
        find_boundaries(model)


def test_a_frozen_file_that_kept_its_names_has_the_same_boundaries(
    artifact: Artifact, tmp_path: Path
) -> None:
    source = resolve_model(str(artifact.path))
    file = find_onnx_file(source)
    model = DynamicModel.load(source, file, load_onnx(file))
    assert [
        one.name for one in find_boundaries(fixed_graph(model, ExportOptions(Shape(2, 16)), tmp_path))
    ] == NAMES


def fixed_graph(model: ExportableModel, options: ExportOptions, folder: Path) -> ModelProto:
    """The fixed graph of a model."""
    model.write_graph(GraphKind.DYNAMIC, options, folder / "dynamic.onnx")
    interface = interface_of(GraphKind.FIXED, options, model)
    write_fixed(folder / "dynamic.onnx", interface, folder / "fixed.onnx")
    return load_onnx(folder / "fixed.onnx")


def random_encoder(kind: str) -> Any:
    """A BERT-family encoder of 2 layers with random weights."""
    torch = pytest.importorskip("torch", reason="needs torch to make models")
    transformers = pytest.importorskip("transformers", reason="needs transformers")
    config = getattr(transformers, f"{kind}Config")(
        vocab_size=90,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=48,
        max_position_embeddings=20,
        attn_implementation="eager",
    )
    torch.manual_seed(3)
    encoder = getattr(transformers, f"{kind}Model")(config).eval()
    for parameter in encoder.parameters():
        parameter.data.normal_(std=0.3)
    return encoder


def random_texts() -> TokenizedTexts:
    """5 texts of random tokens at 2 x 12."""
    random = np.random.default_rng(5)
    counts = np.array([12, 3, 7, 1, 9])
    mask = (np.arange(12) < counts[:, None]).astype(np.int64)
    ids = np.where(mask == 1, random.integers(5, 90, mask.shape), 1)
    none = np.zeros_like(ids)
    empty = TokenBatch(ids[3:4], mask[3:4], none[3:4])
    return TokenizedTexts(TokenBatch(ids, mask, none), counts > 12, Shape(2, 12), empty, pad_id=1)


@pytest.mark.parametrize(
    ("kind", "pooling", "normalized", "opset"),
    [
        ("Bert", "mean", True, 17),
        ("Bert", "cls", False, 13),
        ("Electra", "max", True, 16),
        ("Roberta", "mean", False, 17),
        ("XLMRoberta", "cls", True, 16),
    ],
)
def test_each_architecture_has_the_boundaries_of_its_modules(
    tmp_path: Path, kind: str, pooling: str, normalized: bool, opset: int
) -> None:
    encoder = random_encoder(kind)
    import torch

    from minilmx.export.graph import TracedModel

    texts = random_texts()
    sentence_model = TracedModel(
        encoder,
        pooling,
        normalized,
        None,
        32,
        first_position=2 if "Roberta" in kind else 0,
        hidden_dimension=32,
        model_dimension=32,
    )
    options = ExportOptions(texts.shape, opset)
    model = fixed_graph(sentence_model, options, tmp_path)
    boundaries = find_boundaries(model)
    names = ["embeddings", *(f"layer {layer} {part}" for layer in range(2) for part in PARTS)]
    assert [one.name for one in boundaries] == [*names, *["pooling"] * normalized, "sentence_embedding"]
    values = trace(model, boundaries, texts, threads=1).values
    kept: list[Any] = []
    modules = [encoder.embeddings.LayerNorm]
    for layer in encoder.encoder.layer:
        modules += [layer.attention.output, layer.output]
    for module in modules:
        module.register_forward_hook(lambda module, inputs, output: kept.append(output.numpy()))
    with torch.inference_mode():
        embeddings = sentence_model.run(texts.tokens)[1]
    attended = texts.tokens.attention_mask == 1
    for name, expected, found in zip(names, kept, values, strict=False):
        assert np.allclose(found, expected[attended], atol=1e-4), name
    assert np.allclose(values[-1], embeddings, atol=1e-4)
    for boundary, found in zip(boundaries[:-1], values, strict=False):
        rest = finish(model, boundary, found, texts, threads=1)
        assert np.array_equal(rest, values[-1]), boundary


def test_a_value_that_bypasses_a_boundary_is_refused(small: Artifact) -> None:
    model = load_onnx(small.fixed_graph)
    boundaries = find_boundaries(model)
    start, end = boundaries[3].tensor, boundaries[7].tensor
    (node,) = (node for node in model.graph.node if end in node.output)
    node.input.append("")
    around = helper.make_node("Sum", [*filter(None, node.input), start], list(node.output), name=node.name)
    node.CopyFrom(around)
    with pytest.raises(EvalError, match=r"input_ids bypasses the boundary layer 1 MLP"):
        find_boundaries(model)
