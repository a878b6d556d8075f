import hashlib
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import models, pre_tokenizers, processors, trainers

from minilmx.errors import ArtifactError, DatasetError, ModelError
from minilmx.export.exporter import export_model
from minilmx.export.options import ExportOptions
from minilmx.models.artifact import Artifact
from minilmx.models.manifest import Shape
from minilmx.models.source import resolve_model
from minilmx.models.tokenizer import MAX_CHARACTERS, TokenBatch, TokenizedTexts, Tokenizer, load_tokenizer

texts = st.lists(st.text(st.characters(codec="utf-8"), max_size=40), max_size=11)


@pytest.fixture(scope="module")
def tokenizer(tiny_original: Artifact) -> Tokenizer:
    """At 4 x 16; every letter is a token, between [CLS] and [SEP]."""
    return Tokenizer(tiny_original.tokenizer_file, tiny_original.shape)


def digest_of(*parts: TokenizedTexts) -> str:
    digest = hashlib.sha256()
    for part in parts:
        part.update_digest(digest)
    return digest.hexdigest()


def test_texts_are_padded_to_the_sequence_length(tokenizer: Tokenizer) -> None:
    tokens = tokenizer.encode(["ab"]).tokens
    a, b = 4, 4 + 68 + 1  # the later letters of a word are separate tokens
    assert tokens.input_ids.tolist() == [[2, a, b, 3] + [0] * 12]
    assert tokens.attention_mask.tolist() == [[1] * 4 + [0] * 12]
    assert tokens.token_type_ids.tolist() == [[0] * 16]
    assert all(array.dtype == np.int64 for array in tokens.feeds().values())


def test_a_text_that_fits_exactly_is_not_truncated(tokenizer: Tokenizer) -> None:
    tokenized = tokenizer.encode(["a " * 13, "a " * 14, "a " * 15, "a " * 500])
    assert tokenized.truncated.tolist() == [False, False, True, True]
    assert tokenized.token_counts.tolist() == [15, 16, 16, 16]
    assert tokenized.tokens.input_ids[:, -1].tolist() == [0, 3, 3, 3]


def test_arrays_are_fed_by_name(tokenizer: Tokenizer) -> None:
    tokens = tokenizer.encode(["a", "b c"]).tokens
    assert list(tokens.feeds()) == ["input_ids", "attention_mask", "token_type_ids"]
    assert tokens.feeds()["attention_mask"] is tokens.attention_mask


def test_the_last_batch_is_filled_with_empty_texts(tokenizer: Tokenizer) -> None:
    first, last = tokenizer.encode(["a", "b", "c", "d", "e"]).batches()
    assert first.input_ids.shape == last.input_ids.shape == (4, 16)
    assert last.input_ids[1:].tolist() == [[2, 3] + [0] * 14] * 3
    assert last.attention_mask.sum(axis=1).tolist() == [3, 2, 2, 2]


def test_an_empty_text_has_its_special_tokens(tokenizer: Tokenizer) -> None:
    tokenized = tokenizer.encode([""])
    assert tokenized.token_counts.tolist() == [2]
    assert tokenized.truncated.tolist() == [False]


def test_zero_texts_make_zero_batches(tokenizer: Tokenizer) -> None:
    tokenized = tokenizer.encode([])
    assert len(tokenized) == 0
    assert tokenized.tokens.input_ids.shape == (0, 16)
    assert list(tokenized.batches()) == []


@settings(deadline=None)
@given(sentences=texts)
def test_batches_contain_every_text_in_order(tokenizer: Tokenizer, sentences: list[str]) -> None:
    tokenized = tokenizer.encode(sentences)
    batches = list(tokenized.batches())
    assert len(batches) == -(-len(sentences) // 4)
    for name, array in tokenized.tokens.feeds().items():
        parts = [batch.feeds()[name] for batch in batches]
        assert all(part.shape == (4, 16) and part.flags.c_contiguous for part in parts)
        together = np.concatenate([np.empty((0, 16), np.int64), *parts])
        assert np.array_equal(together[: len(sentences)], array)
    assert all((batch.attention_mask.sum(axis=1) >= 2).all() for batch in batches)


@settings(deadline=None)
@given(sentences=texts, cut=st.integers(0, 11))
def test_parts_have_the_digest_of_the_whole(tokenizer: Tokenizer, sentences: list[str], cut: int) -> None:
    parts = tokenizer.encode(sentences[:cut]), tokenizer.encode(sentences[cut:])
    assert digest_of(*parts) == digest_of(tokenizer.encode(sentences))


def test_a_digest_distinguishes_texts_masks_and_type_ids(tokenizer: Tokenizer) -> None:
    one = tokenizer.encode(["ab c"])
    ids, mask, types = one.tokens.feeds().values()
    swapped = replace(one, tokens=TokenBatch(ids, types, mask))
    others = [tokenizer.encode(["ab d"]), tokenizer.encode(["ab c", ""]), swapped]
    assert len({digest_of(other) for other in (one, *others)}) == 4


def test_the_rows_of_a_text_do_not_depend_on_its_neighbours(tokenizer: Tokenizer) -> None:
    alone = tokenizer.encode(["x"]).tokens.input_ids[0]
    beside = tokenizer.encode(["a " * 50, "x", ""]).tokens.input_ids[1]
    assert np.array_equal(alone, beside)


def test_real_sentences_get_the_same_ids_as_from_transformers(artifact: Artifact) -> None:
    from transformers import AutoTokenizer

    sentences = [
        "The cat sleeps on the warm stone.",
        "It costs 1,249.50 euros, 15% less than last year!",
        "Is the 7:45 train to Gdańsk late again? 🙂",
        "Привет, мир. 你好,世界。",
        "word " * 100,
        "",
    ]
    ours = Tokenizer(artifact.tokenizer_file, artifact.shape).encode(sentences)
    theirs = AutoTokenizer.from_pretrained(artifact.path, local_files_only=True)
    expected = theirs(sentences, padding="max_length", truncation=True, max_length=48, return_tensors="np")
    assert theirs.model_max_length == 48
    for name, array in ours.tokens.feeds().items():
        assert np.array_equal(array, expected[name]), name
    assert ours.truncated.tolist() == [False, False, False, False, True, False]


@pytest.mark.parametrize("content", ["", "{}", "not json", '{"model": {"type": "WordPiece"}}'])
def test_a_file_that_is_not_a_tokenizer_is_refused(tmp_path: Path, content: str) -> None:
    file = tmp_path / "tokenizer.json"
    file.write_text(content)
    with pytest.raises(ArtifactError, match="is not a tokenizer file"):
        Tokenizer(file, Shape(1, 8))


def test_a_missing_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"tokenizer\.json is not a tokenizer file"):
        Tokenizer(tmp_path / "tokenizer.json", Shape(1, 8))


def test_a_padding_token_outside_of_the_vocabulary_is_refused(tiny_folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(tiny_folder, tmp_path / "copy"))
    settings_of = {"pad_token": {"content": "<nothing>"}}
    (copy / "tokenizer_config.json").write_text(json.dumps(settings_of))
    with pytest.raises(ModelError, match="no padding token '<nothing>'; expected"):
        export_model(resolve_model(str(copy)), tmp_path / "out", ExportOptions(Shape(1, 8), from_onnx=True))
    assert not (tmp_path / "out").exists()


WORDS = [
    "a",
    "b1",
    "Grüße",
    "e\u0301",
    "你好",
    "x.y",
    "[SEP]",
    "</s>",
    "don't",
    "12",
    "\u200b",
    "\x1c",
    "q" * 120,
    "Σ",
]
SPACES = [" ", "  ", "\n", "\t", "\r\n", "\x85", "\xa0", "\u2003", " \u0301", "\x0b", ""]
LONG = st.lists(st.tuples(st.sampled_from(WORDS), st.sampled_from(SPACES)), max_size=30).map(
    lambda pairs: "".join(chain(*pairs)) * 10
)


@pytest.fixture(scope="module")
def byte_level(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer.json like RoBERTa's, with a special token that takes the white space before it."""
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        special_tokens=["<s>", "<pad>", "</s>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    tokenizer.train_from_iterator(["a b1 Grüße you don't  know 12", *WORDS], trainer)
    tokenizer.add_special_tokens([tokenizers.AddedToken("[SEP]", lstrip=True)])
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    file = tmp_path_factory.mktemp("byte-level") / "tokenizer.json"
    tokenizer.save(str(file))
    return file


@pytest.mark.parametrize("kind", ["BERT", "byte level"])
@given(texts=st.lists(LONG, max_size=2))
@settings(max_examples=80, deadline=None)
def test_the_start_of_a_long_text_gives_the_tokens_of_the_whole_text(
    kind: str, texts: list[str], tiny_original: Artifact, byte_level: Path
) -> None:
    file = byte_level if kind == "byte level" else tiny_original.tokenizer_file
    reference = load_tokenizer(file)
    reference.enable_truncation(8)
    tokenized = Tokenizer(file, Shape(2, 8)).encode(texts)
    for row, text in enumerate(texts):
        encoding = reference.encode(text)
        count = len(encoding.ids)
        assert tokenized.tokens.input_ids[row, :count].tolist() == encoding.ids
        assert tokenized.token_counts[row] == count
        assert tokenized.truncated[row] == bool(encoding.overflowing)


def changed(file: Path, folder: Path, **changes: object) -> Path:
    """A copy of a tokenizer.json with other settings."""
    path = folder / "tokenizer.json"
    path.write_text(json.dumps(json.loads(file.read_text()) | changes))
    return path


def test_a_giant_text_is_tokenized_by_its_start(tokenizer: Tokenizer) -> None:
    start = "a cat, " * 100
    tokenized = tokenizer.encode([start * 10**5, start])
    assert tokenized.truncated.tolist() == [True, True]
    first, second = tokenized.tokens.input_ids
    assert first.tolist() == second.tolist()
    few = " " * 30_000 + "a cat"  # no token comes early
    assert (
        tokenizer.encode([few]).tokens.input_ids.tolist()
        == tokenizer.encode(["a cat"]).tokens.input_ids.tolist()
    )


@settings(max_examples=60, deadline=None)
@given(
    pairs=st.lists(st.tuples(st.text("ab [SEP]", max_size=40), st.text("ab ", max_size=40)), max_size=5),
    length=st.integers(5, 33),
    direction=st.sampled_from(["right", "left"]),
)
def test_pairs_lose_the_tokens_that_the_library_takes_from_them(
    tiny_original: Artifact, pairs: list[tuple[str, str]], length: int, direction: str
) -> None:
    library = load_tokenizer(tiny_original.tokenizer_file)
    library.no_padding()
    library.enable_truncation(length, direction=direction)
    expected = library.encode_batch(pairs)
    tokenizer = Tokenizer(tiny_original.tokenizer_file, Shape(1, length), document=library.to_str().encode())
    found = tokenizer.encode_pairs(pairs)
    assert found.truncated.tolist() == [bool(each.overflowing) for each in expected]
    assert found.token_counts.tolist() == [len(each) for each in expected]
    for row, each in enumerate(expected):
        assert found.tokens.input_ids[row, : len(each)].tolist() == each.ids
        assert found.tokens.token_type_ids[row, : len(each)].tolist() == each.type_ids


LONG_PAIR = """
import re, sys
from pathlib import Path
from minilmx.models.manifest import Shape
from minilmx.models.tokenizer import Tokenizer
words = int(sys.argv[2])
pair = "a " * words, "b " * words
assert Tokenizer(Path(sys.argv[1]), Shape(1, 16)).encode_pairs([pair]).truncated.all()
print(re.search(r"VmHWM:\\s*(\\d+) kB", Path("/proc/self/status").read_text()).group(1))
"""


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="needs /proc/self/status")
def test_the_memory_of_a_pair_does_not_grow_with_the_product_of_its_texts(tiny_original: Artifact) -> None:
    def peak(words: int) -> int:
        command = [sys.executable, "-c", LONG_PAIR, str(tiny_original.tokenizer_file), str(words)]
        return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    assert peak(4_000) < peak(40) + 100_000  # kB


LEFT = {"direction": "Left", "max_length": 16, "strategy": "LongestFirst", "stride": 0}
STRIPPED = {"type": "Strip", "strip_left": True, "strip_right": True}
GIANT = "a " * (MAX_CHARACTERS // 2 + 1)


@pytest.mark.parametrize(
    ("text", "changes"),
    [
        ("x" * (MAX_CHARACTERS + 1), {}),
        (" " * MAX_CHARACTERS + "x", {}),
        (GIANT, {"truncation": LEFT}),
        (GIANT, {"normalizer": STRIPPED}),
        (
            GIANT,
            {
                "pre_tokenizer": {
                    "type": "Split",
                    "pattern": {"String": "b"},
                    "behavior": "Isolated",
                    "invert": False,
                }
            },
        ),
        (GIANT, {"pre_tokenizer": None}),
    ],
    ids=[
        "one word",
        "no word",
        "truncated on the left",
        "another normalizer",
        "another pre-tokenizer",
        "none",
    ],
)
def test_a_giant_text_whose_start_proves_nothing_is_refused(
    text: str, changes: dict[str, object], tiny_original: Artifact, tmp_path: Path
) -> None:
    tokenizer = Tokenizer(changed(tiny_original.tokenizer_file, tmp_path, **changes), tiny_original.shape)
    with pytest.raises(DatasetError) as caught:
        tokenizer.encode(["a", text])
    assert caught.value.message == (
        f"the text {text[:80]!r} has {len(text):,} characters, and its start does not determine its first 16 "
        "tokens; expected at most 1,048,576"
    )


def test_an_added_token_with_a_space_in_it_is_found_in_a_long_text(
    tiny_original: Artifact, tmp_path: Path
) -> None:
    """A text that was cut within the token would have other tokens."""
    added = tokenizers.Tokenizer.from_file(str(tiny_original.tokenizer_file))
    added.add_tokens([tokenizers.AddedToken("(b " + "c " * 400 + "d)")])
    added.save(str(tmp_path / "tokenizer.json"))
    tokenizer = Tokenizer(tmp_path / "tokenizer.json", tiny_original.shape)
    text = "a (b " + "c " * 400 + "d) e"
    assert int(tokenizer.encode([text]).token_counts[0]) == 5
