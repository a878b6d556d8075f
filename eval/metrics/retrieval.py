"""Whether a search returns the same neighbours, and whether an existing index may stay."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import distance

from minilmx.models.manifest import COSINE

TOP = 10
# An existing index may stay if queries of the new runner still find 99 of 100 neighbours in it.
MIN_MIXED_RECALL = 0.99
_BLOCK_ROWS = 512

Rows = NDArray[np.float32]
Neighbours = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class RetrievalDrift:
    """Each of N different sentences as a query against all others, by the model's similarity.

    Queries and documents are embedded with their own prompts if the model has such prompts.
    Recall is of the reference's nearest 1 and 10, in the candidate's own index, and "mixed":
    the candidate's queries in the reference's index. `changed_queries` have another order within
    the first 10; `first_flipped_rank` is the highest rank, 1 to 10, that changed in any query
    (None if none did), `median_flipped_rank` that of the changed queries.
    """

    queries: int
    recall_at_1: float
    recall_at_10: float
    changed_queries: int
    first_flipped_rank: int | None
    median_flipped_rank: float | None
    mixed_recall_at_1: float
    mixed_recall_at_10: float
    index_may_stay: bool

    @property
    def meaning(self) -> str:
        """The mixed-index verdict as a plain sentence."""
        found = f"{100 * self.mixed_recall_at_10:.2f}% of the 10 nearest neighbours"
        if self.index_may_stay:
            return f"An existing index may stay: new queries find {found} in it."
        return f"Embed the index again: new queries find only {found} in the existing one."


@dataclass(frozen=True, slots=True)
class Sides:
    """Embeddings of the same N texts as the queries and as the documents of a search, float32 [N, D]."""

    queries: Rows
    documents: Rows


def measure_retrieval(
    reference: Rows | Sides, candidate: Rows | Sides, texts: list[str], similarity: str = COSINE
) -> RetrievalDrift | None:
    """Compare the neighbours of float32 [N, D] embeddings, each text once.

    `similarity` is "cosine", "dot", "euclidean" or "manhattan". None for fewer than 12 different
    texts, or if an embedding is zero or not finite.
    """
    keep = np.sort(np.unique(np.array(texts, dtype=object), return_index=True)[1])
    first, second = (_kept(rows, keep, similarity) for rows in (reference, candidate))
    n = len(keep)
    sides = (first.queries, first.documents, second.queries, second.documents)
    if n < TOP + 2 or not all(np.isfinite(rows).all() for rows in sides):
        return None
    own, mixed, flipped = np.zeros(2), np.zeros(2), []
    for start in range(0, n, _BLOCK_ROWS):
        rows = np.arange(start, min(start + _BLOCK_ROWS, n))
        truth = _nearest(first.queries[rows], first.documents, rows, similarity)
        found = _nearest(second.queries[rows], second.documents, rows, similarity)
        own += _hits(truth, found)
        mixed += _hits(truth, _nearest(second.queries[rows], first.documents, rows, similarity))
        differs = truth != found
        flipped += (differs[differs.any(axis=1)].argmax(axis=1) + 1).tolist()
    recall, mixed_recall = own / (n, n * TOP), mixed / (n, n * TOP)
    return RetrievalDrift(
        queries=n,
        recall_at_1=float(recall[0]),
        recall_at_10=float(recall[1]),
        changed_queries=len(flipped),
        first_flipped_rank=min(flipped, default=None),
        median_flipped_rank=float(np.median(flipped)) if flipped else None,
        mixed_recall_at_1=float(mixed_recall[0]),
        mixed_recall_at_10=float(mixed_recall[1]),
        index_may_stay=bool(mixed_recall.min() >= MIN_MIXED_RECALL),
    )


def _kept(rows: Rows | Sides, keep: Neighbours, similarity: str) -> Sides:
    """The rows to keep, normalised for a cosine. Rows without sides are queries and documents alike."""

    def prepare(side: Rows) -> Rows:
        return _unit(side[keep]) if similarity == COSINE else side[keep]

    if isinstance(rows, Sides):
        return Sides(prepare(rows.queries), prepare(rows.documents))
    both = prepare(rows)
    return Sides(both, both)


def _unit(rows: Rows) -> Rows:
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)


def _nearest(queries: Rows, index: Rows, own: Neighbours, similarity: str) -> Neighbours:
    """The 10 nearest rows of the index for each query but itself, nearest first: [Q, 10]."""
    if similarity == "euclidean":
        close = -distance.cdist(queries, index, "euclidean")
    elif similarity == "manhattan":
        close = -distance.cdist(queries, index, "cityblock")
    else:
        close = np.asarray(queries @ index.T)
    close[np.arange(len(own)), own] = -np.inf
    top = np.argpartition(-close, TOP, axis=1)[:, :TOP]
    top.sort(axis=1)  # so that equal similarities keep the order of the index
    order = np.argsort(-np.take_along_axis(close, top, axis=1), axis=1, kind="stable")
    return np.asarray(np.take_along_axis(top, order, axis=1))


def _hits(truth: Neighbours, found: Neighbours) -> NDArray[np.float64]:
    """How many of the true nearest 1 and nearest 10 were found."""
    at_10 = (truth[:, :, None] == found[:, None, :]).any(axis=2).sum()
    return np.array([(truth[:, 0] == found[:, 0]).sum(), at_10], dtype=np.float64)
