"""Real weights on real data have the numbers that are published and that we measured."""

from pathlib import Path

import pytest
from tests.conftest import FULL_SIZE

from minilmx.eval.datasets.pairs import load_pairs
from minilmx.eval.evaluation import Evaluation, RunnerResult, evaluate
from minilmx.eval.metrics.drift import Drift
from minilmx.models.artifact import Artifact

STSB = Path(__file__).parents[3] / "shared" / "stsb"

pytestmark = pytest.mark.skipif(not STSB.is_dir(), reason="needs the STSb data in ../shared/stsb")
full_size = pytest.mark.skipif(not FULL_SIZE, reason="takes minutes: set FULL_SIZE")


def stsb(language: str) -> str:
    return str(STSB / f"stsb-{language}-test.csv")


def spearman(result: RunnerResult) -> float:
    assert result.scores.spearman is not None
    return 100 * result.scores.spearman


def drift(result: RunnerResult) -> Drift:
    assert result.comparison is not None
    return result.comparison.drift


@pytest.fixture(scope="session")
def part(artifact: Artifact) -> Evaluation:
    """The first 40 pairs of STSb-en's test split, through three runners."""
    runners = ["onnxruntime", "torch", "groq-emulator"]
    return evaluate(artifact, runners, load_pairs(stsb("en"), limit=40), settings={"threads": 1})


@pytest.mark.slow
def test_stsb_english_has_its_published_spearman(artifact: Artifact) -> None:
    result = evaluate(artifact, ["onnxruntime"], load_pairs(stsb("en")))
    assert result.pairs == 1379
    assert result.truncated_sentences == 0
    assert spearman(result.runners[0]) == pytest.approx(82.0325, abs=1e-3)


def test_pytorch_agrees_with_the_exported_graph(part: Evaluation) -> None:
    reference, torch, _ = part.runners
    assert drift(torch).max_abs == pytest.approx(0, abs=1e-5)
    assert drift(torch).min_cosine == pytest.approx(1, abs=1e-6)
    assert spearman(torch) == pytest.approx(spearman(reference), abs=1e-3)


def test_the_emulator_drifts_like_float16(part: Evaluation) -> None:
    reference, _, emulator = part.runners
    found = drift(emulator)
    assert found.finite
    assert found.max_abs is not None
    assert 1e-4 < found.max_abs < 1e-3
    assert found.min_cosine is not None
    assert 0.9999 < found.min_cosine < 1 - 1e-7
    assert abs(spearman(emulator) - spearman(reference)) < 0.02


def test_layer_norm_comes_close_to_the_limit_of_float16(part: Evaluation) -> None:
    largest = part.runners[2].details["largest_magnitude"]
    assert isinstance(largest, float)
    assert 40_000 < largest < 65_504


@pytest.mark.slow
@full_size
def test_the_emulator_keeps_the_spearman_of_stsb_english(packed: Artifact) -> None:
    """On the packed graph, which takes a quarter of the tokens that the fixed one does."""
    result = evaluate(packed, ["onnxruntime", "groq-emulator"], load_pairs(stsb("en")), "packed")
    reference, emulator = result.runners
    assert abs(spearman(emulator) - spearman(reference)) < 0.02
    assert drift(emulator).max_abs == pytest.approx(5.6e-4, abs=2e-4)
    assert emulator.details["largest_magnitude"] == pytest.approx(50_072, rel=0.01)


@pytest.mark.slow
@full_size
def test_other_languages_have_their_published_spearman(complete: Artifact) -> None:
    """At 128 tokens: no test sentence in these languages is longer than 91."""
    for language, expected in {"de": 62.40, "fr": 64.93, "es": 61.62}.items():
        result = evaluate(complete, ["onnxruntime"], load_pairs(stsb(language)), "dynamic")
        assert result.truncated_sentences == 0
        assert spearman(result.runners[0]) == pytest.approx(expected, abs=0.01), language
