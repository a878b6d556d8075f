"""Batches of equal length: no padding, and every text exactly once."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from minilmx.embedding.embedder import Embedder
from minilmx.models.artifact import Artifact
from minilmx.models.batching import BATCH_TOKENS, group_by_length
from minilmx.models.tokenizer import Tokenizer

LETTERS = st.text(alphabet="abcdefgh ", max_size=40)


@settings(deadline=None)
@given(texts=st.lists(LETTERS, max_size=60))
def test_every_text_is_in_one_batch_of_its_own_length(tiny_original: Artifact, texts: list[str]) -> None:
    tokenized = Tokenizer(tiny_original.tokenizer_file, tiny_original.shape).encode(texts)
    seen: list[int] = []
    for batch, rows in group_by_length(tokenized):
        length = batch.input_ids.shape[1]
        assert batch.input_ids.size <= BATCH_TOKENS
        assert batch.attention_mask.all()
        for name, array in batch.feeds().items():
            assert np.array_equal(array, tokenized.tokens.feeds()[name][rows, :length]), name
        assert (tokenized.token_counts[rows] == length).all()
        seen += rows.tolist()
    assert sorted(seen) == list(range(len(texts)))


def test_batches_are_as_large_as_the_limit_allows(tiny_original: Artifact) -> None:
    texts = ["a b c"] * 1000
    sizes = [
        batch.input_ids.shape
        for batch, _ in group_by_length(
            Tokenizer(tiny_original.tokenizer_file, tiny_original.shape).encode(texts)
        )
    ]
    rows, length = sizes[0]
    assert rows * length <= BATCH_TOKENS < (rows + 1) * length
    assert len(sizes) == -(-1000 // rows)


def test_real_sentences_get_the_same_embeddings_as_from_the_fixed_graph(artifact: Artifact) -> None:
    texts = ["", "A cat.", "A dog sleeps on the warm stone near the river.", "word " * 80, "Привет"] * 3
    with Embedder(artifact, "onnxruntime", artifact.graph_kind) as fixed:
        expected = fixed.encode(texts)
    dynamic = artifact.with_graph("dynamic")
    with Embedder(dynamic, "onnxruntime", dynamic.graph_kind) as runner:
        assert np.abs(runner.encode(texts) - expected).max() <= 1e-6
