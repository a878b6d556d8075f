"""Proof that the exported graphs equal the model, on real sentences of many lengths.

The limits are absolute for a vector whose numbers are at most 1, as in a normalised embedding, and grow with
its largest number: float32 has 7 digits, so a vector in thousands cannot be equal to 1e-5. Those of scores
grow with the largest score of all: one near 0 is a sum of numbers as large as those of the others.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from minilmx.errors import ExportError, boundary
from minilmx.export.model import ExportableModel
from minilmx.models.batching import pack
from minilmx.models.interface import LAST_HIDDEN_STATE, SCORE, SENTENCE_EMBEDDING
from minilmx.models.manifest import GraphKind
from minilmx.models.sample_texts import pair_up, sample_texts
from minilmx.models.session_options import session_options
from minilmx.models.tokenizer import TokenBatch, TokenizedTexts, Tokenizer

MAX_ABS_EMBEDDING = 1e-5
MAX_ABS_HIDDEN = 1e-4


@dataclass(frozen=True, slots=True)
class Parity:
    """The largest absolute differences between the graphs and the model.

    `sentences`, or pairs of them, were compared, of `shortest` to `longest` tokens; `truncated` of them were
    longer than the sequence length. Padding tokens do not count. `max_abs_embedding` is of scores if the
    model is a cross-encoder, and `max_abs_hidden` is None then: its graphs do not give token embeddings.
    `max_abs_packed` is the packed graph's difference in embeddings, None without such a graph.
    """

    sentences: int
    shortest: int
    longest: int
    truncated: int
    max_abs_embedding: float
    max_abs_hidden: float | None
    max_abs_packed: float | None


def check_parity(graphs: Mapping[GraphKind, Path], tokenizer: Tokenizer, model: ExportableModel) -> Parity:
    """Run the model and the graphs, float32 ONNX files, on the same sentences, or pairs of them.

    The dynamic-shape graph runs at other batch sizes and lengths than the fixed one. Raises ExportError above
    1e-5 on the output or 1e-4 on last_hidden_state, times the vector's largest number, or the largest score,
    if that is above 1, or for anything not finite.
    """
    texts, gives_scores = sample_texts(tokenizer.shape.sequence_length), model.output == SCORE
    tokenized = tokenizer.encode_pairs(pair_up(texts)) if gives_scores else tokenizer.encode(texts)
    counts = tokenized.token_counts
    scale = 1.0
    if gives_scores:
        scale = find_scale(np.concatenate([model.run(batch)[1] for batch in tokenized.batches()]))
    worst = np.zeros(2)
    fixed, dynamic = graphs[GraphKind.FIXED], graphs[GraphKind.DYNAMIC]
    run_fixed, run_dynamic = _open_graph(fixed), _open_graph(dynamic)
    for batch in tokenized.batches():
        worst = np.maximum(worst, _compare(fixed.name, batch, model, run_fixed, scale))
    for rows in _ragged_groups(len(texts)):
        longest = counts[rows].max()
        feeds = {name: array[rows, :longest] for name, array in tokenized.tokens.feeds().items()}
        batch = TokenBatch(**feeds)
        worst = np.maximum(worst, _compare(dynamic.name, batch, model, run_dynamic, scale))
    packed = graphs.get(GraphKind.PACKED)
    return Parity(
        len(texts),
        int(counts.min()),
        int(counts.max()),
        int(tokenized.truncated.sum()),
        float(worst[0]),
        None if gives_scores else float(worst[1]),
        _check_packed(packed, tokenized, model) if packed else None,
    )


def _check_packed(packed: Path, texts: TokenizedTexts, model: ExportableModel) -> float:
    """Max abs difference of the packed embeddings from the model's, within the limit."""
    session = open_session(packed)
    segments = int(session.get_outputs()[0].shape[1])
    expected = np.concatenate([model.run(batch)[1] for batch in texts.batches()])
    worst = 0.0
    for batch in pack(texts, segments):
        (found,) = session.run([SENTENCE_EMBEDDING], batch.feeds())
        is_used = batch.texts >= 0
        theirs = expected[batch.texts[is_used]]
        worst = max(worst, float(np.abs(found[is_used] - theirs).max()))
        relative = relative_difference(found[is_used], theirs)
        if not (relative <= MAX_ABS_EMBEDDING and np.isfinite(found).all()):
            raise ExportError(
                f"{packed.name}: an embedding differs from the model's by up to {relative:.3g}, relative to "
                f"its size; expected finite numbers and at most {MAX_ABS_EMBEDDING:g}"
            )
    return worst


def open_session(path: Path) -> onnxruntime.InferenceSession:
    """An ONNX file on onnxruntime's CPU provider. Raises ExportError."""
    options = session_options("all", threads=None)
    with boundary(ExportError, f"{path.name}: onnxruntime cannot load it"):
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _open_graph(path: Path) -> Callable[[TokenBatch], dict[str, NDArray[np.float32]]]:
    session = open_session(path)
    names = [output.name for output in session.get_outputs()]

    def run(batch: TokenBatch) -> dict[str, NDArray[np.float32]]:
        return dict(zip(names, session.run(names, batch.feeds()), strict=True))

    return run


def relative_difference(
    found: NDArray[np.float32], expected: NDArray[np.float32], scale: float = 1.0
) -> float:
    """The largest difference of a number, divided by the largest number of its expected vector, or by `scale`
    if that is larger.

    Vectors are along the last axis. NaN or infinity gives NaN or infinity.
    """
    size = np.maximum(scale, np.abs(expected).max(axis=-1, keepdims=True))
    return float((np.abs(found - expected) / size).max())


def find_scale(scores: NDArray[np.float32]) -> float:
    """The size of the largest score, at least 1. NaN gives NaN."""
    return float(np.maximum(1, np.abs(scores).max()))


def _ragged_groups(size: int) -> Sequence[slice]:
    """Slices of 1, 2, 3, ... rows that cover all rows."""
    groups, start, width = [], 0, 1
    while start < size:
        groups.append(slice(start, start + width))
        start, width = start + width, width + 1
    return groups


def _compare(
    name: str,
    batch: TokenBatch,
    model: ExportableModel,
    run: Callable[[TokenBatch], dict[str, NDArray[np.float32]]],
    scale: float,
) -> list[float]:
    """Max abs difference of the output and, if the graph gives them, of token embeddings, within limits."""
    (wanted_hidden, pooled), outputs = model.run(batch), run(batch)
    attended = batch.attention_mask == 1
    compared = [(model.output, MAX_ABS_EMBEDDING, outputs[model.output], pooled)]
    if (hidden := outputs.get(LAST_HIDDEN_STATE)) is not None:
        compared.append((LAST_HIDDEN_STATE, MAX_ABS_HIDDEN, hidden[attended], wanted_hidden[attended]))
    worst = []
    for what, limit, found, expected in compared:
        relative = relative_difference(found, expected, scale if what == model.output else 1.0)
        if not relative <= limit:  # also true for NaN
            raise ExportError(
                f"{name}: {what} differs from the model's by up to {relative:.3g}, relative to its size, at "
                f"{attended.sum(axis=1).max()} tokens; expected at most {limit:g}"
            )
        worst.append(float(np.abs(found - expected).max()))
    return worst
