"""Building on one machine and running on another, which has other paths and no compiler."""

import json
import os
import shutil
import sys
import tarfile

import numpy as np
import pytest

SENTENCES = "one\nanother one\n" * 5


@pytest.fixture
def card_machine(make_machine, groqware, groqflow_python):
    """A machine with only the card and the runtime with its Python: no compiler and no GroqFlow."""
    machine = make_machine("card")
    tools = machine.folder / "bin"
    tools.mkdir()
    for name in ("lspci", "dpkg-query"):
        shutil.copy(groqware / "bin" / name, tools)
    (tools / "groq-python").write_text(f'#!/bin/sh\nexec {groqflow_python} "$@"\n')
    (tools / "groq-python").chmod(0o755)
    machine.variables["PATH"] = f"{tools}:/usr/bin:/bin"
    del machine.variables["MINILMX_GROQFLOW_PYTHON"], machine.variables["GROQWARE_PYTHON"]
    return machine


def embeddings(outcome):
    assert outcome.code == 0, outcome
    return np.array([json.loads(line)["embedding"] for line in outcome.stdout.splitlines()], np.float32)


def test_a_bundle_runs_on_another_machine_without_compiler_and_groqflow(ready, card_machine, tiny):
    words = ("run", "--runner", "groq")
    expected = embeddings(ready.mlx(*words, tiny, stdin=SENTENCES))
    built = ready.mlx("groq", "build", tiny, "--bundle", "out.tar")
    assert "bundle" in built.stdout
    moved = shutil.move(tiny, card_machine.folder / "artifact-elsewhere")
    bundle = shutil.move(ready.folder / "out.tar", card_machine.folder / "moved.tar")
    shutil.rmtree(ready.folder)
    outcome = card_machine.mlx(*words, moved, "--bundle", bundle, "-o", "card.npy", stdin=SENTENCES)
    assert outcome.code == 0, outcome
    np.testing.assert_array_equal(np.load(card_machine.folder / "card.npy"), expected)
    record = json.loads((card_machine.folder / "card.npy.run.json").read_text())
    assert record["details"]["caution"].startswith("a stand-in")
    assert record["details"]["on_chip_compute_seconds"] > 0
    assert not list((card_machine.folder / "tmp").glob("minilmx*"))
    cpu = card_machine.mlx("run", moved, "-o", "cpu.npy", stdin=SENTENCES)
    assert cpu.code == 0
    compared = card_machine.mlx("compare", "cpu.npy", "card.npy", "--json")
    assert (
        0
        < json.loads(compared.stdout)["evaluations"][0]["runners"][1]["comparison"]["drift"]["max_abs"]
        < 1e-2
    )


def test_without_a_bundle_a_machine_with_only_a_card_says_what_it_lacks(card_machine, tiny, bundle):
    message = card_machine.fails("run", tiny, "--runner", "groq", stdin="a\n")
    for name in ("GroqFlow", "onnxmodelanalyzer", "groq-compiler", "aa-latest"):
        assert name in message
    message = card_machine.fails(
        "run", tiny, "--runner", "groq", "--bundle", bundle, stdin="a\n", GROQWARE_CARDS="0"
    )
    assert "cannot run here: GroqCards: 0 seen by lspci. " in message


def test_groqflows_own_path_runs_a_bundle_with_groqflow(make_machine, groqflow_python, tiny, bundle):
    machine = make_machine("other")
    machine.variables["PATH"] = f"{os.path.dirname(sys.executable)}:{machine.variables['PATH']}"
    words = ("run", tiny, "--runner", "groq", "--bundle", bundle)
    held = embeddings(machine.mlx(*words, stdin=SENTENCES))
    own = embeddings(machine.mlx(*words, "--groq-execution", "groqflow", stdin=SENTENCES))
    np.testing.assert_array_equal(own, held)
    assert machine.builds() == (set(), set())  # nothing was built


def test_groqflows_own_path_needs_groqflow_even_with_a_bundle(card_machine, tiny, bundle):
    words = ("run", tiny, "--runner", "groq", "--bundle", bundle, "--groq-execution", "groqflow")
    assert "mlx groq setup" in card_machine.fails(*words, stdin="a\n")


def test_eval_runs_a_bundle(card_machine, tiny, bundle):
    words = ("eval", tiny, "--runner", "onnxruntime", "--runner", "groq", "--bundle", bundle, "--limit", 2)
    outcome = card_machine.mlx(*words, "-o", "r.json")
    assert outcome.code == 0, outcome


def test_bench_runs_a_bundle(card_machine, tiny, bundle):
    (card_machine.folder / "t.txt").write_text(SENTENCES)
    words = (
        "bench",
        tiny,
        "t.txt",
        "--runner",
        "groq",
        "--bundle",
        bundle,
        "--graph",
        "fixed",
        "--rounds",
        1,
    )
    outcome = card_machine.mlx(*words, "-o", "b.json")
    assert outcome.code == 0, outcome
    assert "groq fixed" in outcome.stdout


def test_the_same_build_gives_the_same_bundle(ready, tiny, bundle):
    assert ready.mlx("groq", "build", tiny, "--bundle", "again.tar").code == 0
    assert (ready.folder / "again.tar").read_bytes() == bundle.read_bytes()


def test_an_existing_bundle_is_not_overwritten_and_no_build_starts(machine, tiny):
    (machine.folder / "out.tar").write_text("mine")
    message = machine.fails("groq", "build", tiny, "--bundle", "out.tar")
    assert "already exists" in message
    assert not machine.cache.exists()


def test_a_bundle_holds_only_plain_files_and_no_pickle(bundle, tiny):
    with tarfile.open(bundle) as tar:
        members = tar.getmembers()
        manifest = tar.extractfile("mlx.json").read()
    assert all(member.isreg() for member in members)
    assert [member.name for member in members] == [
        "bundle.json",
        "mlx.json",
        "model/compile/output.iop",
        "model/compile/stats.json",
        "model/model_state.yaml",
    ]
    assert manifest == (tiny / "mlx.json").read_bytes()


def test_a_bundle_of_another_artifact_is_refused(card_machine, tiny_folder, bundle):
    shape = ("--batch-size", 2, "--sequence-length", 16)
    assert card_machine.mlx("export", tiny_folder, "--from-onnx", *shape, "-o", "other").code == 0
    message = card_machine.fails("run", "other", "--runner", "groq", "--bundle", bundle, stdin="a\n")
    assert "was built from another artifact" in message


def test_a_bundle_of_another_sdk_is_refused(card_machine, tiny, bundle):
    words = ("run", tiny, "--runner", "groq", "--bundle", bundle)
    message = card_machine.fails(*words, stdin="a\n", GROQWARE_RUNTIME="0.9.3")
    assert "was compiled with SDK 0.10.0+standin, and groq-runtime here is 0.9.3" in message


def test_a_bundle_of_the_same_release_in_another_package_runs(card_machine, tiny, bundle):
    words = ("run", tiny, "--runner", "groq", "--bundle", bundle)
    assert card_machine.mlx(*words, stdin="a\n", GROQWARE_RUNTIME="2:0.10.0-3.el8").code == 0


@pytest.mark.parametrize("damage", [lambda data: data[:-12000], lambda data: b"", lambda data: b"x" * 2000])
def test_a_file_that_is_not_a_whole_bundle_is_an_error_of_one_line(card_machine, tiny, bundle, damage):
    (card_machine.folder / "b.tar").write_bytes(damage(bundle.read_bytes()))
    words = ("run", tiny, "--runner", "groq", "--bundle", "b.tar", "-o", "e.npy")
    assert "b.tar" in card_machine.fails(*words, stdin="a\n")
    assert not (card_machine.folder / "e.npy").exists()
    assert not list((card_machine.folder / "tmp").glob("minilmx*"))
