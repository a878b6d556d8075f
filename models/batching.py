"""Token batches for each kind of graph: padded rows, groups of one length, and packed rows.

A fixed graph takes rows padded to its sequence length. A dynamic-shape graph takes texts of exactly
one length, so nothing is padded. A packed graph takes rows that hold several texts one after
another, each a segment that attends to itself alone; STSb's sentences fill 99% of such rows of 128
tokens.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from minilmx.models.artifact import Artifact
from minilmx.models.interface import PACKED_INPUT_NAMES
from minilmx.models.manifest import GraphKind
from minilmx.models.tokenizer import TokenBatch, TokenizedTexts

# Tokens a batch. Fewer leave matrix products small; more do not fit the caches of a core. Half and
# twice as many were within 4% on both runners and workloads of benchmarks/ (AMD Zen 5).
BATCH_TOKENS = 1024


class Batch(Protocol):
    """What a runner is fed: a TokenBatch, or a PackedBatch where the graph is packed."""

    def feeds(self) -> dict[str, NDArray[np.int64]]:
        """The graph's inputs by name, each int64 [B, S]."""


Fed = tuple[Batch, NDArray[np.int64]]


def feed_batches(texts: TokenizedTexts, artifact: Artifact) -> Iterator[Fed]:
    """Each batch for the artifact's graph, and which text each of its embeddings is of.

    The second part is int64 [B], or [B, N] for a packed graph; -1 marks an embedding of no text.
    """
    if artifact.graph_kind == GraphKind.PACKED:
        for packed in pack(texts, artifact.texts_per_row):
            yield packed, packed.texts
    elif artifact.graph_kind == GraphKind.DYNAMIC:
        yield from group_by_length(texts)
    else:
        for number, batch in enumerate(texts.batches()):
            rows = number * texts.shape.batch_size + np.arange(texts.shape.batch_size)
            yield batch, np.where(rows < len(texts), rows, -1)


def group_by_length(texts: TokenizedTexts) -> Iterator[tuple[TokenBatch, NDArray[np.int64]]]:
    """Batches of int64 [b, s] with b * s at most BATCH_TOKENS, and which text each row is.

    The longest come first, so that the last batches, which some thread waits for, are short.
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
    """Model inputs, each int64 [B, S], and whose texts they are.

    `position_ids` restart at 0 with each segment. `segment_ids` tells which segment of its row
    a token belongs to, from 1; 0 is padding. `texts` is int64 [B, N]: the text in each
    segment's place, or -1 where the place is empty.
    """

    input_ids: NDArray[np.int64]
    position_ids: NDArray[np.int64]
    segment_ids: NDArray[np.int64]
    texts: NDArray[np.int64]

    def feeds(self) -> dict[str, NDArray[np.int64]]:
        """The arrays by graph input name."""
        return {name: getattr(self, name) for name in PACKED_INPUT_NAMES}


def pack(texts: TokenizedTexts, segments: int) -> Iterator[PackedBatch]:
    """Put all texts into rows of at most `segments` texts, and the rows into batches.

    The last batch may have empty rows. Which text shares a row with which depends on the
    lengths alone.
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
    """Best fit, longest first: the texts (by index) of each row.

    Each text goes into the open row with the least room that still holds it; a row of
    `segments` texts is closed. Every length is 1 to `capacity`.
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
