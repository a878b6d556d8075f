"""Batch invariance: whether a text has the same embedding whatever it is embedded with."""

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.conftest import Mlx

from minilmx.embedding.embedder import Embedder
from minilmx.eval.invariance import BatchInvariance, measure_invariance
from minilmx.eval.results import Result
from minilmx.models.artifact import Artifact
from minilmx.models.manifest import GraphKind
from minilmx.models.tokenizer import TokenizedTexts, Tokenizer
from minilmx.runners.base import ALL_GRAPHS, Batch, Runner, RunnerEntry

TEXTS = [" ".join("abcdefghijkl"[: 1 + number % 12]) + f" {number}" for number in range(60)]
GRAPHS = pytest.mark.parametrize("graph", [GraphKind.FIXED, GraphKind.DYNAMIC])


class Mixing(Runner):
    """Each row is its token ids, plus a share of the whole batch's, as one scale per batch would do."""

    name = "mixing"

    def __init__(self, share: float) -> None:
        self.share = share

    def run(self, batch: Batch) -> NDArray[np.float32]:
        ids = batch.feeds()["input_ids"].astype(np.float32)
        sums = np.stack([np.sin(ids * (1 + number)).sum(axis=1) for number in range(8)], axis=1)
        return np.asarray(sums + self.share * sums.mean(axis=0), np.float32)


def mixing(share: float) -> RunnerEntry:
    return RunnerEntry(
        "mixing",
        "mixes the texts of a batch",
        lambda options: None,
        lambda artifact, options, progress: Mixing(share),
        graphs=ALL_GRAPHS,
    )


def measure(artifact: Artifact, runner: str | RunnerEntry, graph: GraphKind) -> BatchInvariance:
    texts = Tokenizer(artifact.tokenizer_file, artifact.shape).encode(TEXTS)
    with Embedder(artifact, runner, graph) as embedder:
        found = measure_invariance(embedder, texts, embedder.encode_tokenized(texts))
    assert found is not None
    return found


@GRAPHS
def test_a_runner_that_mixes_the_texts_of_a_batch_is_found(tiny_original: Artifact, graph: GraphKind) -> None:
    found = measure(tiny_original, mixing(0.1), graph)
    assert found.sentences == 24
    assert found.min_cosine < 0.999
    assert found.max_abs > 0.01
    assert not found.kept
    assert f"cosine {found.min_cosine:.6f} at the lowest" in found.meaning


@GRAPHS
@pytest.mark.parametrize("runner", ["onnxruntime", mixing(0.0)], ids=["onnxruntime", "plain"])
def test_a_runner_that_does_not_is_not(
    tiny_original: Artifact, graph: GraphKind, runner: str | RunnerEntry
) -> None:
    found = measure(tiny_original, runner, graph)
    assert found.kept
    assert found.max_abs < 1e-6


def test_the_sample_has_the_shortest_and_the_longest_text(tiny_original: Artifact) -> None:
    seen: list[int] = []

    class Counting(Mixing):
        def run(self, batch: Batch) -> NDArray[np.float32]:
            seen.extend(batch.feeds()["attention_mask"].sum(axis=1).tolist())
            return super().run(batch)

    entry = RunnerEntry(
        "counting", "", lambda options: None, lambda *opened: Counting(0.0), graphs=ALL_GRAPHS
    )
    texts: TokenizedTexts = Tokenizer(tiny_original.tokenizer_file, tiny_original.shape).encode(TEXTS)
    with Embedder(tiny_original, entry, GraphKind.DYNAMIC) as embedder:
        found = embedder.encode_tokenized(texts)
        seen.clear()
        measure_invariance(embedder, texts, found)
    counts = texts.token_counts
    assert len(seen) == 2 * 24  # alone, and among the others
    assert {int(counts.min()), int(counts.max())} <= set(seen)
    assert len(set(seen)) > 8


def test_every_report_shows_it_for_every_runner(result: Result) -> None:
    (evaluation,) = result.evaluations
    assert [each.invariance and each.invariance.kept for each in evaluation.runners] == [True, True]
    for form in ("table", "html", "markdown", "junit"):
        text = result.render(form)
        assert "min cosine in other batches" in text, form
        assert "max abs in other batches" in text, form
    assert "In other batches, 24 sentences" in result.render("table")
    assert 'name="groq-emulator: min cosine in other batches" value="1.00000000"' in result.render("junit")


def test_each_runner_runs_the_graph_that_run_takes(result: Result) -> None:
    (evaluation,) = result.evaluations
    assert [(each.runner, each.graph) for each in evaluation.runners] == [
        ("onnxruntime", "dynamic"),
        ("groq-emulator", "fixed"),
    ]
    assert "dynamic graph: onnxruntime; fixed graph: groq-emulator" in result.render("table")


def test_it_has_a_limit_that_does_not_replace_the_preset(tiny: Path, mlx: Mlx) -> None:
    both = ("--runner", "onnxruntime", "--runner", "groq-emulator", "--limit", "20")
    outcome = mlx("eval", tiny, *both, "--min-batch-cosine", "0.999999", "--max-batch-abs", "1e-6")
    assert outcome.code == 0, outcome
    assert outcome.stdout.count("PASS  ") == 4
    assert outcome.stdout.startswith("SAME: ")
    outcome = mlx("eval", tiny, *both, "--min-batch-cosine", "0.5", "--preset", "float32")
    assert outcome.code == 1, (
        outcome
    )  # float16 is not float32, and no limit of the comparison's says otherwise
    outcome = mlx("eval", tiny, "--runner", "onnxruntime", "--limit", "20", "--min-batch-cosine", "1.5")
    assert outcome.code == 1, outcome


def test_saved_embeddings_have_none(mlx: Mlx, tmp_path: Path) -> None:
    values = np.random.default_rng(0).standard_normal((20, 8)).astype(np.float32)
    for name in ("a.npy", "b.npy"):
        np.save(tmp_path / name, values)
    outcome = mlx("compare", "a.npy", "b.npy", "-o", "c.json")
    assert outcome.code == 0, outcome
    assert outcome.stdout.count("not measured") == 4
    assert json.loads((tmp_path / "c.json").read_text())["evaluations"][0]["runners"][0]["invariance"] is None
    outcome = mlx("compare", "a.npy", "b.npy", "--min-batch-cosine", "0.9")
    assert outcome.code == 1, outcome
    assert "min_batch_cosine 0.9: not measured" in outcome.stdout
