"""The ladder names the step that makes the drift."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import minilmx
from minilmx.eval.ladder import Ladder, climb
from minilmx.models.artifact import Artifact, open_artifact, seal
from minilmx.models.tokenizer import TokenizedTexts, Tokenizer
from minilmx.progress import Progress

TEXTS = ["A cat sleeps on the warm stone.", "Nobody answered the door.", "It costs 12 euros.", "Yes."]


def tokenized(artifact: Artifact) -> TokenizedTexts:
    return Tokenizer(artifact.tokenizer_file, artifact.shape).encode(TEXTS)


def test_float16_makes_nearly_all_drift_of_the_real_model(artifact: Artifact) -> None:
    ladder = climb(artifact, tokenized(artifact), {})
    assert [step.runner for step in ladder.steps] == ["torch", "onnxruntime", "onnxruntime", "groq-emulator"]
    assert ladder.missing == ("GroqCard",)
    assert ladder.steps[-1].share > 0.99
    assert sum(step.share for step in ladder.steps) == pytest.approx(1)
    assert ladder.steps[-1].max_abs > 1e-4 > ladder.steps[1].max_abs


def test_noise_planted_in_the_graph_appears_in_its_step(artifact: Artifact, tmp_path: Path) -> None:
    """The PyTorch model does not change, so the drift comes from the ONNX graph."""
    import shutil

    folder = Path(shutil.copytree(artifact.path, tmp_path / "planted"))
    (folder / "mlx.json").unlink()
    graph = folder / artifact.manifest.fixed.path
    model = onnx.load(str(graph))
    weight = next(w for w in model.graph.initializer if w.name.endswith("layer.2.output.dense.bias"))
    noise = np.random.default_rng(1).normal(scale=0.1, size=384).astype(np.float32)
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) + noise, weight.name))
    onnx.save(model, str(graph))
    seal(folder, artifact.manifest)
    planted = open_artifact(folder)
    ladder: Ladder = climb(planted, tokenized(planted), {})
    assert max(ladder.steps, key=lambda step: step.share).name == "ONNX graph, unoptimised"
    assert ladder.steps[1].share > 0.9


def test_a_step_that_cannot_be_opened_is_missing_and_the_evaluation_is_kept(tiny: Path) -> None:
    """The artifact was made from a folder whose path is not recorded, so there is no PyTorch model."""
    said: list[str] = []

    class Messages(Progress):
        def message(self, text: str) -> None:
            said.append(text)

    result = minilmx.evaluate(
        tiny, ["onnxruntime", "groq-emulator"], limit=4, ladder=True, progress=Messages()
    )
    ladder = result.evaluations[0].ladder
    assert ladder is not None
    assert ladder.missing == ("PyTorch", "GroqCard")
    assert [step.runner for step in ladder.steps] == ["onnxruntime", "onnxruntime", "groq-emulator"]
    if find_spec("torch") and find_spec("transformers"):
        assert any(text.startswith("the ladder, without PyTorch: the source of the") for text in said)
