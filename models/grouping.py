"""Texts of exactly one length in a batch: what a graph with dynamic axes is fed.

Nothing is padded, so nothing is computed in vain.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from minilmx.models.tokenizer import TokenBatch, TokenizedTexts

# Tokens a batch. Fewer leave matrix products small; more do not fit the caches of a core. Half and
# twice as many were within 4% on both runners and workloads of benchmarks/ (AMD Zen 5).
BATCH_TOKENS = 1024


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
