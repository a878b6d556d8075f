"""`mlx compare` on a search in 100,000 documents: its figures, against another computation, time and memory.

    python benchmarks/search.py ARTIFACT ../shared/stsb FOLDER

The documents are the sentences of STSb, and each without one of its words. The queries are first sentences of
its English test split, and the second sentence of each pair is judged by its gold score. The candidate's
embeddings are the artifact's in bfloat16. FOLDER is for the files; a run that was interrupted resumes there.
Needs pyarrow and pytrec_eval, which mteb brings. docs/how-to/compare-anything.md has the time and the memory.
"""

import argparse
import csv
import json
import os
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as parquet
import pytrec_eval
from command import mlx
from numpy.typing import NDArray

QUERIES = 1_000
Rows = NDArray[np.float64]
Neighbours = NDArray[np.int64]


def main() -> None:
    """Write the files, embed the texts, and compare what `mlx compare` says of them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("artifact", type=Path)
    parser.add_argument("stsb", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--documents", type=int, default=100_000)
    given = parser.parse_args()
    artifact, stsb = given.artifact.resolve(), given.stsb.resolve()
    given.folder.mkdir(exist_ok=True)
    os.chdir(given.folder)
    judged = write_search(stsb, given.documents)
    mlx("run", str(artifact), "all.txt", "--output", "shards/", "--shard-rows", "4096")
    embeddings = read_shards(Path("shards"))
    np.save("a.npy", embeddings)
    np.save("b.npy", (embeddings.view(np.uint32) & 0xFFFF0000).view(np.float32))
    files = ("--queries", "queries.jsonl", "--corpus", "corpus.jsonl", "--qrels", "qrels.tsv")
    mlx("compare", "a.npy", "b.npy", *files, "--output", "r.json", may_differ=True)
    evaluation = json.loads(Path("r.json").read_text())["evaluations"][0]
    expected = compute(unit("a.npy"), unit("b.npy"), judged)
    retrieval = evaluation["runners"][1]["comparison"]["retrieval"]
    found = {key: retrieval[key] for key in expected if key in retrieval}
    for number, runner in enumerate(evaluation["runners"], 1):
        found |= {f"{key} {number}": runner["relevance"][key] for key in ("ndcg_at_10", "mrr_at_10")}
    for key, value in expected.items():
        print(f"{key}: {found[key]:.12f}, computed otherwise {value:.12f}")
    if any(abs(found[key] - value) > 1e-9 for key, value in expected.items()):
        sys.exit("the figures differ")


def write_search(stsb: Path, count: int) -> dict[str, dict[str, int]]:
    """BEIR's files and all texts in one; the judgements, by the ids of queries and documents."""
    with (stsb / "stsb-en-test.csv").open(encoding="utf-8", newline="") as stream:
        pairs = {first: (second, float(score)) for first, second, score in csv.reader(stream)}
    queries = list(pairs)[:QUERIES]
    texts = dict.fromkeys(pairs[query][0] for query in queries)
    sentences = []
    for path in sorted(stsb.glob("*.csv")):
        with path.open(encoding="utf-8", newline="") as stream:
            sentences += [sentence for row in csv.reader(stream) for sentence in row[:2]]
    texts.update(dict.fromkeys(sentences))
    for place in range(20):
        for sentence in dict.fromkeys(sentences):
            words = sentence.split()
            if place < len(words) > 2:
                texts[" ".join(words[:place] + words[place + 1 :])] = None
    documents = [text for text in texts if text not in set(queries)][:count]
    if (len(queries), len(documents)) != (QUERIES, count):
        sys.exit(f"{len(queries)} queries and {len(documents)} documents; expected {QUERIES} and {count}")
    for name, letter, each in (("queries", "q", queries), ("corpus", "d", documents)):
        lines = (json.dumps({"_id": f"{letter}{n}", "text": text}) + "\n" for n, text in enumerate(each))
        Path(f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
    Path("all.txt").write_text("".join(f"{text}\n" for text in (*queries, *documents)), encoding="utf-8")
    ids = {text: f"d{number}" for number, text in enumerate(documents)}
    judged = {
        f"q{number}": {ids[pairs[query][0]]: round(pairs[query][1])}
        for number, query in enumerate(queries)
        if pairs[query][0] in ids
    }
    rows = [f"{query}\t{d}\t{score}\n" for query, each in judged.items() for d, score in each.items()]
    Path("qrels.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(rows), encoding="utf-8")
    return judged


def read_shards(folder: Path) -> NDArray[np.float32]:
    """The embeddings of a folder of shards, in the order of the texts."""
    parts = []
    for path in sorted(folder.glob("**/*.parquet")):
        column = parquet.read_table(path)["embedding"].combine_chunks()
        parts.append(column.flatten().to_numpy().reshape(len(column), -1))
    return np.concatenate(parts)


def unit(path: str) -> Rows:
    """The embeddings of a file at unit length, in float64."""
    rows = np.load(path).astype(np.float64)
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


def compute(first: Rows, second: Rows, judged: dict[str, dict[str, int]]) -> dict[str, float]:
    """The figures in float64, by sorting all similarities, and by pytrec_eval."""
    (a, x), (b, y) = (np.split(rows, [QUERIES]) for rows in (first, second))
    truth, own, mixed = nearest(a, x), nearest(b, y), nearest(b, x)
    figures = {}
    for name, near in (("", own), ("mixed_", mixed)):
        figures[f"{name}recall_at_1"] = float(np.mean(truth[:, 0] == near[:, 0]))
        shared = [len({*left} & {*right}) for left, right in zip(truth.tolist(), near.tolist(), strict=True)]
        figures[f"{name}recall_at_10"] = float(np.mean(shared)) / 10
    for number, near in enumerate((truth, own), 1):
        ranked = {
            f"q{query}": {f"d{document}": 10.0 - rank for rank, document in enumerate(row)}
            for query, row in enumerate(near.tolist())
        }
        scored = pytrec_eval.RelevanceEvaluator(judged, {"ndcg_cut.10", "recip_rank"}).evaluate(ranked)
        for key, measure in (("ndcg_at_10", "ndcg_cut_10"), ("mrr_at_10", "recip_rank")):
            figures[f"{key} {number}"] = float(np.mean([each[measure] for each in scored.values()]))
    return figures


def nearest(queries: Rows, documents: Rows) -> Neighbours:
    """The 10 nearest documents of each query, nearest first, of equal ones the first: [Q, 10]."""
    blocks = np.split(queries, range(100, len(queries), 100))
    near = [np.argsort(-(block @ documents.T), axis=1, kind="stable")[:, :10] for block in blocks]
    return np.concatenate(near)


if __name__ == "__main__":
    main()
