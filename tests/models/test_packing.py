"""Packing texts into rows: every text exactly once, and none across the end of a row."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minilmx.models.batching import assign_rows, pack
from minilmx.models.manifest import Shape
from minilmx.models.tokenizer import Tokenizer

LENGTHS = st.lists(st.integers(1, 16), max_size=60)


@given(lengths=LENGTHS, segments=st.integers(1, 6))
def test_every_text_is_in_one_row_and_no_row_overflows(lengths: list[int], segments: int) -> None:
    rows = assign_rows(lengths, 16, segments)
    assert sorted(text for row in rows for text in row) == list(range(len(lengths)))
    assert all(1 <= len(row) <= segments for row in rows)
    assert all(sum(lengths[text] for text in row) <= 16 for row in rows)


def test_rows_are_as_few_as_possible_in_an_easy_case() -> None:
    assert len(assign_rows([8, 8, 10, 6, 12, 4, 16], 16, 4)) == 4


def test_a_row_holds_at_most_its_number_of_segments() -> None:
    assert [len(row) for row in assign_rows([1] * 7, 16, 3)] == [3, 3, 1]


@pytest.fixture(scope="module")
def tokenizer(tiny_folder: Path) -> Tokenizer:
    return Tokenizer(tiny_folder / "tokenizer.json", Shape(3, 16))


@settings(deadline=None)
@given(texts=st.lists(st.text("abc ", max_size=20), min_size=1, max_size=30), segments=st.integers(1, 5))
def test_packed_batches_hold_the_tokens_of_every_text(
    tokenizer: Tokenizer, texts: list[str], segments: int
) -> None:
    tokenized = tokenizer.encode(texts)
    found: dict[int, list[int]] = {}
    for batch in pack(tokenized, segments):
        assert batch.texts.shape == (3, segments)
        for row, place in np.argwhere(batch.texts >= 0):
            members = batch.segment_ids[row] == place + 1
            positions = batch.position_ids[row][members]
            assert positions.tolist() == list(range(members.sum()))
            found[int(batch.texts[row, place])] = batch.input_ids[row][members].tolist()
        padding = batch.segment_ids == 0
        assert (batch.input_ids[padding] == tokenized.pad_id).all()
        assert (batch.segment_ids <= (batch.texts >= 0).sum(axis=1, keepdims=True)).all()
    counts = tokenized.token_counts
    assert found == {
        text: tokenized.tokens.input_ids[text, : counts[text]].tolist() for text in range(len(texts))
    }
