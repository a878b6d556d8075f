"""Float32 graphs to int8: smaller and faster on a CPU, at a cost that is measured and stated.

Weights of matrix products become signed int8, one scale for each output channel; activations
are quantised while running, one scale for each tensor (onnxruntime's dynamic quantisation). So
an embedding depends a little on what else is in its batch. Token embeddings stay float32:
quantising them makes nothing faster.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from minilmx.errors import ExportError
from minilmx.export.parity import Reference, open_session
from minilmx.models.interface import OUTPUT_NAMES
from minilmx.models.manifest import Shape
from minilmx.models.sample_texts import sample_texts
from minilmx.models.tokenizer import Tokenizer

# Below this an embedding no longer says what the model says; a sound recipe stays above 0.95.
LEAST_COSINE = 0.9


@dataclass(frozen=True, slots=True)
class QuantizationCost:
    """How far the int8 graph's embeddings are from the model's, over `sentences` sentences.

    `max_abs` is the largest absolute difference of a number, `min_cosine` the least cosine
    similarity of a sentence's two embeddings, from -1 to 1.
    """

    sentences: int
    max_abs: float
    min_cosine: float


def quantize_weights(path: Path) -> None:
    """Replace a float32 ONNX file by its int8 form. Raises ExportError."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    smaller = path.with_suffix(".int8")
    with _quiet():
        try:
            quantize_dynamic(
                path,
                smaller,
                op_types_to_quantize=["MatMul"],
                per_channel=True,
                reduce_range=False,
                weight_type=QuantType.QInt8,
            )
        except Exception as error:
            raise ExportError(f"onnxruntime cannot quantise {path.name}: {error}") from error
    smaller.replace(path)


def measure_cost(graph: Path, tokenizer_file: Path, shape: Shape, reference: Reference) -> QuantizationCost:
    """Compare the fixed int8 graph with the model, on the sentences of the parity check.

    Raises ExportError where a sentence's cosine is below 0.9.
    """
    tokenized = Tokenizer(tokenizer_file, shape).encode(sample_texts(shape.sequence_length))
    session = open_session(graph)
    wanted, found = [], []
    for batch in tokenized.batches():
        wanted.append(reference(batch)[1])
        found.append(session.run([OUTPUT_NAMES[1]], batch.feeds())[0])
    model, int8 = (np.concatenate(parts)[: len(tokenized)].astype(np.float64) for parts in (wanted, found))
    lengths = np.linalg.norm(model, axis=1) * np.linalg.norm(int8, axis=1)
    cosine = float(((model * int8).sum(axis=1) / lengths).min())
    if not cosine >= LEAST_COSINE:  # also true for NaN
        raise ExportError(
            "int8 does not suit this model: an embedding's cosine similarity to the model's is "
            f"{cosine:.3f}, the limit is {LEAST_COSINE}; leave out --precision"
        )
    return QuantizationCost(len(tokenized), float(np.abs(model - int8).max()), cosine)


@contextmanager
def _quiet() -> Iterator[None]:
    """onnxruntime's quantiser advises, on the root logger, a step that changes nothing here."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
