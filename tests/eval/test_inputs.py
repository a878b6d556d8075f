"""Texts without gold scores: a sample of a large file, and where in it the drift is."""

import json
import os
import subprocess
import sys
from hashlib import sha512
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.conftest import Mlx

import minilmx
from minilmx.errors import DatasetError, EvalError
from minilmx.eval.comparison import Comparison
from minilmx.eval.metrics.profile import DriftProfile
from minilmx.eval.metrics.sampling import SampleEstimates
from minilmx.eval.results import Result

TOTAL, SIZE = 6_000, 500
LANGUAGES = ("de", "en", None)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def row(number: int) -> dict[str, Any]:
    text = f"number {number} of a corpus"
    return {"id": f"n{number}", "text": text, "language": LANGUAGES[min(number % 10, 2)]}


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    return [row(number) for number in range(TOTAL)]


@pytest.fixture
def corpus(rows: list[dict[str, Any]], tmp_path: Path) -> Path:
    path = tmp_path / "corpus.jsonl"
    path.write_text("".join(json.dumps(each) + "\n" for each in rows))
    return path


@pytest.fixture
def vectors(tmp_path: Path) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Embeddings of all rows, and of a candidate that drifts more towards the end of the corpus."""
    random = np.random.default_rng(3)
    first = random.standard_normal((TOTAL, 16)).astype(np.float32)
    growing = np.linspace(0.001, 0.1, TOTAL)[:, None]
    second = first + (growing * random.standard_normal(first.shape)).astype(np.float32)
    np.save(tmp_path / "a.npy", first)
    np.save(tmp_path / "b.npy", second)
    return first, second


def drawn(result: Result) -> NDArray[np.int64]:
    """The rows of a sample, all of which are among the worst."""
    profile = compared(result).profile
    assert profile is not None
    return np.sort([int(each.text.split()[-1].removeprefix("n")) for each in profile.worst])


def compared(result: Result) -> Comparison:
    comparison = result.evaluations[0].runners[1].comparison
    assert comparison is not None
    return comparison


def test_a_sample_is_stated_with_its_intervals(
    corpus: Path, vectors: tuple[NDArray[np.float32], NDArray[np.float32]], mlx: Mlx
) -> None:
    words = ("--texts", corpus.name, "--sample", SIZE)
    outcome = mlx("compare", "a.npy", "b.npy", *words, "-o", "r.json")
    assert ", compared with 1: a.npy on 500 of 6,000 texts, " in outcome.stdout.splitlines()[0]
    assert "corpus.jsonl: 500 of 6,000 texts, drawn with the seed 0" in outcome.stdout
    assert "2: b.npy: 95% intervals from the sample: mean abs " in outcome.stdout
    assert "With 95% confidence, at most 0.6% of all texts differ by more than" in outcome.stdout
    result = minilmx.load_result("r.json")
    assert isinstance(result, Result)
    assert (result.evaluations[0].sentences, result.evaluations[0].sample.total) == (SIZE, TOTAL)  # type: ignore[union-attr]
    estimates = compared(result).sample
    assert isinstance(estimates, SampleEstimates)
    assert estimates.share_beyond == pytest.approx(1 - 0.05 ** (1 / SIZE))
    first, second = vectors
    moved = np.abs(second.astype(float) - first).mean(axis=1)
    interval = estimates.mean_abs
    assert interval.low < moved.mean() < interval.high
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * moved.std() / SIZE**0.5, rel=0.15)
    recall = estimates.recall_at_10
    retrieval = compared(result).retrieval
    assert recall is not None
    assert retrieval is not None
    assert recall.low < recall.estimate < recall.high
    assert recall.estimate == pytest.approx(retrieval.recall_at_10)
    for form in ("html", "markdown"):
        assert "500 of 6,000 texts" in result.render(form)


def test_the_figures_of_a_sample_are_those_of_its_rows(
    corpus: Path, vectors: tuple[NDArray[np.float32], NDArray[np.float32]]
) -> None:
    chosen = drawn(minilmx.compare("a.npy", "b.npy", texts=corpus, sample=10))
    assert len(set(chosen)) == 10
    first, second = (each[chosen] for each in vectors)
    result = minilmx.compare("a.npy", "b.npy", texts=corpus, sample=10)
    drift = compared(result).drift
    assert drift.max_abs == float(np.abs(second.astype(float) - first).max())
    assert drift.mean_abs == pytest.approx(float(np.abs(second.astype(float) - first).mean()), rel=1e-12)


@pytest.mark.parametrize("name", ["c.txt", "c.csv", "c.json", "c.parquet"])
def test_the_rows_of_a_sample_do_not_depend_on_the_format(
    name: str, corpus: Path, rows: list[dict[str, Any]], vectors: object, tmp_path: Path
) -> None:
    path = tmp_path / name
    if name == "c.txt":
        path.write_text("".join(f"{each['text']}\n" for each in rows))
    elif name == "c.csv":
        path.write_text("text,id\n" + "".join(f"{each['text']},{each['id']}\n" for each in rows))
    elif name == "c.json":
        path.write_text(json.dumps(rows))
    else:
        pyarrow = pytest.importorskip("pyarrow", reason="needs pyarrow")
        pytest.importorskip("pyarrow.parquet").write_table(pyarrow.Table.from_pylist(rows), str(path))
    expected = drawn(minilmx.compare("a.npy", "b.npy", texts=corpus, sample=10))
    assert drawn(minilmx.compare("a.npy", "b.npy", texts=path, sample=10)).tolist() == expected.tolist()


def test_each_row_has_the_same_chance(
    corpus: Path, vectors: tuple[NDArray[np.float32], NDArray[np.float32]]
) -> None:
    profile = compared(minilmx.compare("a.npy", "b.npy", texts=corpus, sample=3_000)).profile
    assert profile is not None
    counts = [each.sentences for each in profile.by_position]  # type: ignore[union-attr]
    assert sum(counts) == 3_000
    assert np.abs(np.array(counts) - 300).max() < 4 * (300 * 0.5 * 0.9) ** 0.5


def test_drift_is_shown_by_position_and_by_language(
    corpus: Path, vectors: tuple[NDArray[np.float32], NDArray[np.float32]], mlx: Mlx
) -> None:
    assert mlx("compare", "a.npy", "b.npy", "--texts", corpus.name, "-o", "r.json").code == 1
    result = minilmx.load_result("r.json")
    assert isinstance(result, Result)
    profile = compared(result).profile
    assert isinstance(profile, DriftProfile)
    first, second = vectors
    moved = np.abs(second.astype(float) - first)
    assert [(each.first, each.last) for each in profile.by_position] == [  # type: ignore[union-attr]
        (start, start + 599) for start in range(0, TOTAL, 600)
    ]
    for each in profile.by_position:  # type: ignore[union-attr]
        part = moved[each.first : each.last + 1]
        assert each.sentences == 600
        assert (each.max_abs, each.mean_abs) == (part.max(), pytest.approx(part.mean(), rel=1e-12))
    found = {each.language: each for each in profile.by_language}  # type: ignore[union-attr]
    assert list(found) == [None, "de", "en"]
    for number, name in enumerate(LANGUAGES[:2]):
        part = moved[number::10]
        assert found[name].sentences == 600
        assert (found[name].max_abs, found[name].mean_abs) == (part.max(), pytest.approx(part.mean()))
    page = result.render("html")
    assert "Difference by position" in page
    assert "Difference by language" in page


def test_the_figure_says_which_languages_it_leaves_out(tmp_path: Path) -> None:
    texts = [{"text": f"{number}", "language": f"language {number % 14}"} for number in range(28)]
    (tmp_path / "c.jsonl").write_text("".join(json.dumps(each) + "\n" for each in texts))
    values = np.random.default_rng(0).normal(size=(28, 8)).astype(np.float32)
    page = minilmx.compare(values, values, texts="c.jsonl", column="text").render("html")
    assert "2 languages with fewer sentences are left out. Names are cut to 8 characters." in page
    (tmp_path / "c.jsonl").write_text(
        "".join(f'{{"text": "{each}", "language": "de"}}\n' for each in range(28))
    )
    page = minilmx.compare(values, values, texts="c.jsonl", column="text").render("html")
    assert "Difference by language" in page
    assert "left out" not in page
    assert "are cut" not in page


def test_a_file_without_languages_has_no_drift_by_language(
    vectors: tuple[NDArray[np.float32], NDArray[np.float32]], tmp_path: Path
) -> None:
    (tmp_path / "c.txt").write_text("".join(f"{number}\n" for number in range(TOTAL)))
    result = minilmx.compare("a.npy", "b.npy", texts="c.txt", sample=9)
    assert '"by_language"' not in json.dumps(str(compared(result).profile))
    assert not compared(result).profile.by_language  # type: ignore[union-attr]
    assert "Difference by language" not in result.render("html")


def test_saved_embeddings_are_those_of_all_texts(tiny: Path, corpus: Path, mlx: Mlx, tmp_path: Path) -> None:
    """By row or by id; the record of a run is of all texts, so its digest is another one."""
    assert mlx("run", tiny, corpus.name, "--column", "text", "-o", "all.npy").code == 0
    values = np.load("all.npy")
    lines = [
        json.dumps({"id": f"n{number}", "embedding": values[number].tolist()})
        for number in reversed(range(TOTAL))
    ]
    (tmp_path / "turned.jsonl").write_text("\n".join(lines))
    np.save("few.npy", values[:-1])
    result = minilmx.compare(tiny, "all.npy", "turned.jsonl", texts=corpus, sample=50)
    assert result.verdict.answer == "SAME"
    inputs = [each.details["inputs"] for each in result.evaluations[0].runners[1:]]
    assert inputs == ["rows in the same order", "rows of the same ids"]
    with pytest.raises(
        EvalError, match=r"few\.npy: 5,999 embeddings; expected 6,000, one per text of corpus"
    ):
        minilmx.compare(tiny, "few.npy", texts=corpus, sample=50)


def test_a_sample_of_at_least_all_texts_is_none(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "c.txt").write_text("a\nb\nc\n")
    evaluation = minilmx.compare(tiny, tiny, texts="c.txt", sample=3).evaluations[0]
    assert evaluation.sentences == 3
    assert not evaluation.sample
    assert not evaluation.runners[1].comparison.sample  # type: ignore[union-attr]


def test_every_row_is_checked_and_a_sample_needs_a_file(tiny: Path, tmp_path: Path) -> None:
    lines = [json.dumps({"text": f"number {number}"}) for number in range(3_000)]
    (tmp_path / "c.jsonl").write_text("\n".join([*lines, '{"text": ""}', '{"text": null}']))
    with pytest.raises(DatasetError, match=r"line 3001: text is empty, the first of 2 rows") as raised:
        minilmx.compare(tiny, tiny, texts="c.jsonl", sample=2)
    assert raised.value.hint == "Fill it in or remove it."
    with pytest.raises(EvalError, match="a sample of 2: no file of texts"):
        minilmx.compare(tiny, tiny, texts=["a", "b", "c"], sample=2)
    with pytest.raises(ValueError, match="sample: 0"):
        minilmx.compare(tiny, tiny, texts="c.jsonl", sample=0)


def test_a_row_without_an_id_is_refused_by_its_line(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "c.jsonl").write_text('{"text": "a", "id": 1}\n\n{"text": "b", "id": null}\n{"text": "c"}\n')
    with pytest.raises(DatasetError, match=r"c\.jsonl, line 3: id is null; expected an id"):
        minilmx.compare(tiny, tiny, texts="c.jsonl", column="text")


PEAK = """
import re, sys
from pathlib import Path
import minilmx
result = minilmx.compare(sys.argv[1], sys.argv[1], texts=sys.argv[2], sample=100)
assert result.passed and result.evaluations[0].sample.total == int(sys.argv[3])
print(re.search(r"VmHWM:\\s*(\\d+) kB", Path("/proc/self/status").read_text()).group(1))
"""


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="needs /proc/self/status")
@pytest.mark.parametrize("name", ["c.txt", "c.jsonl", "c.parquet"])
def test_the_memory_of_a_sample_does_not_grow_with_the_file(name: str, tiny: Path, tmp_path: Path) -> None:
    """300,000 rows of 260 characters that cannot be compressed by much take 80 MB."""

    def peak(total: int) -> int:
        path = tmp_path / name
        rows = [f"{n} {sha512(b'%d' % n).hexdigest()}{sha512(b'x%d' % n).hexdigest()}" for n in range(total)]
        if name == "c.txt":
            path.write_text("".join(f"{row}\n" for row in rows))
        elif name == "c.jsonl":
            path.write_text("".join(f'{{"text": "{row}"}}\n' for row in rows))
        else:
            pyarrow = pytest.importorskip("pyarrow", reason="needs pyarrow")
            table = pyarrow.table({"text": rows})
            pytest.importorskip("pyarrow.parquet").write_table(table, str(path))
        words = [sys.executable, "-c", PEAK, str(tiny), str(path), str(total)]
        done = subprocess.run(words, capture_output=True, text=True, env=dict(os.environ))
        path.unlink()
        assert done.returncode == 0, done.stderr
        return int(done.stdout)

    few, many = peak(50_000), peak(300_000)
    assert many - few < 30_000, (few, many)


def save_vectors(path: Path, values: NDArray[np.float32], ids: list[str] | None = None) -> None:
    """Save embeddings in the format of the file's name; .jsonl and .parquet can have ids."""
    if path.suffix == ".npy":
        np.save(path, values)
    elif path.suffix == ".npz":
        np.savez(path, embeddings=values)
    elif path.suffix == ".jsonl":
        rows: list[dict[str, Any]] = [{"embedding": row} for row in values.tolist()]
        for record, name in zip(rows, ids or (), strict=ids is not None):
            record["id"] = name
        path.write_text("".join(json.dumps(each) + "\n" for each in rows))
    else:
        pyarrow = pytest.importorskip("pyarrow", reason="needs pyarrow")
        column = pyarrow.FixedSizeListArray.from_arrays(values.ravel(), values.shape[1])
        table = pyarrow.table({"embedding": column} | ({"id": ids} if ids else {}))
        pytest.importorskip("pyarrow.parquet").write_table(table, str(path))


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".jsonl", ".parquet"])
def test_a_number_that_is_not_finite_outside_a_sample_is_a_failure(
    suffix: str, corpus: Path, vectors: tuple[NDArray[np.float32], NDArray[np.float32]], mlx: Mlx
) -> None:
    words = ("--texts", corpus.name, "--sample", 9)
    values = vectors[0].copy()
    values[
        ~np.isin(np.arange(TOTAL), drawn(minilmx.compare("a.npy", "b.npy", texts=corpus, sample=9))), 1
    ] = np.nan
    ids = [f"n{number}" for number in range(TOTAL)] if suffix in (".jsonl", ".parquet") else None
    save_vectors(Path(f"c{suffix}"), values, ids)
    for sides in (("a.npy", f"c{suffix}"), (f"c{suffix}", "a.npy")):
        outcome = mlx("compare", *sides, *words)
        number = sides.index(f"c{suffix}") + 1
        assert outcome.code == 1, outcome
        assert outcome.stdout.startswith(f"DIFFERENT: embeddings of {number}: c{suffix} are not finite")
    result = minilmx.compare("a.npy", values, texts=corpus, sample=9)
    assert result.evaluations[0].runners[1].finite is False


def test_a_number_that_is_not_finite_of_an_id_without_a_text_is_a_failure(
    vectors: tuple[NDArray[np.float32], NDArray[np.float32]], tmp_path: Path, mlx: Mlx
) -> None:
    values = vectors[0][:20].copy()
    values[7, 3] = np.inf
    kept = [number for number in range(20) if number != 7]
    save_vectors(Path("a.jsonl"), values[kept], [str(number) for number in kept])
    save_vectors(Path("b.jsonl"), values, [str(number) for number in range(20)])
    outcome = mlx("compare", "a.jsonl", "b.jsonl")
    assert outcome.code == 1, outcome
    assert outcome.stdout.startswith("DIFFERENT: embeddings of 2: b.jsonl are not finite")


def test_ids_that_the_texts_do_not_have_join_nothing(tiny: Path, tmp_path: Path) -> None:
    texts = [f"text {number}" for number in range(5)]
    (tmp_path / "c.txt").write_text("".join(f"{text}\n" for text in texts))
    with minilmx.load(tiny) as model:
        save_vectors(tmp_path / "v.jsonl", model.encode(texts), list("abcde"))
    result = minilmx.compare(tiny, "v.jsonl", texts="c.txt")
    assert result.verdict.answer == "SAME"
    assert result.evaluations[0].runners[1].details["inputs"] == "rows in the same order"


def test_lines_with_and_without_ids_are_refused(mlx: Mlx, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"id": 1, "embedding": [1.0]}\n{"embedding": [1.0]}\n')
    outcome = mlx("compare", "a.jsonl", "a.jsonl")
    assert outcome.code == 3
    assert "a.jsonl cannot be read as embeddings: line 2 has no id; expected one in all" in outcome.stderr


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (['{"embedding": [1.0]}', "", '{"embedding": [1.0'], "a.jsonl, line 3: not JSON: "),
        (
            ['{"embedding": [1.0, 2.0]}', '{"embedding": [1.0]}'],
            "line 2: an embedding of 1 numbers; expected 2",
        ),
        (['{"embedding": [1.0]}', "7"], "a.jsonl, line 2: int; expected a JSON object"),
        (['{"embedding": [1.0]}', '{"embedding": 7}'], "line 2: the embedding is not a list of numbers"),
        (['{"embedding": [1.0]}', '{"embedding": [true]}'], "line 2: the embedding is not a list of numbers"),
        (['{"embedding": [1.0]}', '{"embedding": null}'], "line 2 has no embedding"),
        (['{"embedding": [1.0]}', '{"embedding": [1.0], "id": 2}'], "line 1 has no id; expected one in all"),
        ([], "it has no rows"),
    ],
    ids=["cut", "ragged", "number", "scalar", "bool", "null", "id", "empty"],
)
def test_a_bad_line_of_saved_embeddings_is_named(
    mlx: Mlx, tmp_path: Path, lines: list[str], said: str
) -> None:
    (tmp_path / "a.jsonl").write_text("".join(f"{line}\n" for line in lines))
    outcome = mlx("compare", "a.jsonl", "a.jsonl")
    assert outcome.code == 3, outcome
    assert said in outcome.stderr
    assert len(outcome.stderr.splitlines()) == 1


def test_blank_lines_between_saved_embeddings_are_no_rows(mlx: Mlx, tmp_path: Path) -> None:
    lines = [json.dumps({"embedding": [float(number), 1.0]}) for number in range(2_000)]
    (tmp_path / "a.jsonl").write_text("\n\n".join(lines))
    np.save(tmp_path / "b.npy", np.array([[number, 1.0] for number in range(2_000)], np.float32))
    assert mlx("compare", "a.jsonl", "b.npy").code == 0


PEAKS = """
import re, sys
from pathlib import Path
import minilmx
for name in ("few", "many"):
    vectors = name + sys.argv[1]
    result = minilmx.compare(vectors, vectors, texts=name + ".txt", sample=100)
    assert result.passed
    print(re.search(r"VmHWM:\\s*(\\d+) kB", Path("/proc/self/status").read_text()).group(1))
"""


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="needs /proc/self/status")
@pytest.mark.parametrize("suffix", [".npy", ".jsonl", ".parquet"])
def test_the_memory_of_saved_vectors_in_a_sample_does_not_grow_with_the_file(
    suffix: str, tmp_path: Path
) -> None:
    """120,000 rows of 64 float32 numbers are 31 MB, and 20,000 of 32 numbers of Python are 20 MB."""
    width, most = (32, 20_000) if suffix == ".jsonl" else (64, 120_000)
    for name, total in (("few", 2_000), ("many", most)):
        values = np.random.default_rng(1).standard_normal((total, width)).astype(np.float32)
        save_vectors(tmp_path / f"{name}{suffix}", values)
        (tmp_path / f"{name}.txt").write_text("".join(f"{number}\n" for number in range(total)))
    words = [sys.executable, "-c", PEAKS, suffix]
    done = subprocess.run(words, capture_output=True, text=True, env=dict(os.environ))
    assert done.returncode == 0, done.stderr
    few, many = map(int, done.stdout.split())
    assert many - few < 10_000, (few, many)


def test_one_text_is_in_the_singular(tiny: Path, mlx: Mlx, tmp_path: Path) -> None:
    (tmp_path / "one.txt").write_text("a text\n")
    shown = mlx("compare", tiny, tiny, "--texts", "one.txt").stdout
    assert "one.txt: 1 embedding\n" in shown
    assert "In other batches, 1 sentence " in shown
    assert "1 sentence to v.npy with onnxruntime" in mlx("run", tiny, "one.txt", "-o", "v.npy").stderr
