"""The contract of runners, checked on every registered runner that can run here."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minilmx.models.artifact import Artifact
from minilmx.models.tokenizer import TokenBatch, Tokenizer
from minilmx.runners.base import Runner, RunnerEntry
from minilmx.runners.registry import find_runner, open_runner, runner_names

TEXTS = [
    "A man is playing a guitar.",
    "Yes.",
    "The committee postponed its decision until the auditors had read all three reports.",
    "Ein Zug fährt nach Köln.",
    "她在读书。",
]


@pytest.fixture(scope="module", params=runner_names())
def runner(
    request: pytest.FixtureRequest, artifact: Artifact, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Runner]:
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "groq":
            cache = tmp_path_factory.mktemp("cache")
            use_stand_ins(patch, cache, request.getfixturevalue("built_minilm"))
        entry = find_runner(request.param)
        missing = entry.missing(entry.options())
        if missing is not None:
            pytest.skip(missing)
        with open_runner(request.param, artifact) as opened:
            yield opened


def use_stand_ins(patch: pytest.MonkeyPatch, cache: Path, built: Any) -> None:
    """Use the real GroqFlow and a build by the stand-in SDK of tests/groqware, which is not a GroqCard."""
    shutil.copytree(built.cache, cache / "minilmx" / "groq")
    for name in (
        "PATH",
        "PYTHONPATH",
        "GROQWARE_PYTHON",
        "MINILMX_GROQFLOW_PYTHON",
    ):
        patch.setenv(name, built.variables[name])
    patch.setenv("XDG_CACHE_HOME", str(cache))


@pytest.fixture(scope="module")
def batch(artifact: Artifact) -> TokenBatch:
    return next(Tokenizer(artifact.tokenizer_file, artifact.shape).encode(TEXTS).batches())


def with_rows(batch: TokenBatch, rows: list[int]) -> TokenBatch:
    return TokenBatch(**{name: array[rows] for name, array in batch.feeds().items()})


def test_its_name_is_the_registered_one(runner: Runner) -> None:
    entry = find_runner(runner.name)
    assert isinstance(entry, RunnerEntry)
    assert entry.name == runner.name
    assert entry.about


def test_it_returns_one_float32_row_per_input_row(runner: Runner, batch: TokenBatch) -> None:
    embeddings = runner.run(batch)
    assert embeddings.shape == (8, 384)
    assert embeddings.dtype == np.float32
    assert np.isfinite(embeddings).all()
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, atol=2e-3)


def test_it_feeds_inputs_by_name(runner: Runner, batch: TokenBatch) -> None:
    """Swapped inputs change the embeddings by much, so a mix-up would be noticed."""
    plain = runner.run(batch)
    other_types = TokenBatch(batch.input_ids, batch.attention_mask, 1 - batch.token_type_ids)
    full_mask = TokenBatch(batch.input_ids, np.ones_like(batch.attention_mask), batch.token_type_ids)
    swapped = TokenBatch(batch.input_ids, batch.token_type_ids, batch.attention_mask)
    for changed in (other_types, full_mask, swapped):
        assert np.abs(runner.run(changed) - plain).max() > 0.01


def test_it_agrees_with_the_float32_graph(runner: Runner, artifact: Artifact, batch: TokenBatch) -> None:
    with open_runner("onnxruntime", artifact) as reference:
        expected = reference.run(batch)
    np.testing.assert_allclose(runner.run(batch), expected, rtol=0, atol=2e-3)


def test_a_row_does_not_depend_on_its_position_or_on_other_rows(runner: Runner, batch: TokenBatch) -> None:
    forward = runner.run(batch)
    order = list(reversed(range(8)))
    np.testing.assert_allclose(runner.run(with_rows(batch, order))[order], forward, atol=1e-3)
    alone = runner.run(with_rows(batch, [2] * 8))
    np.testing.assert_allclose(alone, np.repeat(forward[2:3], 8, axis=0), atol=1e-3)


def test_it_is_deterministic(runner: Runner, batch: TokenBatch) -> None:
    assert np.array_equal(runner.run(batch), runner.run(batch))


def test_it_does_not_change_its_input(runner: Runner, batch: TokenBatch) -> None:
    before = {name: array.copy() for name, array in batch.feeds().items()}
    runner.run(batch)
    for name, array in batch.feeds().items():
        assert np.array_equal(array, before[name])


def test_its_details_can_be_saved_as_json(runner: Runner, batch: TokenBatch) -> None:
    runner.run(batch)
    assert runner.versions
    document = json.loads(json.dumps(dict(runner.details), allow_nan=False))
    assert document == dict(runner.details)
    assert document


@pytest.mark.parametrize("name", runner_names())
def test_only_an_emulation_is_described_as_one(name: str) -> None:
    entry = find_runner(name)
    assert ("emulat" in entry.about) == ("emulat" in name)


def test_closing_twice_does_nothing(runner: Runner) -> None:
    """This must be the last test: it closes what the others use, and the fixture closes it again."""
    runner.close()
    runner.close()
