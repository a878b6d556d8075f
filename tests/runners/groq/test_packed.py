"""The packed graph through the real GroqFlow with the stand-in SDK: equal embeddings in fewer runs."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from minilmx.eval.datasets.pairs import load_pairs
from minilmx.models.batching import feed_batches
from minilmx.models.tokenizer import Tokenizer

STSB = Path(__file__).parents[4] / "shared" / "stsb" / "stsb-en-test.csv"


@pytest.fixture(scope="module")
def sentences():
    if not STSB.exists():
        pytest.skip(f"needs the STS benchmark at {STSB}")
    return load_pairs(str(STSB)).texts


@pytest.mark.slow
def test_packing_takes_eight_and_a_half_times_fewer_runs_of_the_program(
    machine, built_packed, complete, sentences
):
    shutil.copytree(built_packed.cache, machine.cache)
    tokenized = Tokenizer(complete.tokenizer_file, complete.shape).encode(sentences)
    runs = sum(1 for _ in feed_batches(tokenized, complete.with_graph("packed")))
    assert len(sentences) / runs >= 8.5
    few = [text.strip() for text in sentences[:120]]
    records, values = [], []
    for name, words in (("cpu", []), ("card", ["--runner", "groq", "--graph", "packed"])):
        outcome = machine.mlx("run", complete.path, *words, "-o", f"{name}.npy", stdin="\n".join(few))
        assert outcome.code == 0, outcome
        records.append(json.loads((machine.folder / f"{name}.npy.run.json").read_text()))
        values.append(np.load(machine.folder / f"{name}.npy"))
    assert records[1]["graph"] == "packed"
    assert records[1]["details"]["caution"].startswith("a stand-in for Groq's SDK")
    assert len(few) / records[1]["timing"]["batches"] >= 6  # the last of a few rows are not full
    assert 0 < np.abs(values[0] - values[1]).max() < 1e-3
