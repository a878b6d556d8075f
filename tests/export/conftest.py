"""A small BERT with random weights, and embeddings through a fixed graph."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.conftest import MakeModel

from minilmx.export.parity import open_session
from minilmx.models.artifact import Artifact
from minilmx.models.tokenizer import Tokenizer


@pytest.fixture(scope="session")
def bert_original(make_model: MakeModel) -> Path:
    """A small BERT for all tests of the session: copy it before changing it."""
    return make_model()


def embed_fixed(artifact: Artifact, texts: list[str]) -> NDArray[np.float32]:
    """Through the fixed graph, fed by name."""
    tokenized = Tokenizer(artifact.tokenizer_file, artifact.shape).encode(texts)
    session = open_session(artifact.fixed_graph)
    parts = [session.run(["sentence_embedding"], batch.feeds())[0] for batch in tokenized.batches()]
    return np.concatenate(parts)[: len(texts)]
