"""Running on the held program and on GroqFlow's own path, and what is recorded."""

import json
import os
import re
import subprocess
import time

import numpy as np
import pytest

SENTENCES = "".join(f"sentence number {number}\n" for number in range(10))  # three batches of four
RUN = ("--runner", "groq")


def run(machine, tiny, *words, stdin=SENTENCES, **switches):
    outcome = machine.mlx("run", tiny, *RUN, *words, "-o", "e.npy", "--force", stdin=stdin, **switches)
    assert outcome.code == 0, outcome
    record = json.loads((machine.folder / "e.npy.run.json").read_text())
    return np.load(machine.folder / "e.npy"), record


def test_the_held_program_and_groqflows_own_path_give_equal_embeddings(ready, tiny):
    held, first = run(ready, tiny)
    own, second = run(ready, tiny, "--groq-execution", "groqflow")
    np.testing.assert_array_equal(own, held)
    assert held.dtype == np.float32
    assert (first["details"]["execution"], second["details"]["execution"]) == ("held", "groqflow")
    assert first["inputs_sha256"] == second["inputs_sha256"]


def test_the_embeddings_are_close_to_onnxruntimes_but_not_equal(ready, tiny):
    found, _ = run(ready, tiny)
    assert ready.mlx("run", tiny, "-o", "cpu.npy", stdin=SENTENCES).code == 0
    difference = np.abs(found - np.load(ready.folder / "cpu.npy")).max()
    assert 0 < difference < 1e-2


def test_a_run_records_its_latency_and_that_it_is_not_from_a_card(ready, tiny):
    _, record = run(ready, tiny)
    details = record["details"]
    assert 0 < 3 * record["timing"]["latency_seconds"] <= record["timing"]["seconds"]
    assert 0 < details["program_seconds"] < record["timing"]["seconds"]
    assert details["load_seconds"] > 0
    compute, pcie = details["on_chip_compute_seconds"], details["with_pcie_seconds"]
    assert 1e-6 < compute < 1e-4
    # GroqFlow's formula: 10 us each way, and three times 4 x 16 int32 in, (16 + 1) x 4 x 8 float16 out.
    assert pcie - compute == pytest.approx(2e-5 + (3 * 4 * 16 * 4 + 17 * 4 * 8 * 2) / 24e9)
    assert details["sdk_call_seconds"] == pytest.approx(details["program_seconds"] / 3)
    assert record["versions"]["sdk"] == "0.10.0+standin.not.a.card"
    assert record["versions"]["groqflow"] == "4.3.1"
    assert details["chips"] == 1
    assert details["caution"].startswith("a stand-in for Groq's SDK")


def test_a_saved_run_keeps_the_latencies_of_the_card(ready, tiny):
    _, record = run(ready, tiny)
    assert ready.mlx("run", tiny, "-o", "cpu.npy", stdin=SENTENCES).code == 0
    compared = ready.mlx("compare", "cpu.npy", "e.npy", "--json")
    groq = json.loads(compared.stdout)["evaluations"][0]["runners"][1]
    for name in ("on_chip_compute_seconds", "with_pcie_seconds", "sdk_call_seconds"):
        assert groq[name] == record["details"][name]


def test_groqflows_own_path_measures_no_call_of_the_sdk(ready, tiny):
    """It starts a process per call, so the time is that of much more."""
    _, record = run(ready, tiny, "--groq-execution", "groqflow")
    assert "sdk_call_seconds" not in record["details"]


def test_eval_shows_all_latencies_and_that_it_is_not_from_a_card(ready, tiny):
    words = ("eval", tiny, "--runner", "onnxruntime", *RUN, "--limit", 3)
    shown = ready.mlx(*words, "-o", "r.json")
    assert shown.code == 0, shown
    table = [re.split(r" {2,}", line.strip()) for line in shown.stdout.splitlines()]
    rows = {label: values for label, *values in table}
    assert len(rows["latency ms (measured)"]) == 2
    assert len(rows["inferences/s (measured)"]) == 2
    assert len(rows["on-chip compute ms (cycles)"]) == 1
    assert len(rows["with PCIe ms (GroqFlow's estimate)"]) == 1
    assert len(rows["inside the SDK call ms (measured)"]) == 1
    assert "groq: a stand-in for Groq's SDK: its numbers are not from a GroqCard." in shown.stdout
    document = json.loads((ready.folder / "r.json").read_text())
    cpu, groq = document["evaluations"][0]["runners"]
    assert cpu["on_chip_compute_seconds"] is cpu["sdk_call_seconds"] is None
    assert 0 < groq["on_chip_compute_seconds"] < groq["with_pcie_seconds"]
    assert 0 < groq["sdk_call_seconds"] < groq["timing"]["latency_seconds"]
    assert "stand-in" in groq["details"]["caution"]
    assert "caution" not in cpu["details"]


def test_groqflows_own_path_writes_nothing_beside_the_program(ready, tiny):
    """GroqFlow keeps inputs and outputs there under fixed names, so two runs would read each other's."""
    before = {path: path.stat().st_mtime_ns for path in ready.cache.rglob("*")}
    run(ready, tiny, "--groq-execution", "groqflow")
    after = {path: path.stat().st_mtime_ns for path in ready.cache.rglob("*") if path.suffix != ".lock"}
    assert {path: time for path, time in before.items() if path in after} == after


def test_a_successful_run_leaves_no_log_and_no_folder(ready, tiny):
    run(ready, tiny)
    run(ready, tiny, "--groq-execution", "groqflow")
    assert not list(ready.cache.glob("run-*.log"))
    assert not list((ready.folder / "tmp").glob("minilmx*"))


def test_what_killed_runs_left_in_the_cache_is_deleted_after_a_week(ready, tiny):
    """An error names its log, so it stays for a while."""
    ended = subprocess.Popen(["true"])
    ended.wait()
    week = 7 * 24 * 3600
    logs = {
        f"run-{ended.pid}.log": week + 3600,
        f"run-{ended.pid}-card-2.log": week + 3600,
        f"run-{os.getppid()}.log": week + 3600,
        f"run-{ended.pid}-card-3.log": week - 3600,
    }
    for name, age in logs.items():
        (ready.cache / name).write_text("a log")
        os.utime(ready.cache / name, (time.time() - age,) * 2)
    run(ready, tiny)
    assert sorted(path.name for path in ready.cache.glob("run-*.log")) == sorted([*logs][2:])


def test_a_run_builds_first_if_there_is_no_build(machine, tiny):
    outcome = machine.mlx("run", tiny, *RUN, stdin="a\n")
    assert outcome.code == 0
    assert "assemble" in outcome.stderr
    assert len(machine.builds()[0]) == 1


def test_settings_of_a_users_shell_do_not_reach_groqflow(ready, tiny):
    expected, _ = run(ready, tiny)
    shell = {"PYTHONHOME": "/nowhere", "GROQMODEL_BACKEND": "remote", "VIRTUAL_ENV": "/nowhere"}
    for execution in ("held", "groqflow"):
        found, _ = run(ready, tiny, "--groq-execution", execution, **shell)
        np.testing.assert_array_equal(found, expected)
