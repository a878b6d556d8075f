"""Every number of a comparison equals a slow or independent computation, on real embeddings."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from minilmx.embedding.embedder import Embedder
from minilmx.eval.comparison import Comparison, compare
from minilmx.eval.datasets.pairs import SentencePairs, load_pairs
from minilmx.eval.metrics.bootstrap import compare_correlations
from minilmx.eval.metrics.correlation import pair_similarities
from minilmx.eval.metrics.drift import measure_drift
from minilmx.eval.metrics.ranks import measure_ranks
from minilmx.eval.metrics.retrieval import measure_retrieval
from minilmx.models.artifact import Artifact
from minilmx.models.tokenizer import Tokenizer

Rows = NDArray[np.float32]


@pytest.fixture(scope="module")
def pairs() -> SentencePairs:
    return load_pairs("bundled", limit=100)


@pytest.fixture(scope="module")
def exact(artifact: Artifact, pairs: SentencePairs) -> Rows:
    with Embedder(artifact, "onnxruntime", artifact.graph_kind) as runner:
        return runner.encode(pairs.texts)


@pytest.fixture(scope="module")
def noisy(exact: Rows) -> Rows:
    noise = np.random.default_rng(3).normal(scale=0.004, size=exact.shape)
    return (exact + noise).astype(np.float32)


@pytest.fixture(scope="module")
def counts(artifact: Artifact, pairs: SentencePairs) -> NDArray[np.int64]:
    return Tokenizer(artifact.tokenizer_file, artifact.shape).encode(pairs.texts).token_counts


def compared(exact: Rows, other: Rows, pairs: SentencePairs, counts: NDArray[np.int64]) -> Comparison:
    return compare(exact, other.astype(np.float32), pairs, counts)


def cosines(rows: Rows) -> NDArray[np.float64]:
    wide = rows.astype(np.float64)
    unit = wide / np.sqrt((wide * wide).sum(axis=1, keepdims=True))
    return np.asarray(unit @ unit.T)


def test_percentiles_and_ulps_equal_those_of_numpy(exact: Rows, noisy: Rows) -> None:
    drift = measure_drift(exact, noisy)
    difference = np.sort(np.abs(noisy.astype(np.float64) - exact).ravel())
    assert drift.p50_abs == pytest.approx(np.median(difference))
    assert drift.p99_9_abs == pytest.approx(np.quantile(difference, 0.999))
    step = exact.copy()
    row, column = np.unravel_index(np.abs(exact).argmax(), exact.shape)
    half = np.float16(exact[row, column])
    step[row, column] += np.spacing(np.abs(half)).astype(np.float32)
    assert measure_drift(exact, step).max_ulps == pytest.approx(1, rel=1e-3)


def test_the_bootstrap_interval_equals_that_of_a_slow_loop(
    exact: Rows, noisy: Rows, pairs: SentencePairs
) -> None:
    before, after = pair_similarities(exact, "cosine"), pair_similarities(noisy, "cosine")
    found = compare_correlations(before, after, pairs.gold, resamples=400, seed=5)
    assert found.spearman.estimate == pytest.approx(
        stats.spearmanr(after, pairs.gold)[0] - stats.spearmanr(before, pairs.gold)[0], abs=1e-12
    )
    random = np.random.default_rng(5)
    draws = [random.integers(0, 100, size=(250, 100)), random.integers(0, 100, size=(150, 100))]
    spearman, pearson = [], []
    for rows in np.concatenate(draws):
        gold = pairs.gold[rows]
        spearman.append(stats.spearmanr(after[rows], gold)[0] - stats.spearmanr(before[rows], gold)[0])
        pearson.append(stats.pearsonr(after[rows], gold)[0] - stats.pearsonr(before[rows], gold)[0])
    assert (found.spearman.low, found.spearman.high) == pytest.approx(np.percentile(spearman, (2.5, 97.5)))
    assert (found.pearson.low, found.pearson.high) == pytest.approx(np.percentile(pearson, (2.5, 97.5)))


def test_the_same_seed_gives_the_same_interval_and_chance_is_reported_as_chance(
    exact: Rows, noisy: Rows, pairs: SentencePairs
) -> None:
    before, after = pair_similarities(exact, "cosine"), pair_similarities(noisy, "cosine")
    first = compare_correlations(before, after, pairs.gold, resamples=500)
    assert first == compare_correlations(before, after, pairs.gold, resamples=500)
    assert not first.spearman.excludes_zero and "beyond chance" in first.meaning
    worse = compare_correlations(before, -before, pairs.gold, resamples=500)
    assert worse.spearman.excludes_zero and "lower, and not by chance" in worse.meaning


def test_the_number_of_swaps_equals_that_of_a_slow_loop(
    exact: Rows, noisy: Rows, pairs: SentencePairs
) -> None:
    before, after = pair_similarities(exact, "cosine"), pair_similarities(noisy, "cosine")
    texts = list(zip(pairs.sentences1, pairs.sentences2, strict=True))
    swapped = [
        (i, j)
        for i, j in itertools.permutations(range(len(before)), 2)
        if before[i] > before[j] and after[i] < after[j]
    ]
    found = measure_ranks(before, after, texts)
    assert found.swaps == len(swapped) > 0
    assert found.comparisons == 100 * 99 // 2
    assert found.kendall_tau == pytest.approx(stats.kendalltau(before, after)[0])
    worst = max(
        swapped, key=lambda pair: (before[pair[0]] - before[pair[1]]) - (after[pair[0]] - after[pair[1]])
    )
    assert (found.worst[0].higher, found.worst[0].lower) == worst
    assert found.worst[0].higher_texts == texts[worst[0]]


def test_the_neighbours_equal_those_of_a_full_sort(exact: Rows, noisy: Rows, pairs: SentencePairs) -> None:
    found = measure_retrieval(exact, noisy, pairs.texts, "cosine")
    assert found is not None
    keep = sorted({text: index for index, text in reversed(list(enumerate(pairs.texts)))}.values())
    first, second = exact[keep], noisy[keep]

    def nearest(similarity: NDArray[np.float64]) -> list[list[int]]:
        return [
            sorted((j for j in range(len(row)) if j != i), key=lambda j: -row[j])[:10]
            for i, row in enumerate(similarity)
        ]

    unit = [rows / np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True) for rows in (first, second)]
    truth, own = nearest(cosines(first)), nearest(cosines(second))
    mixed = nearest(np.asarray(unit[1] @ unit[0].T))
    n = len(keep)
    assert found.queries == n
    assert found.recall_at_1 == pytest.approx(sum(a[0] == b[0] for a, b in zip(truth, own, strict=True)) / n)
    # Texts that are the same tokens tie, and float32 and float64 may break a tie differently.
    tie = 2 / (10 * n)
    at_10 = sum(len({*a} & {*b}) for a, b in zip(truth, own, strict=True)) / (10 * n)
    mixed_at_10 = sum(len({*a} & {*b}) for a, b in zip(truth, mixed, strict=True)) / (10 * n)
    assert 0.8 < at_10 < 1 and found.recall_at_10 == pytest.approx(at_10, abs=tie)
    assert 0.8 < mixed_at_10 < 1 and found.mixed_recall_at_10 == pytest.approx(mixed_at_10, abs=tie)
    changed = [(a, b) for a, b in zip(truth, own, strict=True) if a != b]
    assert found.changed_queries == pytest.approx(len(changed), abs=3)
    flips = [next(k for k in range(10) if a[k] != b[k]) + 1 for a, b in changed]
    assert found.first_flipped_rank == min(flips)


def test_an_index_may_stay_only_if_neighbours_are_still_found(exact: Rows, pairs: SentencePairs) -> None:
    same = measure_retrieval(exact, exact, pairs.texts, "cosine")
    assert same is not None and same.index_may_stay and same.changed_queries == 0
    turned = measure_retrieval(exact, np.roll(exact, 1, axis=1), pairs.texts, "cosine")
    assert turned is not None and not turned.index_may_stay and "again" in turned.meaning
    below = replace(same, mixed_recall_at_1=0.95, index_may_stay=False)
    assert below.meaning == (
        "Embed the index again: new queries find only 95.00% of the nearest neighbours in the existing one."
    )


def test_equal_embeddings_leave_an_index_that_may_stay_however_close_they_are() -> None:
    rows = 1 + 1e-3 * np.random.default_rng(0).normal(size=(200, 32)).astype(np.float32)
    found = measure_retrieval(rows, rows.copy(), [str(row) for row in range(len(rows))], "cosine")
    assert found is not None and found.index_may_stay
    assert found.recall_at_1 == found.recall_at_10 == found.mixed_recall_at_1 == found.mixed_recall_at_10 == 1


def test_planted_noise_is_found_in_its_sentences_and_dimensions(
    exact: Rows, pairs: SentencePairs, counts: NDArray[np.int64]
) -> None:
    planted = exact.copy()
    planted[17] += 0.05
    planted[:, 200] += 0.003
    profile = compared(exact, planted, pairs, counts).profile
    assert profile is not None
    assert profile.worst[0].text == pairs.texts[17]
    assert profile.worst[0].tokens == counts[17]
    assert int(np.argmax(profile.dimension_mean_abs)) == 200
    inside = [each for each in profile.by_length if each.shortest <= counts[17] <= each.longest]
    assert inside[0].max_abs == max(each.max_abs for each in profile.by_length)
    assert sum(profile.cosine.counts) == sum(profile.log10_max_abs.counts) == len(exact)


def test_the_change_of_each_pairs_cosine_equals_a_plain_loop(
    exact: Rows, noisy: Rows, pairs: SentencePairs, counts: NDArray[np.int64]
) -> None:
    found = compared(exact, noisy, pairs, counts)
    half = len(pairs)
    change = [
        abs(cosines(noisy[[i, half + i]])[0, 1] - cosines(exact[[i, half + i]])[0, 1]) for i in range(half)
    ]
    assert found.max_delta_cosine == pytest.approx(max(change))
    assert found.mean_delta_cosine == pytest.approx(np.mean(change))


def test_embeddings_that_are_not_finite_leave_the_rest_undefined(
    exact: Rows, pairs: SentencePairs, counts: NDArray[np.int64]
) -> None:
    broken = exact.copy()
    broken[3, 3] = np.nan
    found = compared(exact, broken, pairs, counts)
    assert not found.drift.finite
    assert (found.profile, found.correlation, found.ranks, found.retrieval) == (None,) * 4
