"""Drift: the measured differences are the planted ones."""

import warnings

import numpy as np
import pytest
from numpy.typing import NDArray

from minilmx.errors import EvalError
from minilmx.eval.metrics.drift import measure_drift, measure_score_drift

Floats = NDArray[np.float32]

NUMBERS = ("max_abs", "mean_abs", "rms_abs", "p99_abs", "min_cosine", "mean_cosine")


@pytest.fixture
def reference() -> Floats:
    values = np.random.default_rng(1).normal(size=(50, 8))
    unit = values / np.linalg.norm(values, axis=1, keepdims=True)
    return np.asarray(unit, dtype=np.float32)


def test_the_same_embeddings_have_no_drift(reference: Floats) -> None:
    drift = measure_drift(reference, reference.copy())
    assert drift.finite
    assert (drift.max_abs, drift.mean_abs, drift.rms_abs, drift.p99_abs) == (0, 0, 0, 0)
    assert drift.min_cosine == pytest.approx(1, abs=1e-12)
    assert drift.mean_cosine == pytest.approx(1, abs=1e-12)


def test_planted_drift_in_known_elements_is_measured(reference: Floats) -> None:
    reference = np.asarray(np.round(reference * 1024) / 1024, np.float32)  # so that the sums below are exact
    candidate = reference.copy()
    candidate[3, 5] += 0.5
    candidate[7, 0] -= 0.25
    drift = measure_drift(reference, candidate)
    assert drift.max_abs == 0.5
    assert drift.mean_abs == pytest.approx(0.75 / 400, rel=1e-12)
    assert drift.rms_abs == pytest.approx(np.sqrt((0.25 + 0.0625) / 400), rel=1e-12)
    assert drift.p99_abs == 0  # 2 of 400 elements are fewer than 1 in 100
    rows = [
        float(a @ b / np.sqrt((a @ a) * (b @ b)))
        for a, b in zip(reference.astype(float), candidate.astype(float), strict=True)
    ]
    assert drift.min_cosine == pytest.approx(min(rows), abs=1e-12)
    assert drift.mean_cosine == pytest.approx(sum(rows) / 50, abs=1e-12)
    assert drift.min_cosine is not None
    assert drift.min_cosine < 0.95


def test_p99_equals_that_of_a_sorted_list(reference: Floats) -> None:
    noise = np.random.default_rng(2).normal(size=reference.shape).astype(np.float32)
    candidate = reference + noise
    differences = sorted(
        abs(float(a) - float(b)) for a, b in zip(candidate.flat, reference.flat, strict=True)
    )
    low = differences[395]  # position 0.99 * 399 = 395.01
    expected = low + 0.01 * (differences[396] - low)
    assert measure_drift(reference, candidate).p99_abs == pytest.approx(expected, rel=1e-12)


def test_drift_too_small_for_a_float32_sum_is_not_lost() -> None:
    """The arithmetic is float64: a million tiny differences keep their mean."""
    reference = np.ones((1000, 1000), np.float32)
    candidate = np.full_like(reference, np.nextafter(np.float32(1), np.float32(2)))
    drift = measure_drift(reference, candidate)
    assert drift.mean_abs == pytest.approx(2.0**-23, rel=1e-12)
    assert drift.max_abs == 2.0**-23


def test_drift_is_symmetric(reference: Floats) -> None:
    candidate = reference + np.float32(0.01)
    there, back = measure_drift(reference, candidate), measure_drift(candidate, reference)
    for name in NUMBERS:
        assert getattr(there, name) == getattr(back, name), name


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_drift_is_undefined_for_numbers_that_are_not_finite(value: float, reference: Floats) -> None:
    broken = reference.copy()
    broken[-1, -1] = value
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for pair in ((reference, broken), (broken, reference), (broken, broken)):
            drift = measure_drift(*pair)
            assert drift.finite is False
            for name in NUMBERS:
                assert getattr(drift, name) is None, name


def test_scores_that_are_all_zero_and_equal_did_not_move() -> None:
    zeros = np.zeros(5)
    assert measure_score_drift(zeros, zeros).max_relative == 0.0
    moved = measure_score_drift(zeros, zeros + 1e-9)
    assert moved.max_relative is None and moved.max_abs == 1e-9


def test_a_zero_embedding_has_drift_but_no_cosine(reference: Floats) -> None:
    candidate = reference.copy()
    candidate[4] = 0
    drift = measure_drift(reference, candidate)
    assert drift.finite
    assert drift.max_abs == pytest.approx(np.abs(reference[4]).max())
    assert (drift.min_cosine, drift.mean_cosine) == (None, None)


@pytest.mark.parametrize("shape", [(49, 8), (50, 7), (50,)])
def test_other_shapes_cannot_be_compared(shape: tuple[int, ...], reference: Floats) -> None:
    with pytest.raises(EvalError, match=r"shapes \[50, 8\] and .*; expected the same shape"):
        measure_drift(reference, np.zeros(shape, np.float32))


def test_empty_arrays_cannot_be_compared() -> None:
    with pytest.raises(EvalError, match="embeddings: none, "):
        measure_drift(np.zeros((0, 8), np.float32), np.zeros((0, 8), np.float32))
