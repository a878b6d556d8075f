"""Groq's own proof point beside what it gives here, through the real GroqFlow with the stand-in SDK."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from tests.conftest import FULL_SIZE

import minilmx
from minilmx.api.groq import reproduce_groq
from minilmx.eval.datasets.pairs import load_pairs
from minilmx.export.options import ExportOptions
from minilmx.models.manifest import Shape

STSB = Path(__file__).parents[4] / "shared" / "stsb" / "stsb-en-test.csv"
NAME = "all-MiniLM-L6-v2-b2-s128-bool"


@pytest.fixture(scope="session")
def proof(real_source, export_once):
    """all-MiniLM-L6-v2 at the proof point's shape, with its bool mask."""
    return export_once(NAME, lambda: real_source, ExportOptions(Shape(2, 128), mask="bool"))


@pytest.fixture(scope="session")
def built_proof(proof, build_once):
    return build_once("built-proof", proof)


@pytest.fixture
def prepared(machine, built_proof):
    shutil.copytree(built_proof.cache, machine.cache)
    return machine


def rows(stdout):
    """The cells of each row of the table, by its label."""
    table = [re.split(r" {2,}", line.strip()) for line in stdout.splitlines()]
    return {label: cells for label, *cells in table if cells}


def spearman_of_the_graphs_own_pooling(artifact, pairs):
    first, second, scores = zip(*pairs, strict=True)
    with minilmx.load(artifact) as model:
        similarities = (model.encode(first) * model.encode(second)).sum(axis=1)
    return stats.spearmanr(similarities, scores).statistic


def write_pairs(path, pairs):
    lines = [f'"{one}","{other}",{score}' for one, other, score in pairs]
    path.write_text("\n".join(["sentence1,sentence2,score", *lines, ""]), encoding="utf-8")
    return path


PAIRS = [
    ("A man plays a guitar.", "A man is playing the guitar.", 4.8),
    ("A cat sleeps.", "The stock market fell today.", 0.1),
    ("word " * 200, "word", 3.0),
    ("Two dogs run in a field.", "Dogs run outside.", 3.4),
    ("It rains.", "It is raining.", 4.9),
    ("A short text.", "long " * 127, 1.0),
]


@pytest.mark.timeout(300)
def test_the_figures_of_groq_stand_beside_those_that_are_called_emulated(prepared, proof):
    data = write_pairs(prepared.folder / "pairs.csv", PAIRS)
    outcome = prepared.mlx("groq", "reproduce", proof.path, "--dataset", data)
    assert outcome.code == 0, outcome
    table = rows(outcome.stdout)
    assert table["figure"] == ["Groq's proof point [1]", "here (emulated)"]
    assert table["on-chip compute (cycles)"][0] == "0.3816 ms (2,620.58/s)"
    assert table["with PCIe (GroqFlow's estimate)"][0] == "not published"
    assert table["inside the SDK call (measured)"][0] == "0.466 ms (2,144.87/s)"
    assert table["Spearman"][0] == "0.8204"
    assert table["Spearman on the CPU"][0] == "0.8203"
    compute, pcie, call = (
        float(table[name][1].split()[0])
        for name in (
            "on-chip compute (cycles)",
            "with PCIe (GroqFlow's estimate)",
            "inside the SDK call (measured)",
        )
    )
    assert 0 < compute < pcie < call
    expected = f"{spearman_of_the_graphs_own_pooling(proof, [PAIRS[i] for i in (0, 1, 3, 4)]):.4f}"
    assert table["Spearman"][1] == table["Spearman on the CPU"][1] == expected
    assert "4 pairs of pairs.csv ran; 2 with more than 128 tokens were dropped." in outcome.stdout
    assert "[1] argonne-lcf/AIaccelerators-SC24-tutorial, Groq/ALCF/minilm.md" in outcome.stdout
    assert "emulated: a stand-in for Groq's SDK; its numbers are not from a GroqCard" in outcome.stdout
    assert "takes the mask as" not in outcome.stdout
    assert "all 1,379 pairs of stsb_multi_mt (English, test split)" in outcome.stdout


@pytest.mark.timeout(300)
def test_without_an_artifact_the_proof_points_own_is_exported_or_used(prepared, proof, built_proof):
    shutil.copytree(proof.path, prepared.folder / NAME)
    shutil.copyfile(built_proof.folder / "bundle.tar", prepared.folder / "b.tar")
    data = write_pairs(prepared.folder / "pairs.csv", PAIRS)
    words = ("groq", "reproduce", "--dataset", data, "--limit", 2, "--bundle", "b.tar")
    outcome = prepared.mlx(*words, GROQWARE_DEVTOOLS="none", GROQWARE_COMPILER="fail")
    assert outcome.code == 0, outcome
    assert f"artifact: {NAME}" in outcome.stderr
    assert "2 pairs of pairs.csv ran; 0 with more than 128 tokens were dropped." in outcome.stdout


@pytest.mark.timeout(300)
def test_the_example_runs(prepared, proof):
    shutil.copytree(proof.path, prepared.folder / NAME)
    prepared.run_example("reproduce_groq")


@pytest.mark.timeout(300)
def test_a_bool_mask_is_fed_as_bool_on_every_path_to_the_card(prepared, proof, built_proof, groqflow_python):
    (prepared.folder / "t.txt").write_text("A cat sleeps.\nIt rains.\nTwo dogs run in a field.\n")
    for execution in ("held", "groqflow"):
        words = ("--runner", "groq", "--groq-execution", execution, "-o", f"{execution}.npy")
        assert prepared.mlx("run", proof.path, "t.txt", *words).code == 0
    bundle = built_proof.folder / "bundle.tar"
    words = ("groq", "job", proof.path, "t.txt", "--bundle", bundle, "--standalone", "to-the-card")
    assert prepared.mlx(*words).code == 0
    command = (groqflow_python, "to-the-card/run.py")
    code, _, stderr = prepared.run("standalone.npy", command=command)
    assert code == 0, stderr
    held, *others = (np.load(prepared.folder / f"{name}.npy") for name in ("held", "groqflow", "standalone"))
    for other in others:
        np.testing.assert_array_equal(other, held)
    with minilmx.load(proof) as model:
        expected = model.encode(["A cat sleeps.", "It rains.", "Two dogs run in a field."])
    np.testing.assert_allclose(held, expected, atol=1e-3)


def test_another_model_or_shape_is_refused(machine, tiny, artifact):
    message = machine.fails("groq", "reproduce", artifact.path)
    assert "the shape of" in message
    assert "8x48; expected 2x128" in message
    message = machine.fails("groq", "reproduce", tiny)
    assert "the model of" in message
    assert "tiny; expected all-MiniLM-L6-v2" in message


def test_too_few_pairs_that_fit_are_refused(machine, proof):
    data = write_pairs(machine.folder / "pairs.csv", PAIRS[1:3])
    message = machine.fails("groq", "reproduce", proof.path, "--dataset", data)
    assert "pairs.csv: 1 pair of at most 128 tokens; expected at least two" in message


def test_a_machine_without_a_card_is_refused_before_anything_runs(machine, proof):
    message = machine.fails("groq", "reproduce", proof.path, GROQWARE_CARDS="0")
    assert message.startswith("Error: the runner groq cannot run here: GroqCards: 0 seen by lspci")


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_stsb_has_the_spearman_of_the_cpu_and_in_full_that_of_groq(prepared, proof, monkeypatch):
    if not STSB.exists():
        pytest.skip(f"needs the data set {STSB}")
    for name, value in prepared.variables.items():
        monkeypatch.setenv(name, value)
    count = 1379 if FULL_SIZE else 30
    found = reproduce_groq(proof, STSB, limit=count)
    assert (found.pairs, found.dropped, found.emulated) == (count, 0, True)
    pairs = load_pairs(str(STSB), limit=count)
    expected = spearman_of_the_graphs_own_pooling(
        proof, list(zip(pairs.sentences1, pairs.sentences2, pairs.gold, strict=True))
    )
    assert found.cpu_spearman == pytest.approx(expected, abs=5e-5)
    assert found.spearman == pytest.approx(expected, abs=1e-3)
    if FULL_SIZE:
        assert 0.8203 <= found.spearman <= 0.8205
        assert found.cpu_spearman == pytest.approx(0.8203, abs=5e-5)
