"""Graded pairs: the bundled ones, files in every format, and bad data."""

import gzip
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from minilmx.errors import DatasetError
from minilmx.eval.datasets.pairs import PairColumns, load_pairs
from minilmx.files.formats import TextFormat
from minilmx.models.artifact import Artifact
from minilmx.models.tokenizer import Tokenizer, load_tokenizer
from minilmx.progress import Progress

STSB = Path(__file__).parents[4] / "shared" / "stsb"
ROWS = [("A cat, asleep.", "Ein Kater", 4.5), ('She said "no"', "她说不", 0), ("x", "y z", 5)]


def write(path: Path, *, header: bool = True, rows: object = None) -> Path:
    import csv

    names = ("sentence1", "sentence2", "score")
    data = rows if isinstance(rows, list) else ROWS
    if path.suffix == ".jsonl":
        lines = [json.dumps(dict(zip(names, row, strict=True))) for row in data]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    elif path.suffix == ".parquet":
        pyarrow = pytest.importorskip("pyarrow", reason="needs pyarrow for Parquet")
        parquet = pytest.importorskip("pyarrow.parquet", reason="needs pyarrow for Parquet")
        columns = dict(zip(names, map(list, zip(*data, strict=True)), strict=True))
        parquet.write_table(pyarrow.table(columns), str(path))
    else:
        with path.open("w", newline="", encoding="utf-8") as stream:
            for row in [names, *data] if header else data:
                if path.suffix == ".tsv":  # as STSb has it, without quoting
                    stream.write("\t".join(map(str, row)) + "\n")
                else:
                    csv.writer(stream).writerow(row)
    return path


class Heard(Progress):
    """Keeps the messages."""

    def __init__(self) -> None:
        self.messages: list[str] = []

    def message(self, text: str) -> None:
        self.messages.append(text)


def write_sbert(path: Path) -> Path:
    """Rows in the layout of sbert.net's stsbenchmark.tsv.gz: no quoting, and all splits in one file."""
    lines = [
        "split\tgenre\tdataset\tyear\tsid\tscore\tsentence1\tsentence2",
        'train\tmain-news\tMSRpar\t2012\t1\t5.0\t"I see," he said.\tHe said he saw.',
        'train\tmain-news\tMSRpar\t2012\t2\t1.0\tNo. "Why?\tA "quote" inside',
        'dev\tmain-news\tMSRpar\t2012\t3\t2.0\t"Unclosed\tq"',
        'test\tmain-news\tMSRpar\t2012\t4\t3.0\ta\t"b',
        "test\tmain-news\tMSRpar\t2012\t5\t4.0\tc\td",
    ]
    path.write_bytes(gzip.compress("".join(f"{line}\n" for line in lines).encode()))
    return path


def error_of(path: Path, **options: object) -> str:
    with pytest.raises(DatasetError) as caught:
        load_pairs(str(path), **options)  # type: ignore[arg-type]
    return str(caught.value)


def test_the_bundled_pairs_cover_every_grade_and_are_unique() -> None:
    pairs = load_pairs("bundled")
    assert len(pairs) == 208
    assert (pairs.name, pairs.language, pairs.split) == ("bundled", "en", None)
    assert {0, 1, 2, 3, 4, 5} <= set(pairs.gold.tolist())
    assert pairs.gold.min() == 0
    assert pairs.gold.max() == 5
    both = list(zip(pairs.sentences1, pairs.sentences2, strict=True))
    assert len({frozenset(pair) for pair in both}) == 208
    assert pairs.texts == pairs.sentences1 + pairs.sentences2


def test_the_bundled_pairs_go_from_two_words_to_past_128_tokens(artifact: Artifact) -> None:
    texts = load_pairs("bundled").texts
    assert min(len(text.split()) for text in texts) <= 2
    counts = Tokenizer(artifact.tokenizer_file, artifact.shape).encode(texts).truncated
    assert counts.sum() > 20
    tokenizer = load_tokenizer(artifact.tokenizer_file)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    lengths = [len(encoding.ids) for encoding in tokenizer.encode_batch(texts)]
    assert min(lengths) <= 4
    assert max(lengths) > 128


def test_the_bundled_pairs_hold_numbers_negation_emoji_and_other_scripts() -> None:
    text = " ".join(load_pairs("bundled").texts)
    assert any(character.isdigit() for character in text)
    assert " not " in text
    for low, high in ((0x1F300, 0x1FAFF), (0x4E00, 0x9FFF), (0x0400, 0x04FF), (0x0600, 0x06FF)):
        assert any(low <= ord(character) <= high for character in text), hex(low)


@pytest.mark.parametrize("name", ["p.csv", "p.tsv", "p.jsonl", "p.parquet"])
def test_a_file_of_pairs_is_read_in_every_format(name: str, tmp_path: Path) -> None:
    pairs = load_pairs(str(write(tmp_path / name)))
    assert list(zip(pairs.sentences1, pairs.sentences2, pairs.gold, strict=True)) == ROWS
    assert (pairs.name, pairs.language, pairs.split) == (name, None, None)
    assert pairs.gold.dtype == np.float64


@pytest.mark.parametrize("name", ["p.csv", "p.tsv", "p.csv.gz"])
def test_a_file_can_lack_a_header_like_those_of_stsb(name: str, tmp_path: Path) -> None:
    file = write(tmp_path / name.removesuffix(".gz"), header=False)
    if name.endswith(".gz"):
        (tmp_path / name).write_bytes(gzip.compress(file.read_bytes()))
    pairs = load_pairs(str(tmp_path / name))
    assert list(zip(pairs.sentences1, pairs.sentences2, pairs.gold, strict=True)) == ROWS


def test_without_a_header_lines_are_counted_from_the_first_and_equal_sentences_are_kept(
    tmp_path: Path,
) -> None:
    rows = [("same", "same", 4.5), ("b", "c", "high")]
    assert "line 2: the score is 'high'" in error_of(write(tmp_path / "p.csv", header=False, rows=rows))
    rows = [("same", "same", 4.5), ("b", "c", 1)]
    pairs = load_pairs(str(write(tmp_path / "p.csv", header=False, rows=rows)))
    assert (pairs.sentences1, pairs.sentences2) == (["same", "b"], ["same", "c"])


def test_the_score_can_have_the_names_that_hub_data_sets_use(tmp_path: Path) -> None:
    for name in ("similarity_score", "score", "label"):
        file = tmp_path / f"{name}.csv"
        file.write_text(f"id,{name},sentence2,sentence1\n7,1,b,a\n8,2,d,c\n")
        pairs = load_pairs(str(file))
        assert (pairs.sentences1, pairs.sentences2) == (["a", "c"], ["b", "d"])
        assert pairs.gold.tolist() == [1, 2]


def test_the_stsbenchmark_file_of_sbert_is_read_as_it_is(tmp_path: Path) -> None:
    file, heard = write_sbert(tmp_path / "stsbenchmark.tsv.gz"), Heard()
    pairs = load_pairs(str(file), split="train", progress=heard)
    assert pairs.sentences1 == ['"I see," he said.', 'No. "Why?']
    assert pairs.sentences2 == ["He said he saw.", 'A "quote" inside']
    assert pairs.gold.tolist() == [5, 1]
    assert (pairs.name, pairs.split) == ("stsbenchmark.tsv.gz", "train")
    assert heard.messages == ["stsbenchmark.tsv.gz: 5 rows read, 2 of them with the split train"]


def test_pairs_are_read_from_a_url(tmp_path: Path) -> None:
    memory = pytest.importorskip("fsspec", reason="needs fsspec").filesystem("memory")
    memory.pipe("/pairs/p.csv", write(tmp_path / "p.csv").read_bytes())
    try:
        pairs = load_pairs("memory://pairs/p.csv")
    finally:
        memory.store.clear()
    assert list(zip(pairs.sentences1, pairs.sentences2, pairs.gold, strict=True)) == ROWS
    assert pairs.name == "p.csv"


def test_splits_are_never_mixed(tmp_path: Path) -> None:
    file = write_sbert(tmp_path / "stsbenchmark.tsv.gz")
    assert "has the splits train, dev, test; expected one. Choose one of them." in error_of(file)
    assert "has no split 'valid'; its splits are train, dev, test" in error_of(file, split="valid")


def test_the_only_split_of_a_file_is_recorded(tmp_path: Path) -> None:
    file = tmp_path / "p.csv"
    file.write_text("split,sentence1,sentence2,score\ntest,a,b,1\ntest,c,d,2\n")
    assert load_pairs(str(file)).split == "test"


def test_the_rows_read_are_reported(tmp_path: Path) -> None:
    heard = Heard()
    load_pairs(str(write(tmp_path / "p.csv")), progress=heard)
    load_pairs(str(tmp_path / "p.csv"), limit=2, progress=heard)
    load_pairs("bundled", progress=heard)
    assert heard.messages == [
        "p.csv: 3 rows read",
        "p.csv: 3 rows read; the first 2 are used",
        "bundled: 208 rows read",
    ]


def test_a_format_is_for_files(tmp_path: Path) -> None:
    file = tmp_path / "p.csv"
    file.write_text('sentence1|sentence2|score\n"a"|b|1\nc|d|2\n')
    assert load_pairs(str(file), text_format=TextFormat(delimiter="|", quoting="none")).sentences1 == [
        '"a"',
        "c",
    ]
    for name in ("bundled", "stsb"):
        with pytest.raises(DatasetError, match="a delimiter is only for CSV and TSV files; the input is no"):
            load_pairs(name, text_format=TextFormat(delimiter=";"))


@pytest.mark.skipif(not STSB.is_dir(), reason="needs the STSb data in ../shared/stsb")
def test_no_sentence_of_stsb_is_taken_for_a_quoted_field(tmp_path: Path) -> None:
    pairs = load_pairs(str(STSB / "stsb-en-train.csv"))
    rows = list(zip(pairs.sentences1, pairs.sentences2, pairs.gold.tolist(), strict=True))
    again = load_pairs(str(write(tmp_path / "p.tsv", rows=rows)))
    assert again.texts == pairs.texts


@pytest.mark.skipif(not STSB.is_dir(), reason="needs the STSb data in ../shared/stsb")
@pytest.mark.parametrize("language", ["en", "de", "fr", "es"])
def test_stsb_files_are_read_whole(language: str) -> None:
    pairs = load_pairs(str(STSB / f"stsb-{language}-test.csv"))
    assert len(pairs) == 1379
    assert pairs.gold.mean() == pytest.approx(2.608, abs=1e-3)


def test_limit_keeps_the_first_pairs(tmp_path: Path) -> None:
    file = write(tmp_path / "p.csv")
    assert load_pairs(str(file), limit=2).texts == [ROWS[0][0], ROWS[1][0], ROWS[0][1], ROWS[1][1]]
    assert len(load_pairs(str(file), limit=99)) == 3


@pytest.mark.parametrize(
    ("score", "message"),
    [
        ("high", "line 3: the score is 'high'; expected a number"),
        ("", "line 3: the score is ''; expected a number"),
        ("nan", "line 3: the score is 'nan'; expected a number"),
        ("inf", "line 3: the score is 'inf'; expected a number"),
    ],
)
def test_a_wrong_score_is_named_with_its_line(score: str, message: str, tmp_path: Path) -> None:
    file = write(tmp_path / "p.csv", rows=[("a", "b", 1), ("c", "d", score), ("e", "f", 2)])
    assert message in error_of(file)


@pytest.mark.parametrize("score", [None, True, [1], 10**400, "one"])
def test_a_score_of_another_type_is_refused(score: object, tmp_path: Path) -> None:
    file = write(tmp_path / "p.jsonl", rows=[("a", "b", 1), ("c", "d", score)])
    assert "line 2: the score is" in error_of(file)
    assert error_of(file).endswith("; expected a number")


def test_pairs_that_cannot_be_ranked_are_refused(tmp_path: Path) -> None:
    one = write(tmp_path / "one.csv", rows=[("a", "b", 1)])
    assert "one.csv: one pair; expected at least two" in error_of(one)
    same = write(tmp_path / "same.csv", rows=[("a", "b", 3), ("c", "d", 3)])
    assert "same.csv: all 2 pairs have the score 3; expected different scores" in error_of(same)


@pytest.mark.parametrize("scores", [[-1, 0.5, 1], [0, 0.25, 1], [0, 55, 100], [1, 3.2, 5]])
def test_scores_may_be_on_any_scale(scores: list[float], tmp_path: Path) -> None:
    rows = [("a", "b", scores[0]), ("c", "d", scores[1]), ("e", "f", scores[2])]
    assert load_pairs(str(write(tmp_path / "p.csv", rows=rows))).gold.tolist() == scores


def test_columns_of_any_name_are_chosen(tmp_path: Path) -> None:
    file = tmp_path / "SICK.txt.tsv"
    file.write_text(
        "pair_ID\tsentence_A\tsentence_B\tentailment_label\trelatedness_score\tSemEval_set\n"
        "1\tA group of kids\tA group of boys\tNEUTRAL\t4.5\tTRAIN\n"
        "2\tNo kids\tA man\tNEUTRAL\t1.1\tTRIAL\n"
    )
    expected = "and one of similarity_score, score, label. Name the columns of the texts and of the score."
    assert expected in error_of(file)
    columns = PairColumns(("sentence_A", "sentence_B"), "relatedness_score")
    pairs = load_pairs(str(file), columns=columns)
    assert (pairs.sentences1, pairs.sentences2) == (
        ["A group of kids", "No kids"],
        ["A group of boys", "A man"],
    )
    assert pairs.gold.tolist() == [4.5, 1.1]
    wrong = PairColumns(("sentence_A", "sentence_C"), "relatedness_score")
    assert "has no column 'sentence_C'; its columns are pair_ID" in error_of(file, columns=wrong)
    wrong = PairColumns(("sentence_A", "sentence_B"), "score")
    assert "has no column 'score'; its columns are pair_ID" in error_of(file, columns=wrong)
    wrong = PairColumns(("sentence_A", "sentence_A"), "relatedness_score")
    assert "from the column 'sentence_A'; expected two columns" in error_of(file, columns=wrong)


def test_other_columns_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "p.csv"
    file.write_text("left,right,score\na,b,1\nc,d,2\n")
    assert "the columns 'left', 'right', 'score'; expected sentence1" in error_of(file)


@pytest.mark.parametrize("option", ["language", "split"])
def test_a_file_without_splits_has_no_language_and_no_split(option: str, tmp_path: Path) -> None:
    file = write(tmp_path / "p.csv")
    assert f"a {option} cannot be chosen for {file}" in error_of(file, **{option: "de"})
    with pytest.raises(DatasetError, match=f"a {option} cannot be chosen for bundled"):
        load_pairs("bundled", **{option: "de"})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["nowhere/pairs.csv", "./pairs.csv", "../a/pairs.jsonl"])
def test_a_mistyped_path_is_not_taken_for_a_hub_id(name: str) -> None:
    with pytest.raises(DatasetError, match=f"{name} does not exist"):
        load_pairs(name)


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(DatasetError, match="unknown data set 'stsbb'; expected bundled, stsb, a hub id"):
        load_pairs("stsbb")


def test_stsb_has_no_other_language() -> None:
    pytest.importorskip("datasets", reason="needs datasets")
    with pytest.raises(DatasetError, match="stsb: unknown language 'xx'; expected one of de, en"):
        load_pairs("stsb", language="xx")


@pytest.mark.parametrize("dataset", ["stsb", "some/thing"])
def test_a_hub_that_cannot_be_reached_fails_at_once(dataset: str, tmp_path: Path) -> None:
    pytest.importorskip("datasets", reason="needs datasets")
    started = time.monotonic()
    message = load_from_a_dead_hub(dataset, tmp_path, "0")
    assert time.monotonic() - started < 15
    assert "DatasetError: the data set" in message
    assert "Connection refused. Check the connection, set HF_HUB_OFFLINE=1" in message
    assert "Retrying" not in message


def test_a_data_set_that_is_not_in_the_cache_of_an_offline_machine(tmp_path: Path) -> None:
    pytest.importorskip("datasets", reason="needs datasets")
    assert "Unset HF_HUB_OFFLINE, or use a file." in load_from_a_dead_hub("some/thing", tmp_path, "1")


def load_from_a_dead_hub(dataset: str, home: Path, offline: str) -> str:
    """What a process that loads a data set prints as its error."""
    code = f"from minilmx.eval.datasets.pairs import load_pairs; load_pairs({dataset!r})"
    hub = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(home), "HF_HUB_OFFLINE": offline}
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | hub, capture_output=True, text=True, check=False
    )
    return done.stderr
