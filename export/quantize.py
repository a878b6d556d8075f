"""Float32 graphs to int8: smaller and faster on a CPU, at a cost that is measured and reported.

Weights of matrix products become signed int8, one scale per output channel; activations are
quantised while the graph runs, one scale per tensor (onnxruntime's dynamic quantisation). So an
embedding depends a little on what else is in its batch. Token embeddings stay float32: quantising
them makes nothing faster.
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

# Models that quantise well stay above 0.95; below 0.9 an embedding is no longer the model's.
LEAST_COSINE = 0.9


@dataclass(frozen=True, slots=True)
class QuantizationCost:
    """How far the int8 graph's embeddings are from the model's, over `sentences` sentences.

    `max_abs` is the largest absolute difference of a number, `min_cosine` the smallest cosine
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
            raise ExportError(f"{path.name}: onnxruntime cannot quantise it: {error}") from error
    smaller.replace(path)


def measure_cost(graph: Path, tokenizer_file: Path, shape: Shape, reference: Reference) -> QuantizationCost:
    """Compare the fixed int8 graph with the model, on the sentences of the parity check.

    Raises ExportError if a sentence's cosine similarity is below 0.9.
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
            f"{graph.name}: cosine similarity {cosine:.3f} to the model after quantising; expected at least "
            f"{LEAST_COSINE}",
            "Export the model as float32.",
        )
    return QuantizationCost(len(tokenized), float(np.abs(model - int8).max()), cosine)


@contextmanager
def _quiet() -> Iterator[None]:
    """onnxruntime's quantiser logs advice, on the root logger, that changes nothing here."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
