"""A small BERT with random weights."""

from pathlib import Path

import pytest
from tests.conftest import MakeModel


@pytest.fixture(scope="session")
def bert_original(make_model: MakeModel) -> Path:
    """A small BERT for all tests of the session: copy it before changing it."""
    return make_model()
