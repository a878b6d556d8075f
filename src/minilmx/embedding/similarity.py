"""How similar embeddings are, by the model's own measure."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from minilmx.models.manifest import COSINE


def cosine_similarity(first: NDArray[np.float32], second: NDArray[np.float32]) -> NDArray[np.float64]:
    """Row by row cosine similarity of two float32 [N, D] arrays, in float64: [N].

    NaN for a row that is all zeros or not finite.
    """
    left, right = first.astype(np.float64), second.astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        norms = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
        return np.asarray(np.einsum("nd,nd->n", left, right) / norms)


def measure_similarity(
    first: NDArray[np.float32], second: NDArray[np.float32], similarity: str
) -> NDArray[np.float64]:
    """Row by row similarity of two float32 [N, D] arrays, in float64: [N].

    `similarity` is "cosine", "dot", "euclidean" or "manhattan"; the last two are the negative distance.
    """
    if similarity == COSINE:
        return cosine_similarity(first, second)
    left, right = first.astype(np.float64), second.astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        if similarity == "dot":
            return np.asarray(np.einsum("nd,nd->n", left, right))
        order = {"manhattan": 1, "euclidean": 2}[similarity]
        return np.asarray(-np.linalg.norm(left - right, ord=order, axis=1))


def unit_rows(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """float32 [N, D] scaled to unit length. NaN for a row that is all zeros."""
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)


def closeness(queries: NDArray[np.float32], documents: NDArray[np.float32], similarity: str) -> NDArray[Any]:
    """Similarity of each of Q rows with each of N: [Q, N], float64 for a distance and float32 otherwise.

    `similarity` is as in `measure_similarity`; the rows for a cosine are at unit length already.
    """
    if similarity in ("euclidean", "manhattan"):
        from scipy.spatial import distance  # here, as it takes a while and few models need it

        if similarity == "euclidean":
            return np.asarray(-distance.cdist(queries, documents, "euclidean"))
        return np.asarray(-distance.cdist(queries, documents, "cityblock"))
    # numpy computes the product of a matrix with itself in another way, which rounds otherwise.
    if np.may_share_memory(queries, documents):
        documents = documents.copy()
    return np.asarray(queries @ documents.T)
