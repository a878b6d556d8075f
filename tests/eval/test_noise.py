"""The noise floor: how much a runner differs from itself."""

import numpy as np
import pytest

from minilmx.embedding.embedder import Embedder
from minilmx.eval.noise import measure_noise
from minilmx.models.artifact import Artifact
from minilmx.models.tokenizer import Tokenizer

TEXTS = ["a b c", "d", "e f", "g h i j", "k", "l m"]


@pytest.mark.parametrize("runner", ["onnxruntime", "groq-emulator"])
def test_a_deterministic_runner_repeats_itself(tiny_original: Artifact, runner: str) -> None:
    tokenized = Tokenizer(tiny_original.tokenizer_file, tiny_original.shape).encode(TEXTS)
    with Embedder(tiny_original, runner, "fixed") as embedder:
        noise = measure_noise(embedder, runner, tokenized, {})
    assert (noise.runner, noise.sentences, noise.repeat) == (runner, 6, 0.0)
    assert 0 <= noise.largest < 1e-6


def test_pytorch_is_measured_too(artifact: Artifact) -> None:
    tokenized = Tokenizer(artifact.tokenizer_file, artifact.shape).encode(TEXTS)
    with Embedder(artifact, "torch", "fixed") as embedder:
        noise = measure_noise(embedder, "torch", tokenized, {})
    assert noise.repeat == 0
    assert noise.largest < 1e-5


def test_rows_in_another_order_are_contiguous_arrays(tiny_original: Artifact) -> None:
    tokenized = Tokenizer(tiny_original.tokenizer_file, tiny_original.shape).encode(TEXTS)
    turned = tokenized.take(slice(None, None, -1))
    assert all(array.strides[0] > 0 for array in turned.tokens.feeds().values())
    assert np.array_equal(turned.tokens.input_ids[::-1], tokenized.tokens.input_ids)
