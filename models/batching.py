"""Token batches for each kind of graph: padded rows, groups of one length, and packed rows.

A fixed graph takes rows padded to its sequence length. A dynamic-shape graph takes texts of one
length at a time, so nothing is padded. A packed graph takes rows of several texts in sequence, each
a segment that attends only to itself; the sentences of STSb fill 99% of such rows of 128 tokens.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from minilmx.models.artifact import Artifact
from minilmx.models.interface import PACKED_INPUT_NAMES
from minilmx.models.manifest import GraphKind
from minilmx.models.tokenizer import TokenBatch, TokenizedTexts

# Tokens per batch. Fewer make the matrix products small; more exceed the caches of a core. From 384 to 1,024,
# all are within 4% of each other (docs/performance.md).
BATCH_TOKENS = 512


class Batch(Protocol):
    """What a runner is fed: a TokenBatch, or a PackedBatch if the graph is packed."""

    def feeds(self) -> dict[str, NDArray[Any]]:
        """The graph's inputs by name, each int64 [B, S]; the fixed graph's attention_mask may be bool."""


Fed = tuple[Batch, NDArray[np.int64]]


def feed_batches(texts: TokenizedTexts, artifact: Artifact) -> Iterator[Fed]:
    """Each batch for the artifact's graph, as `feed_graph`."""
    return feed_graph(texts, artifact.graph_kind, artifact.texts_per_row)


def feed_graph(texts: TokenizedTexts, kind: GraphKind, texts_per_row: int) -> Iterator[Fed]:
    """Each batch for a graph of this kind, and the index of the text that each embedding is of.

    The indices are int64 [B], or [B, N] for a packed graph with N = `texts_per_row`; -1 marks an embedding
    without a text.
    """
    if kind == GraphKind.PACKED:
        for packed in pack(texts, texts_per_row):
            yield packed, packed.texts
    elif kind == GraphKind.DYNAMIC:
        yield from group_by_length(texts)
    else:
        for number, batch in enumerate(texts.batches()):
            rows = number * texts.shape.batch_size + np.arange(texts.shape.batch_size)
            yield batch, np.where(rows < len(texts), rows, -1)


def feed_alone(texts: TokenizedTexts, artifact: Artifact) -> Iterator[Fed]:
    """As feed_batches, with no two texts in one batch."""
    for row in range(len(texts)):
        for batch, owners in feed_batches(texts.take(slice(row, row + 1)), artifact):
            yield batch, np.where(owners >= 0, row, -1)


def group_by_length(texts: TokenizedTexts) -> Iterator[tuple[TokenBatch, NDArray[np.int64]]]:
    """Batches of int64 [b, s] with b * s at most BATCH_TOKENS, and the text index of each row.

    The longest come first, so that threads wait only for short batches at the end.
    """
    counts = texts.token_counts
    order = np.argsort(-counts, kind="stable")
    start = 0
    while start < len(order):
        length = int(counts[order[start]])
        end = start + max(1, BATCH_TOKENS // length)
        rows = order[start:end]
        rows = rows[counts[rows] == length]
        arrays = {name: array[rows, :length] for name, array in texts.tokens.feeds().items()}
        yield TokenBatch(**{name: np.ascontiguousarray(array) for name, array in arrays.items()}), rows
        start += len(rows)


@dataclass(frozen=True, slots=True)
class PackedBatch:
    """Model inputs, each int64 [B, S], and the texts they hold.

    `position_ids` restart at 0 with each segment. `segment_ids` number the segment that a token
    belongs to, from 1 in each row; 0 is padding. `texts` is int64 [B, N]: the index of each
    segment's text, or -1 if the row has fewer segments.
    """

    input_ids: NDArray[np.int64]
    position_ids: NDArray[np.int64]
    segment_ids: NDArray[np.int64]
    texts: NDArray[np.int64]

    def feeds(self) -> dict[str, NDArray[Any]]:
        """The arrays by graph input name."""
        return {name: getattr(self, name) for name in PACKED_INPUT_NAMES}


def pack(texts: TokenizedTexts, segments: int) -> Iterator[PackedBatch]:
    """Put all texts into rows of at most `segments` texts, and the rows into batches.

    The last batch may have empty rows. Only the lengths decide which texts share a row.
    """
    size, length = texts.shape.batch_size, texts.shape.sequence_length
    counts = texts.token_counts
    rows = assign_rows(counts.tolist(), length, segments)
    for start in range(0, len(rows), size):
        ids = np.full((size, length), texts.pad_id, dtype=np.int64)
        positions, segment_ids = np.zeros_like(ids), np.zeros_like(ids)
        owners = np.full((size, segments), -1, dtype=np.int64)
        for row, members in enumerate(rows[start : start + size]):
            owners[row, : len(members)] = members
            end = 0
            for number, text in enumerate(members, start=1):
                begin, end = end, end + int(counts[text])
                ids[row, begin:end] = texts.tokens.input_ids[text, : end - begin]
                positions[row, begin:end] = np.arange(end - begin)
                segment_ids[row, begin:end] = number
        yield PackedBatch(ids, positions, segment_ids, owners)


def assign_rows(lengths: list[int], capacity: int, segments: int) -> list[list[int]]:
    """The texts (by index) of each row, by best fit with the longest first.

    Each text goes into the open row with the least room that still holds it; a row of
    `segments` texts is closed. Every length must be 1 to `capacity`.
    """
    rows: list[list[int]] = []
    open_rows: list[list[int]] = [[] for _ in range(capacity + 1)]  # by the room that is left
    for text in sorted(range(len(lengths)), key=lambda text: -lengths[text]):
        needed = lengths[text]
        room = next((room for room in range(needed, capacity + 1) if open_rows[room]), None)
        if room is None:
            row, room = len(rows), capacity
            rows.append([])
        else:
            row = open_rows[room].pop()
        rows[row].append(text)
        if len(rows[row]) < segments:
            open_rows[room - needed].append(row)
    return rows
