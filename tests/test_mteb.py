"""What `minilmx.load` returns is a model of mteb: local tasks, and scores that were computed without it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec import structs
from scipy import stats
from tests.conftest import needs

import minilmx
from minilmx.eval.datasets.pairs import SentencePairs, load_pairs
from minilmx.models.artifact import Artifact, open_artifact, seal

pytestmark = needs("mteb")

LIMIT = 60
STSB = Path(__file__).parents[2] / "shared" / "stsb" / "stsb-en-test.csv"


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture
def pairs() -> SentencePairs:
    if not STSB.is_file():
        pytest.skip("needs the STSb data in ../shared/stsb")
    return load_pairs(str(STSB), limit=LIMIT)


def pairs_task(first: list[str], second: list[str], gold: list[float]) -> Any:
    from tests.mteb_tasks import LocalPairs  # importing mteb takes seconds

    return LocalPairs(first, second, gold)


def search_task(queries: list[str], documents: list[str]) -> Any:
    from tests.mteb_tasks import LocalSearch

    return LocalSearch(queries, documents)


def scores(model: Any, task: Any) -> dict[str, Any]:
    import mteb

    result = mteb.evaluate(model, task, cache=None, co2_tracker=False, show_progress_bar=False)
    (found,) = result.task_results[0].scores["test"]
    return dict(found)


def ndcg_at_10(queries: np.ndarray, documents: np.ndarray) -> float:
    """Of queries whose one relevant document has the same number."""
    close = queries @ documents.T
    ranks = (close > np.diag(close[:, : len(queries)])[:, None]).sum(axis=1)
    return float(np.where(ranks < 10, 1 / np.log2(ranks + 2), 0).mean())


@pytest.mark.parametrize("graph", ["dynamic", "fixed"])
def test_the_scores_of_pairs_are_scipys_and_ours(
    artifact: Artifact, pairs: SentencePairs, graph: str
) -> None:
    gold = pairs.gold.tolist()
    with minilmx.load(artifact, graph=graph) as model:
        found = scores(model, pairs_task(pairs.sentences1, pairs.sentences2, gold))
        first, second = model.encode(pairs.sentences1), model.encode(pairs.sentences2)
    cosines = (first.astype(float) * second).sum(axis=1)
    assert found["main_score"] == pytest.approx(stats.spearmanr(cosines, gold).statistic, abs=1e-5)
    result = minilmx.evaluate(artifact, ["onnxruntime"], str(STSB), limit=LIMIT, graph=graph)
    ours = result.evaluations[0].runners[0]
    for name in ("spearman", "cosine_spearman"):
        assert found[name] == pytest.approx(ours.scores.spearman, abs=1e-5)
    assert found["pearson"] == pytest.approx(ours.scores.pearson, abs=1e-5)


def test_a_search_has_the_scores_of_its_vectors_and_ours(
    artifact: Artifact, pairs: SentencePairs, tmp_path: Path
) -> None:
    by_document = dict(zip(pairs.sentences2, pairs.sentences1, strict=True))
    by_query = {query: document for document, query in by_document.items()}
    queries = list(by_query)[:100]
    documents = list(dict.fromkeys([*map(by_query.__getitem__, queries), *pairs.sentences2]))
    with minilmx.load(artifact) as model:
        found = scores(model, search_task(queries, documents))
        expected = ndcg_at_10(model.encode(queries), model.encode(documents))
    assert 0.5 < expected < 1
    assert found["ndcg_at_10"] == pytest.approx(expected, abs=2e-5)

    files = [tmp_path / name for name in ("queries.jsonl", "corpus.jsonl", "qrels.tsv")]
    for file, letter, texts in zip(files, "qd", (queries, documents), strict=False):
        lines = [json.dumps({"_id": f"{letter}{i}", "text": text}) for i, text in enumerate(texts)]
        file.write_text("\n".join(lines))
    rows = [f"q{i}\td{i}\t1" for i in range(len(queries))]
    files[2].write_text("\n".join(["query-id\tcorpus-id\tscore", *rows, ""]))
    given, corpus, qrels = map(str, files)
    result = minilmx.compare(artifact, artifact, queries=given, corpus=corpus, qrels=qrels)
    ours = result.evaluations[0].runners[0].relevance
    assert ours
    assert found["ndcg_at_10"] == pytest.approx(ours.ndcg_at_10, abs=2e-5)


LETTERS = ["a b c", "d e", "f g a b", "c a g", "b d", "e f", "g a b", "d d", "a c e f", "b b g", "f a", "e e"]
PROMPTS = {"query": "q q ", "passage": "d ", "STS": "s s s "}


@pytest.fixture
def prompted(tiny: Path) -> Artifact:
    manifest = structs.replace(open_artifact(tiny).manifest, prompts=PROMPTS, default_prompt="query")
    return seal(tiny, manifest)


def test_each_side_of_a_search_has_its_prompt(prompted: Artifact) -> None:
    queries = [f"{text} a" for text in LETTERS]
    expected = []
    for sides in (("query", "passage"), ("query", "query")):
        vectors = []
        for name, texts in zip(sides, (queries, LETTERS), strict=True):
            with minilmx.load(prompted, prompt=name) as model:
                vectors.append(model.encode(texts))
        expected.append(ndcg_at_10(*vectors))
    assert abs(expected[0] - expected[1]) > 1e-3
    for chosen, score in zip((None, "query"), expected, strict=True):
        with minilmx.load(prompted, prompt=chosen) as model:
            assert scores(model, search_task(queries, LETTERS))["ndcg_at_10"] == pytest.approx(
                score, abs=2e-5
            )


def test_the_prompt_of_a_kind_of_task_is_used(prompted: Artifact) -> None:
    first, second, gold = LETTERS, LETTERS[::-1][:6] + LETTERS[6:], [float(i % 6) for i in range(12)]
    found = {}
    for chosen in (None, "STS", "passage"):
        with minilmx.load(prompted, prompt=chosen) as model:
            found[chosen] = scores(model, pairs_task(first, second, gold))["cosine_pearson"]
    assert found[None] == found["STS"] != found["passage"]


def test_the_cache_keeps_runners_graphs_and_prompts_apart(prompted: Artifact, tmp_path: Path) -> None:
    import mteb

    cache = mteb.ResultCache(tmp_path / "cache")
    task = search_task(LETTERS, LETTERS)
    for graph, prompt in (("dynamic", None), ("fixed", None), ("fixed", "passage"), ("fixed", "passage")):
        with minilmx.load(prompted, graph=graph, prompt=prompt) as model:
            mteb.evaluate(model, task, cache=cache, co2_tracker=False, show_progress_bar=False)
    saved = list((tmp_path / "cache").rglob("LocalSearch.json"))
    assert len(saved) == 3
    assert all(prompted.digest in path.parts for path in saved)


@pytest.mark.parametrize("kind", ["cosine", "dot", "euclidean", "manhattan"])
def test_similarity_is_the_models(tiny: Path, kind: str) -> None:
    torch = pytest.importorskip("torch", reason="needs torch")
    artifact = open_artifact(tiny)
    if kind != "cosine":
        artifact = seal(tiny, structs.replace(artifact.manifest, similarity=kind))
    generator = np.random.default_rng(0)
    first, second = (generator.standard_normal((5, 8)).astype(np.float32) for _ in range(2))
    util = pytest.importorskip("sentence_transformers.util", reason="needs sentence-transformers")
    of_all = util.SimilarityFunction.to_similarity_fn(kind)(first, second).numpy()
    with minilmx.load(artifact) as model:
        assert np.allclose(model.similarity(torch.from_numpy(first), second), of_all, atol=1e-5)
        assert np.allclose(model.similarity(first[0], second), of_all[:1], atol=1e-5)
        assert np.allclose(model.similarity_pairwise(first, second), np.diag(of_all), atol=1e-5)
        assert model.mteb_model_meta.similarity_fn_name.value == kind


def test_other_arguments_than_mtebs_are_refused(tiny: Path) -> None:
    with (
        minilmx.load(tiny) as model,
        pytest.raises(TypeError, match="encode, arguments: batch_size; expected"),
    ):
        model.encode(["a b"], batch_size=2)
