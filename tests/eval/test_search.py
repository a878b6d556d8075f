"""Queries in a corpus: neighbours and relevance, against an independent computation."""

import json
import re
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.conftest import Mlx

import minilmx
from minilmx.errors import DatasetError, EvalError
from minilmx.eval.metrics.retrieval import find_nearest

QUERIES, DOCUMENTS = 520, 17_000  # more than one block has of either
SCORES = ((0, 2), (1, 1), (5, 0))  # of the documents that many after the first


def write_search(folder: Path, queries: int, documents: int) -> dict[str, dict[str, int]]:
    """BEIR's files, with three judged documents of each second query; the judgements.

    Those of one query follow each other, and those of all queries are spread over the corpus.
    """
    lines = [json.dumps({"_id": f"q{n}", "text": f"query {n}"}) for n in range(queries)]
    (folder / "queries.jsonl").write_text("\n".join(lines))
    lines = [
        json.dumps({"_id": f"d{n}", "title": "title" * (n % 2), "text": f"number {n}", "metadata": {}})
        for n in range(documents)
    ]
    (folder / "corpus.jsonl").write_text("\n".join(lines))
    firsts = {n: n * (documents // queries) for n in range(0, queries, 2)}
    judged = {f"q{n}": {f"d{(d + i) % documents}": score for i, score in SCORES} for n, d in firsts.items()}
    rows = [f"{q}\t{d}\t{score}" for q, each in judged.items() for d, score in each.items()]
    (folder / "qrels.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *rows, ""]))
    return judged


@pytest.fixture
def vectors(tmp_path: Path) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Embeddings of queries, each near the first of its judged documents, and of a candidate."""
    random = np.random.default_rng(1)
    first = random.standard_normal((QUERIES + DOCUMENTS, 16)).astype(np.float32)
    first[:QUERIES] = first[QUERIES :: DOCUMENTS // QUERIES][:QUERIES] + 0.8 * first[:QUERIES]
    second = first + 0.1 * random.standard_normal(first.shape).astype(np.float32)
    np.save(tmp_path / "a.npy", first)
    np.save(tmp_path / "b.npy", second)
    return first, second


def neighbours(queries: NDArray[np.float32], documents: NDArray[np.float32]) -> NDArray[np.int64]:
    """The 10 nearest by all cosines in float64."""
    a, b = (rows / np.linalg.norm(rows.astype(np.float64), axis=1)[:, None] for rows in (queries, documents))
    distances = -(a @ b.T)
    nearest = np.argpartition(distances, 10, axis=1)[:, :10]
    order = np.argsort(np.take_along_axis(distances, nearest, axis=1), axis=1)
    return np.take_along_axis(nearest, order, axis=1)


SEARCH = ("--queries", "queries.jsonl", "--corpus", "corpus.jsonl")


def test_neighbours_and_relevance_equal_an_independent_computation(
    tmp_path: Path, vectors: tuple[NDArray[np.float32], NDArray[np.float32]], mlx: Mlx
) -> None:
    pytrec_eval = pytest.importorskip("pytrec_eval", reason="needs pytrec_eval, which mteb brings")
    judged = write_search(tmp_path, QUERIES, DOCUMENTS)
    outcome = mlx("compare", "a.npy", "b.npy", *SEARCH, "--qrels", "qrels.tsv", "--json")
    assert outcome.code == 1, outcome
    runners = json.loads(outcome.stdout)["evaluations"][0]["runners"]
    (a, b), q = vectors, QUERIES
    truth, own, mixed = neighbours(a[:q], a[q:]), neighbours(b[:q], b[q:]), neighbours(b[:q], a[q:])

    retrieval = runners[1]["comparison"]["retrieval"]
    assert (retrieval["queries"], retrieval["documents"]) == (QUERIES, DOCUMENTS)
    for prefix, found in (("", own), ("mixed_", mixed)):
        shared = [len({*x} & {*y}) / 10 for x, y in zip(truth.tolist(), found.tolist(), strict=True)]
        assert retrieval[f"{prefix}recall_at_10"] == pytest.approx(np.mean(shared), abs=1e-12)
        assert retrieval[f"{prefix}recall_at_1"] == np.mean(truth[:, 0] == found[:, 0])
    lost = {f"q{n}": 10 - len({*truth[n]} & {*own[n]}) for n in range(QUERIES)}
    changed = [(each["query"], each["lost"]) for each in retrieval["most_changed"]]
    assert [count for _, count in changed] == sorted(lost.values(), reverse=True)[:10]
    assert all(lost[name] == count for name, count in changed)

    means = []
    for runner, found in zip(runners, (truth, own), strict=True):
        ranked = {f"q{n}": {f"d{d}": 10.0 - i for i, d in enumerate(found[n])} for n in range(QUERIES)}
        scored = pytrec_eval.RelevanceEvaluator(judged, {"ndcg_cut.10", "recip_rank"}).evaluate(ranked)
        ndcg = [each["ndcg_cut_10"] for each in scored.values()]
        assert runner["relevance"]["queries"] == len(ndcg) == QUERIES / 2
        assert runner["relevance"]["ndcg_at_10"] == pytest.approx(np.mean(ndcg), abs=1e-9)
        reciprocal = [each["recip_rank"] for each in scored.values()]
        assert runner["relevance"]["mrr_at_10"] == pytest.approx(np.mean(reciprocal), abs=1e-9)
        means.append(np.array(ndcg))
    difference = runners[1]["comparison"]["relevance"]["ndcg_at_10"]
    assert difference["estimate"] == pytest.approx(np.mean(means[1] - means[0]), abs=1e-9)
    error = np.std(means[1] - means[0]) / np.sqrt(len(means[0]))
    assert difference["high"] - difference["low"] == pytest.approx(2 * 1.96 * error, rel=0.15)


def test_the_reports_have_the_search_and_no_text(
    tmp_path: Path, vectors: tuple[NDArray[np.float32], NDArray[np.float32]], mlx: Mlx
) -> None:
    write_search(tmp_path, QUERIES, DOCUMENTS)
    outcome = mlx("compare", "a.npy", "b.npy", *SEARCH, "--qrels", "qrels.tsv", "-o", "r.json")
    assert "queries.jsonl in corpus.jsonl: 17,520 embeddings" in outcome.stdout
    assert "nDCG@10" in outcome.stdout
    assert not re.search(r"(number|query) \d", (tmp_path / "r.json").read_text())
    result = minilmx.load_result("r.json")
    assert isinstance(result, minilmx.Result)
    for form in ("html", "markdown"):
        report = result.render(form)
        assert "the queries that changed most" in report
        assert "nDCG" in report
    assert "520 queries is searched in 17,000 documents" in result.render("html")


def test_the_queries_that_changed_most_have_their_texts_if_asked(
    tmp_path: Path, vectors: tuple[NDArray[np.float32], NDArray[np.float32]], mlx: Mlx
) -> None:
    write_search(tmp_path, QUERIES, DOCUMENTS)
    outcome = mlx("compare", "a.npy", "b.npy", *SEARCH, "--keep-text", "-o", "r.json")
    result = minilmx.load_result("r.json")
    assert isinstance(result, minilmx.Result)
    retrieval = result.evaluations[0].runners[1].comparison.retrieval  # type: ignore[union-attr]
    assert len(retrieval.most_changed) == 10  # type: ignore[union-attr,arg-type]
    for each in retrieval.most_changed:  # type: ignore[union-attr]
        assert each.text == f"query {each.query[1:]}"
        assert f"{each.query} ({each.lost} of 10 lost): {each.text}" in outcome.stdout


def test_equally_near_documents_keep_their_order() -> None:
    documents = np.ones((40_000, 3), np.float32)
    documents[30_000] = (1, 1, 0.5)
    found = find_nearest(np.array([[1, 1, 0.5], [1, 1, 1]], np.float32), documents, "cosine")
    assert found is not None
    assert found.tolist() == [[30_000, *range(9)], [*range(10)]]


def test_the_memory_of_a_search_does_not_grow_with_the_product() -> None:
    random = np.random.default_rng(0)
    documents = random.standard_normal((100_000, 8), dtype=np.float32)
    queries = random.standard_normal((1_000, 8), dtype=np.float32)
    tracemalloc.start()
    try:
        find_nearest(queries, documents, "cosine")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 300e6  # all similarities would be 400 MB, and their order 800


def test_artifacts_are_compared_on_a_search(tiny: Path, mlx: Mlx) -> None:
    write_search(tiny.parent, 4, 12)
    result = minilmx.compare(tiny, tiny, queries="queries.jsonl", corpus="corpus.jsonl", qrels="qrels.tsv")
    assert result.passed is True
    assert result.to_dataframe()["ndcg_at_10"].nunique() == 1


@pytest.mark.parametrize(
    ("file", "text", "sentence"),
    [
        ("queries.jsonl", '{"_id": "q", "text": ""}', "text is empty"),
        ("queries.jsonl", '{"id": "q", "text": "a"}', "no column '_id'"),
        (
            "queries.jsonl",
            '{"_id": "q", "text": "a"}\n{"_id": "q", "text": "b"}',
            "queries.jsonl, line 2: the id 'q' twice",
        ),
        ("queries.jsonl", '{"_id": "q", "text": "a"}\n{"_id": null, "text": "b"}', "line 2: _id is null"),
        ("corpus.jsonl", '{"_id": null, "text": "a"}', "corpus.jsonl, line 1: _id is null; expected an id"),
        ("corpus.jsonl", '{"_id": "d", "text": "a"}', "1 document; expected at least 10"),
        ("qrels.tsv", "query-id\tcorpus-id\tscore\nq9\td1\t1\n", "line 2: the id 'q9'; expected one"),
        ("qrels.tsv", "query-id\tcorpus-id\tscore\nq1\td1\t-1\n", "the score '-1'; expected a whole number"),
    ],
)
def test_bad_files_are_refused(tiny: Path, mlx: Mlx, file: str, text: str, sentence: str) -> None:
    write_search(tiny.parent, 4, 12)
    Path(file).write_text(text)
    with pytest.raises(DatasetError, match=sentence):
        minilmx.compare(tiny, tiny, queries="queries.jsonl", corpus="corpus.jsonl", qrels="qrels.tsv")


def test_a_search_needs_both_files_and_nothing_else(tiny: Path) -> None:
    with pytest.raises(EvalError, match="expected both"):
        minilmx.compare(tiny, tiny, qrels="qrels.tsv")
    with pytest.raises(EvalError, match="expected one of them"):
        minilmx.compare(tiny, tiny, texts=["a"], queries="q", corpus="c")
