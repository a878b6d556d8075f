"""Whether a search returns the same neighbours, and whether an existing index can be kept."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from msgspec import UNSET, UnsetType
from numpy.typing import NDArray

from minilmx.embedding.similarity import closeness, unit_rows
from minilmx.eval.datasets.search import SearchTexts
from minilmx.models.manifest import COSINE

TOP = 10
# An existing index can be kept if queries of the new runner still find 99 of 100 neighbours in it.
MIN_MIXED_RECALL = 0.99
_BLOCK_ROWS, _BLOCK_DOCUMENTS = 512, 16_384  # 32 MiB of similarities at a time
_MOST_CHANGED = 10

Rows = NDArray[np.float32]
Neighbours = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class ChangedQuery:
    """A query by its id, how many of the reference's nearest 10 it lost, and the first rank that changed.

    `text` is left out unless texts are to be kept.
    """

    query: str
    lost: int
    first_flipped_rank: int
    text: str | UnsetType = UNSET


@dataclass(frozen=True, slots=True)
class RetrievalDrift:
    """Each of N different sentences as a query against all others, by the model's similarity.

    A search in a corpus of its own has queries against `documents`, and names the queries that changed most
    in `most_changed`; both are left out otherwise. Queries and documents are embedded with their own prompts
    if the model has such prompts.
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
    documents: int | UnsetType = UNSET
    most_changed: tuple[ChangedQuery, ...] | UnsetType = UNSET

    @property
    def meaning(self) -> str:
        """The mixed-index verdict as a plain sentence."""
        share = f"{100 * self.mixed_recall_at_10:.2f}% of the 10 nearest neighbours"
        if self.index_may_stay:
            return f"An existing index can be kept: new queries find {share} in it."
        if self.mixed_recall_at_10 >= MIN_MIXED_RECALL:
            share = f"{100 * self.mixed_recall_at_1:.2f}% of the nearest neighbours"
        return f"Embed the index again: new queries find only {share} in the existing one."


@dataclass(frozen=True, slots=True)
class Sides:
    """Embeddings of the same N texts as the queries and as the documents of a search, float32 [N, D]."""

    queries: Rows
    documents: Rows


@dataclass(frozen=True, slots=True)
class FoundNeighbours:
    """The 10 nearest of each of Q queries, int64 [Q, 10] each.

    `reference` and `candidate` are those in their own index, and `mixed` those that the candidate's queries
    find in the reference's index.
    """

    reference: Neighbours
    candidate: Neighbours
    mixed: Neighbours

    @property
    def hits(self) -> NDArray[np.int64]:
        """How many of the nearest 1 and 10 of `reference` are in `candidate`, and in `mixed`: [Q, 4]."""
        return np.column_stack([*_hits(self.reference, self.candidate), *_hits(self.reference, self.mixed)])


def measure_retrieval(
    reference: Rows | Sides, candidate: Rows | Sides, texts: list[str], similarity: str
) -> RetrievalDrift | None:
    """`compare_neighbours` of what `find_neighbours` finds, or None."""
    neighbours = find_neighbours(reference, candidate, texts, similarity)
    return None if neighbours is None else compare_neighbours(neighbours)


def find_neighbours(
    reference: Rows | Sides, candidate: Rows | Sides, texts: list[str], similarity: str
) -> FoundNeighbours | None:
    """The neighbours of float32 [N, D] embeddings, each text once.

    `similarity` is "cosine", "dot", "euclidean" or "manhattan". None for fewer than 12 different
    texts, or if an embedding is zero or not finite.
    """
    keep = np.sort(np.unique(np.array(texts, dtype=object), return_index=True)[1])
    first, second = (_kept(rows, keep, similarity) for rows in (reference, candidate))
    n = len(keep)
    sides = (first.queries, first.documents, second.queries, second.documents)
    if n < TOP + 2 or not all(np.isfinite(rows).all() for rows in sides):
        return None
    return FoundNeighbours(
        _search(first.queries, first.documents, similarity, others=True),
        _search(second.queries, second.documents, similarity, others=True),
        _search(second.queries, first.documents, similarity, others=True),
    )


def find_nearest(queries: Rows, documents: Rows, similarity: str) -> Neighbours | None:
    """The numbers of the 10 nearest documents of each query, nearest first: int64 [Q, 10].

    `queries` are float32 [Q, D], and `documents` float32 [N, D] of at least 10. The search is exact, and of
    equally near documents the first comes first. None if an embedding is zero or not finite.
    """
    if similarity == COSINE:
        queries, documents = unit_rows(queries), unit_rows(documents)
    if not (np.isfinite(queries).all() and np.isfinite(documents).all()):
        return None
    return _search(queries, documents, similarity)


def compare_neighbours(
    neighbours: FoundNeighbours, search: SearchTexts | None = None, *, keep_text: bool = False
) -> RetrievalDrift:
    """What has changed for Q queries: of a search with its texts, also for which queries the most.

    With `keep_text`, these have their texts.
    """
    truth, candidates = neighbours.reference, neighbours.candidate
    n, differs = len(truth), truth != candidates
    changed = np.flatnonzero(differs.any(axis=1))
    flipped = differs[changed].argmax(axis=1) + 1
    hits = neighbours.hits
    recall, mixed_recall = hits.sum(axis=0).reshape(2, 2) / (n, n * TOP)
    documents: int | UnsetType = UNSET
    most_changed: tuple[ChangedQuery, ...] | UnsetType = UNSET
    if search is not None:
        kept = hits[changed, 1]
        worst = np.lexsort((changed, flipped, kept))[:_MOST_CHANGED]
        documents = len(search.documents)
        most_changed = tuple(
            ChangedQuery(
                search.query_ids[changed[i]],
                TOP - int(kept[i]),
                int(flipped[i]),
                search.queries[changed[i]] if keep_text else UNSET,
            )
            for i in worst
        )
    return RetrievalDrift(
        queries=n,
        recall_at_1=float(recall[0]),
        recall_at_10=float(recall[1]),
        changed_queries=len(changed),
        first_flipped_rank=int(flipped.min()) if len(changed) else None,
        median_flipped_rank=float(np.median(flipped)) if len(changed) else None,
        mixed_recall_at_1=float(mixed_recall[0]),
        mixed_recall_at_10=float(mixed_recall[1]),
        index_may_stay=bool(mixed_recall.min() >= MIN_MIXED_RECALL),
        documents=documents,
        most_changed=most_changed,
    )


def _kept(rows: Rows | Sides, keep: Neighbours, similarity: str) -> Sides:
    """The rows to keep, normalised for a cosine. Rows without sides are queries and documents alike."""

    def prepare(side: Rows) -> Rows:
        return unit_rows(side[keep]) if similarity == COSINE else side[keep]

    if isinstance(rows, Sides):
        return Sides(prepare(rows.queries), prepare(rows.documents))
    both = prepare(rows)
    return Sides(both, both)


def _search(queries: Rows, documents: Rows, similarity: str, *, others: bool = False) -> Neighbours:
    """The 10 nearest documents of each query, nearest first: [Q, 10]. With `others`, none is its own."""
    neighbours = np.empty((len(queries), TOP), np.int64)
    for start in range(0, len(queries), _BLOCK_ROWS):
        block = queries[start : start + _BLOCK_ROWS]
        close = np.empty((len(block), 0), np.float32)
        near = np.empty((len(block), 0), np.int64)
        for first in range(0, len(documents), _BLOCK_DOCUMENTS):
            part = documents[first : first + _BLOCK_DOCUMENTS]
            fresh = closeness(block, part, similarity)
            if others:
                rows = np.arange(start, start + len(block)) - first
                is_here = (rows >= 0) & (rows < len(part))
                fresh[np.flatnonzero(is_here), rows[is_here]] = -np.inf
            numbers = np.broadcast_to(np.arange(first, first + len(part)), fresh.shape)
            close, near = _first(np.hstack([close, fresh]), np.hstack([near, numbers]))
        neighbours[start : start + len(block)] = near
    return neighbours


def _first(close: NDArray[Any], near: Neighbours) -> tuple[NDArray[Any], Neighbours]:
    """The 10 closest of each row, closest first, and of equal ones the first."""
    keep = min(TOP, close.shape[1])
    least = np.partition(close, -keep, axis=1)[:, -keep]
    rows, columns = np.nonzero(close >= least[:, None])
    order = np.lexsort((columns, -close[rows, columns], rows))  # at least `keep` in each row
    starts = np.searchsorted(rows, np.arange(len(close)))
    chosen = columns[order][starts[:, None] + np.arange(keep)]
    return np.take_along_axis(close, chosen, axis=1), np.take_along_axis(near, chosen, axis=1)


def _hits(truth: Neighbours, candidates: Neighbours) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """How many of the true nearest 1 and nearest 10 each query found."""
    at_10 = (truth[:, :, None] == candidates[:, None, :]).any(axis=2).sum(axis=1)
    return (truth[:, 0] == candidates[:, 0]).astype(np.int64), at_10
