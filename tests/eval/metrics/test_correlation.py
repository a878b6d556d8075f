"""Spearman and Pearson correlation, compared with slow loops and sentence-transformers."""

import math
import warnings

import numpy as np
import pytest
from numpy.typing import NDArray

from minilmx.embedding.similarity import cosine_similarity
from minilmx.eval.metrics.correlation import Scores, correlate

Floats = NDArray[np.float32]


def embeddings(rows: int, seed: int) -> Floats:
    return np.random.default_rng(seed).normal(size=(rows, 12)).astype(np.float32)


def slow_cosine(left: Floats, right: Floats) -> float:
    dot = sum(float(a) * float(b) for a, b in zip(left, right, strict=True))
    sizes = [math.sqrt(sum(float(a) ** 2 for a in side)) for side in (left, right)]
    return dot / (sizes[0] * sizes[1])


def slow_ranks(values: list[float]) -> list[float]:
    """Ranks from 1; equal values share the mean of their ranks."""
    return [
        sum(other < value for other in values) + (sum(other == value for other in values) + 1) / 2
        for value in values
    ]


def slow_pearson(first: list[float], second: list[float]) -> float:
    means = sum(first) / len(first), sum(second) / len(second)
    left, right = [x - means[0] for x in first], [y - means[1] for y in second]
    top = sum(x * y for x, y in zip(left, right, strict=True))
    return top / math.sqrt(sum(x * x for x in left) * sum(y * y for y in right))


def test_cosine_similarity_equals_a_slow_loop() -> None:
    first, second = embeddings(20, 1), embeddings(20, 2)
    expected = [slow_cosine(*rows) for rows in zip(first, second, strict=True)]
    found = cosine_similarity(first, second)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_cosine_similarity_does_not_depend_on_length() -> None:
    first, second = embeddings(5, 1), embeddings(5, 2)
    scale = np.array([[1e-12], [1e-3], [1], [1e6], [1e12]], np.float32)
    np.testing.assert_allclose(
        cosine_similarity(first * scale, second), cosine_similarity(first, second), rtol=1e-6
    )


def test_cosine_similarity_of_a_zero_row_is_nan_without_a_warning() -> None:
    first, second = embeddings(3, 1), embeddings(3, 2)
    first[1] = 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = cosine_similarity(first, second)
    assert np.isnan(found).tolist() == [False, True, False]


def test_scores_equal_slow_loops_with_ties() -> None:
    first, second = embeddings(40, 3), embeddings(40, 4)
    first[10], second[10] = first[11], second[11]  # a tie in the similarities
    gold = np.random.default_rng(5).integers(0, 6, 40).astype(np.float64)  # many in gold
    similarities = [slow_cosine(*rows) for rows in zip(first, second, strict=True)]
    found = correlate(cosine_similarity(first, second), gold)
    assert found.pearson == pytest.approx(slow_pearson(similarities, gold.tolist()), abs=1e-12)
    ranks = slow_ranks(similarities), slow_ranks(gold.tolist())
    assert found.spearman == pytest.approx(slow_pearson(*ranks), abs=1e-12)


def test_scores_equal_those_of_sentence_transformers() -> None:
    reason = "compares with sentence-transformers"
    pytest.importorskip("torch", reason=reason)
    evaluation = pytest.importorskip("sentence_transformers.sentence_transformer.evaluation", reason=reason)
    first, second = embeddings(60, 6), embeddings(60, 7)
    gold = np.random.default_rng(8).random(60) * 5
    names1, names2 = [f"a{i}" for i in range(60)], [f"b{i}" for i in range(60)]
    rows = dict(zip(names1 + names2, np.concatenate([first, second]), strict=True))
    evaluator = evaluation.EmbeddingSimilarityEvaluator(
        names1, names2, (gold / 5).tolist(), similarity_fn_names=["cosine"], write_csv=False
    )

    def encode(model: object, sentences: list[str], **_: object) -> object:
        return np.stack([rows[sentence] for sentence in sentences])

    def keep_no_card(*_: object) -> None: ...

    evaluator.embed_inputs = encode
    evaluator.store_metrics_in_model_card_data = keep_no_card
    expected = evaluator(None)
    found = correlate(cosine_similarity(first, second), gold)
    assert found.spearman == pytest.approx(expected["spearman_cosine"], abs=1e-6)
    assert found.pearson == pytest.approx(expected["pearson_cosine"], abs=1e-6)


def test_a_perfect_order_scores_1_and_its_reverse_minus_1() -> None:
    angles = np.linspace(0, 1.5, 9)
    first = np.stack([np.ones(9), np.zeros(9)], axis=1).astype(np.float32)
    second = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    gold = np.arange(9.0)
    assert correlate(cosine_similarity(first, second), gold[::-1].copy()).spearman == pytest.approx(1)
    assert correlate(cosine_similarity(first, second), gold).spearman == pytest.approx(-1)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 0.0])
def test_scores_are_undefined_if_a_row_has_no_direction(value: float) -> None:
    first = embeddings(6, 1)
    first[3] = value
    assert correlate(cosine_similarity(first, embeddings(6, 2)), np.arange(6.0)) == Scores(None, None)


def test_scores_are_undefined_if_all_values_are_the_same() -> None:
    same = np.ones((6, 4), np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert correlate(cosine_similarity(same, same), np.arange(6.0)) == Scores(None, None)
        constant_gold = correlate(cosine_similarity(embeddings(6, 1), embeddings(6, 2)), np.full(6, 3.0))
    assert constant_gold == Scores(None, None)
