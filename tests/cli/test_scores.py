"""`mlx run` on the artifact of a cross-encoder, and the commands that need embeddings."""

import csv
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tests.conftest import Mlx

import minilmx
from minilmx.errors import ArtifactError
from minilmx.models.artifact import Artifact

PAIRS = [("How many people live in Berlin?", "3,520,031 people."), ("one, two", 'three "four"')]


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    rows = [{"id": row, "sentence1": one, "sentence2": other} for row, (one, other) in enumerate(PAIRS)]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with (tmp_path / "named.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([("query", "passage"), *PAIRS])
    return tmp_path / "pairs.jsonl"


@pytest.fixture(scope="module")
def expected(reranker: Artifact) -> list[float]:
    with minilmx.Scorer(reranker) as scorer:
        return [float(score) for score in scorer.score(PAIRS)]


def test_run_prints_the_score_of_each_pair(
    reranker: Artifact, pairs: Path, mlx: Mlx, expected: list[float]
) -> None:
    outcome = mlx("run", reranker.path, pairs)
    assert outcome.code == 0, outcome
    rows = [json.loads(line) for line in outcome.stdout.splitlines()]
    assert [(row["sentence1"], row["sentence2"]) for row in rows] == PAIRS
    assert [row["score"] for row in rows] == expected
    assert "2 pairs with onnxruntime (dynamic graph)" in outcome.stderr
    read = mlx("run", reranker.path, "--input-format", "jsonl", stdin=pairs.read_bytes())
    assert read.stdout == outcome.stdout


def test_run_writes_scores_with_the_record_of_the_run(
    reranker: Artifact, pairs: Path, mlx: Mlx, expected: list[float]
) -> None:
    columns = ("--text-columns", "query", "passage")
    assert mlx("run", reranker.path, "named.csv", *columns, "-o", "scores.npy").code == 0
    found = np.load(pairs.with_name("scores.npy"))
    assert found.dtype == np.float32 and found.tolist() == expected
    assert mlx("run", reranker.path, pairs, "-o", "scores.jsonl", "--graph", "fixed").code == 0
    lines = pairs.with_name("scores.jsonl").read_text().splitlines()
    assert [json.loads(line)["score"] for line in lines] == pytest.approx(expected, abs=1e-6)
    record = json.loads(pairs.with_name("scores.jsonl.run.json").read_text())
    assert (record["sentences"], record["similarity"], record["graph"]) == (2, "score", "fixed")
    again = mlx("run", reranker.path, pairs, "-o", "scores.jsonl")
    assert again.code == 3 and "exists" in again.stderr


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("pairs.jsonl", "-o", "shards/"), 2, "a cross-encoder scores one file of pairs into one file"),
        (("pairs.jsonl", "named.csv"), 2, "a cross-encoder scores one file of pairs into one file"),
        (("pairs.jsonl", "--column", "id"), 2, "--column is for texts to embed"),
        (("pairs.jsonl", "--on-empty", "skip"), 2, "--on-empty is for texts to embed"),
        (("pairs.jsonl", "--prompt", "query"), 2, "--prompt is for texts to embed"),
        (("pairs.jsonl", "-o", "scores.parquet"), 3, "a file for scores; expected one of .jsonl, .npy"),
        (
            ("named.csv",),
            3,
            "named.csv has no column 'sentence1'; its columns are query, passage. Name the columns of",
        ),
        (("named.csv", "--text-columns", "query", "query"), 3, "expected two columns"),
        (("gap.jsonl",), 3, "gap.jsonl, line 2: sentence2 is empty"),
        (("texts.txt",), 3, "texts.txt has no column 'sentence1'"),
        (("pairs.jsonl", "--graph", "packed"), 3, "no packed graph; expected one of fixed, dynamic\n"),
        (("pairs.jsonl", "--runner", "groq"), 3, "is a cross-encoder, which the runner groq does not take"),
        (("pairs.jsonl", "--runner", "groq", "-o", "s.npy"), 3, "which the runner groq does not take"),
    ],
    ids=[
        *("folder", "two files", "column", "on-empty", "prompt", "parquet", "other columns", "one column"),
        *("empty text", "no columns", "packed", "groq", "groq to a file"),
    ],
)
def test_what_cannot_be_scored_is_refused(
    reranker: Artifact, pairs: Path, mlx: Mlx, words: tuple[str, ...], code: int, message: str
) -> None:
    rows = [{"sentence1": "a", "sentence2": "b"}, {"sentence1": "a", "sentence2": " "}]
    pairs.with_name("gap.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    pairs.with_name("texts.txt").write_text("one sentence\n")
    before = set(pairs.parent.iterdir())
    outcome = mlx("run", reranker.path, *words)
    assert outcome.code == code, outcome
    assert message in outcome.stderr
    assert outcome.stdout == ""
    assert set(pairs.parent.iterdir()) == before


def test_run_verifies_the_artifact_once(reranker: Artifact, pairs: Path) -> None:
    """To standard output as to a file: each file of the artifact is opened as often."""
    code = (
        "import collections, sys; opened = collections.Counter(); "
        "sys.addaudithook(lambda name, args: opened.update([str(args[0])]) if name == 'open' else None); "
        "from minilmx.cli import cli; cli(sys.argv[1:], standalone_mode=False); "
        f"kept = {{name: n for name, n in opened.items() if name.startswith({str(reranker.path)!r})}}; "
        "print(sorted(kept.items()), file=sys.stderr)"
    )

    def opens(*words: object) -> str:
        command = [sys.executable, "-c", code, "run", *map(str, (reranker.path, pairs, *words))]
        done = subprocess.run(command, cwd=pairs.parent, capture_output=True, text=True, check=True)
        return done.stderr.splitlines()[-1]

    printed = opens()
    assert "model" in printed
    assert printed == opens("-o", "scores.jsonl")


def test_pairs_on_standard_input_need_a_format_with_columns(
    reranker: Artifact, pairs: Path, mlx: Mlx
) -> None:
    outcome = mlx("run", reranker.path, stdin=pairs.read_bytes())
    assert outcome.code == 3, outcome
    assert "Standard input is text, unless its format is named" in outcome.stderr


def test_saved_scores_are_not_embeddings(reranker: Artifact, pairs: Path, mlx: Mlx) -> None:
    for name in ("one.jsonl", "other.jsonl"):
        assert mlx("run", reranker.path, pairs, "-o", name).code == 0
    outcome = mlx("compare", "one.jsonl", "other.jsonl")
    assert outcome.code == 3, outcome
    assert "one.jsonl cannot be read as embeddings: line 1 has no field 'embedding'" in outcome.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("compare", "ARTIFACT", "ARTIFACT@groq-emulator", "--texts", "texts.txt"),
        ("golden", "create", "g", "--from", "ARTIFACT", "--texts", "texts.txt"),
        ("bisect", "ARTIFACT", "--candidate", "groq-emulator"),
        ("bench", "ARTIFACT"),
        ("check", "ARTIFACT"),
        ("inspect", "ARTIFACT", "--snippet", "onnxruntime"),
        ("groq", "build", "ARTIFACT"),
        ("push", "ARTIFACT", "org/name"),
    ],
    ids=lambda words: words[0],
)
def test_a_command_that_needs_embeddings_refuses_in_one_sentence(
    reranker: Artifact, pairs: Path, mlx: Mlx, words: tuple[str, ...]
) -> None:
    pairs.with_name("texts.txt").write_text("one sentence\n")
    outcome = mlx(*(word.replace("ARTIFACT", str(reranker.path)) for word in words))
    assert outcome.code == 3, outcome
    [error] = re.findall(r"Error: .*", outcome.stderr)
    assert "is a cross-encoder, which scores pairs of texts; expected an artifact" in error


def test_the_functions_and_classes_for_embeddings_refuse(reranker: Artifact, tmp_path: Path) -> None:
    (tmp_path / "texts.txt").write_text("one sentence\n")
    source = tmp_path / "texts.txt"

    def in_sentence_transformers() -> None:
        pytest.importorskip("sentence_transformers")
        from minilmx.sentence_transformers import SentenceTransformer

        SentenceTransformer(reranker)

    calls: list[Callable[[], object]] = [
        lambda: minilmx.load(reranker),
        lambda: minilmx.Embedder(reranker),
        lambda: minilmx.embed_file(reranker, source, tmp_path / "out.npy"),
        lambda: minilmx.embed_corpus(reranker, [source], tmp_path / "out"),
        in_sentence_transformers,
    ]
    for call in calls:
        with pytest.raises(ArtifactError, match="is a cross-encoder"):
            call()
    assert [path.name for path in tmp_path.iterdir()] == ["texts.txt"]


def test_a_scorer_takes_pairs_of_strings_and_the_artifact_of_a_cross_encoder(
    reranker: Artifact, artifact: Artifact
) -> None:
    with pytest.raises(ArtifactError, match="embeds single texts; expected the artifact of a cross"):
        minilmx.Scorer(artifact)
    with minilmx.Scorer(reranker) as scorer:
        assert scorer.score([]).shape == (0,)
        assert scorer.score([["a", "b"]]).shape == (1,)  # type: ignore[list-item] # as JSON has it
        for wrong in (["ab"], "ab", [("a",)], [("a", 1)]):
            with pytest.raises(TypeError, match="pairs"):
                scorer.score(wrong)  # type: ignore[arg-type]
        with pytest.raises(minilmx.MinilmxError, match="characters; expected at most"):
            scorer.score([("a" * 2**20, "b")])
