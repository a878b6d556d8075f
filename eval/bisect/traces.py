"""What a graph computes at its boundaries over many sentences, and from one boundary to its end."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper

from minilmx.errors import RunnerFailed, boundary
from minilmx.eval.bisect.boundaries import Boundary, cut, float_outputs
from minilmx.models.session_options import session_options
from minilmx.models.tokenizer import TokenizedTexts
from minilmx.progress import Advance
from minilmx.runners.onnxruntime import PROVIDER

_LARGEST = "bisect/largest_magnitude"


@dataclass(frozen=True, slots=True)
class Trace:
    """The values at each boundary, without padding: float32 [attended tokens, D] or [sentences, D].

    `largest`, float64 or None if it was not requested, is for each boundary the largest magnitude of
    any float that a node returned between it and the one before, padding included, as hardware
    computes that as well.
    """

    values: tuple[NDArray[np.float32], ...]
    largest: NDArray[np.float64] | None


def trace(
    model: ModelProto,
    boundaries: Sequence[Boundary],
    texts: TokenizedTexts,
    threads: int | None,
    advance: Advance = lambda rows: None,
    *,
    magnitudes: bool = False,
) -> Trace:
    """Run the graph without optimization, and keep the values at its boundaries. Raises RunnerFailed."""
    names = [boundary.tensor for boundary in boundaries]
    part = cut(model, names)
    maxima = _add_magnitudes(part, boundaries) if magnitudes else []
    session = _open(part, threads)
    parts: list[list[NDArray[np.float32]]] = [[] for _ in boundaries]
    largest = np.zeros(len(maxima))
    position = 0
    for batch in texts.batches():
        outputs = _run(session, [*names, *maxima], batch.feeds())
        real = min(texts.shape.batch_size, len(texts) - position)
        attended = batch.attention_mask[:real] == 1
        for kept, each, value in zip(parts, boundaries, outputs[: len(names)], strict=True):
            kept.append(value[:real][attended] if each.per_token else value[:real])
        largest = np.maximum(largest, np.array(outputs[len(names) :], dtype=np.float64))  # keeps NaN
        position += real
        advance(real)
    return Trace(tuple(np.concatenate(kept) for kept in parts), largest if magnitudes else None)


def finish(
    model: ModelProto,
    start: Boundary,
    values: NDArray[np.float32],
    texts: TokenizedTexts,
    threads: int | None,
    advance: Advance = lambda rows: None,
) -> NDArray[np.float32]:
    """Replace the tensor at `start` by `values`, as a Trace has them, and run the rest of the graph.

    Returns sentence_embedding, float32 [N, D]. The graph masks padding; padded positions hold the
    sentence's first token, so that they are numbers of the usual size. Raises RunnerFailed.
    """
    session = _open(cut(model, ["sentence_embedding"], start), threads)
    names = {value.name for value in session.get_inputs()}
    masks = texts.tokens.attention_mask == 1
    sentences = np.split(values, np.cumsum(texts.token_counts)[:-1]) if start.per_token else list(values)
    parts, position = [], 0
    for batch in texts.batches():
        # The last batch is filled up with its last sentence.
        rows = [min(row, len(texts) - 1) for row in range(position, position + texts.shape.batch_size)]
        given = [_place(sentences[row], masks[row]) if start.per_token else sentences[row] for row in rows]
        feeds = {name: array for name, array in batch.feeds().items() if name in names}
        (embeddings,) = _run(session, ["sentence_embedding"], {**feeds, start.tensor: np.stack(given)})
        real = min(texts.shape.batch_size, len(texts) - position)
        parts.append(embeddings[:real])
        position += real
        advance(real)
    return np.concatenate(parts)


def _place(tokens: NDArray[np.float32], mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """A sentence's attended tokens [T, D] at their positions, [S, D]."""
    placed = np.repeat(tokens[:1], len(mask), axis=0)
    placed[mask] = tokens
    return placed


def _add_magnitudes(model: ModelProto, boundaries: Sequence[Boundary]) -> list[str]:
    """Add an output for each boundary, the largest magnitude since the one before; return their names."""
    names = []
    for index, values in enumerate(float_outputs(model, boundaries)):
        maxima = []
        for value in values:
            magnitude, largest = f"{_LARGEST}/abs/{value}", f"{_LARGEST}/{value}"
            maxima.append(largest)
            model.graph.node.append(helper.make_node("Abs", [value], [magnitude]))
            model.graph.node.append(helper.make_node("ReduceMax", [magnitude], [largest], keepdims=0))
        names.append(f"{_LARGEST}/{index}")
        model.graph.node.append(helper.make_node("Max", maxima, names[-1:]))
        model.graph.output.append(helper.make_tensor_value_info(names[-1], TensorProto.FLOAT, []))
    return names


def _open(model: ModelProto, threads: int | None) -> onnxruntime.InferenceSession:
    # Fused nodes have no tensors between them, and round less often than separate nodes.
    settings = session_options("disable", threads)
    with boundary(RunnerFailed, "onnxruntime cannot load the graph with its intermediate tensors"):
        return onnxruntime.InferenceSession(model.SerializeToString(), settings, providers=[PROVIDER])


def _run(
    session: onnxruntime.InferenceSession, names: list[str], feeds: Mapping[str, NDArray[Any]]
) -> list[NDArray[np.float32]]:
    with boundary(RunnerFailed, "onnxruntime failed on a batch"):
        outputs: list[NDArray[np.float32]] = session.run(names, dict(feeds))
    return outputs
