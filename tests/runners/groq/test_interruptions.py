"""Builds and runs that are interrupted or killed: no process is left, and the next run recovers."""

import os
import re
import signal
import time
from pathlib import Path

import pytest

STAGES = {
    "analyzer": ({"GROQWARE_ANALYZER": "stubborn"}, "onnx_model_analyzer.py"),
    "compiler": ({"GROQWARE_COMPILER": "stubborn"}, "groq_compiler.py"),
    "assembler": ({"GROQWARE_ASSEMBLER": "stubborn"}, "aa_latest.py"),
}
RUNS = {  # a run that hangs: its switch, and what its log says before
    "loading": ("hang-load", "groq.runner.tsp"),
    "running": ("hang:2", "loading"),
}


def end(process):
    stdout, stderr = process.communicate(timeout=30)
    assert "Traceback" not in stderr
    return process.returncode, stdout, stderr.strip().splitlines()[-1] if stderr.strip() else ""


def recovers(machine, tiny):
    code, _, stderr = machine.run("run", tiny, "--runner", "groq", stdin="a sentence\n")
    return code == 0 and "done" in stderr and len(machine.builds()[0]) == 1


def wait_for_log(machine, text):
    deadline = time.monotonic() + 60
    while not any(text in path.read_text() for path in machine.cache.glob("run-*.log")):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    time.sleep(0.3)  # until it hangs


@pytest.mark.parametrize(
    ("stage", "number"),
    [*((stage, signal.SIGINT) for stage in STAGES), ("compiler", signal.SIGTERM)],
)
def test_an_interrupted_build_leaves_neither_a_compiler_nor_a_program(machine, tiny, stage, number):
    switches, tool = STAGES[stage]
    process = machine.start("groq", "build", tiny, "--bundle", "out.tar", **switches)
    machine.find(tool)
    process.send_signal(number)
    code, stdout, last = end(process)
    assert (code, stdout, last) == (130, "", "Error: interrupted")
    assert machine.is_quiet(), machine.processes()
    assert machine.builds() == (set(), set())
    assert not (machine.folder / "out.tar").exists()


@pytest.mark.parametrize("stage", STAGES)
def test_killing_mlx_during_a_build_ends_the_compiler(machine, tiny, stage):
    switches, tool = STAGES[stage]
    process = machine.start("groq", "build", tiny, **switches)
    machine.find(tool)
    process.kill()
    process.communicate()
    assert machine.is_quiet(), machine.processes()
    assert machine.builds()[0] == set()
    if stage == "assembler":  # the last stage leaves the most files
        assert recovers(machine, tiny)


@pytest.mark.parametrize("stage", STAGES)
def test_a_worker_that_is_killed_during_a_build_is_reported(machine, tiny, stage):
    switches, tool = STAGES[stage]
    process = machine.start("groq", "build", tiny, **switches)
    machine.find(tool)
    os.kill(machine.find("worker.py")[0], signal.SIGKILL)
    code, _, last = end(process)
    assert code == 3
    log = re.fullmatch(
        r"Error: the Groq worker was killed by signal 9\. Read the log (\S+build\.log)\.", last
    ).group(1)
    assert "Success optimizing ONNX model" in Path(log).read_text()
    assert machine.is_quiet(), machine.processes()
    assert machine.builds() == (set(), set())


@pytest.mark.parametrize("stage", STAGES)
def test_a_tool_that_is_killed_is_reported(machine, tiny, stage):
    switches, tool = STAGES[stage]
    process = machine.start("groq", "build", tiny, **dict.fromkeys(switches, "hang"))
    os.kill(machine.find(tool)[0], signal.SIGKILL)
    code, _, last = end(process)
    assert code == 3
    assert re.search(r"ended with exit code -(9|SIGKILL)|-9", last), last
    assert "Read the log /" in last
    assert machine.is_quiet(), machine.processes()
    assert machine.builds() == (set(), set())


def test_killing_mlx_before_the_first_stage_leaves_no_process(machine, tiny):
    process = machine.start("groq", "build", tiny)
    machine.find("worker.py")
    process.kill()
    process.communicate()
    assert machine.is_quiet(), machine.processes()
    assert machine.builds()[0] == set()


def test_an_interrupted_wait_for_another_builder_ends_at_once(machine, tiny):
    first = machine.start("groq", "build", tiny, GROQWARE_COMPILER="hang")
    machine.find("groq_compiler.py")
    second = machine.start("groq", "build", tiny)
    assert "another process is building" in second.stderr.readline()
    second.send_signal(signal.SIGINT)
    assert end(second)[0] == 130
    assert machine.find("groq_compiler.py")
    first.send_signal(signal.SIGINT)
    assert end(first)[0] == 130
    assert machine.is_quiet(), machine.processes()


@pytest.mark.parametrize(
    ("moment", "number"),
    [
        ("loading", signal.SIGINT),
        ("running", signal.SIGINT),
        ("running", signal.SIGTERM),
        ("running", signal.SIGKILL),
    ],
)
def test_an_interrupted_run_leaves_no_process_and_no_embeddings(ready, tiny, moment, number):
    switch, said = RUNS[moment]
    (ready.folder / "in.txt").write_text("one\n" * 12)
    words = ("run", tiny, "in.txt", "--runner", "groq", "-o", "e.npy")
    process = ready.start(*words, GROQWARE_RUNNER=switch)
    wait_for_log(ready, said)
    process.send_signal(number)
    code, _, last = end(process)
    if number == signal.SIGKILL:
        assert code == -9
    else:
        assert (code, last) == (130, "Error: interrupted")
    assert ready.is_quiet(), ready.processes()
    left = [path.name for path in ready.folder.glob("*e.npy*")]
    if number == signal.SIGKILL:  # after which a partial file cannot be removed
        left = [name for name in left if not name.startswith(".e.npy.")]
    assert not left


def test_a_worker_that_is_killed_during_a_run_is_reported(ready, tiny):
    (ready.folder / "in.txt").write_text("one\n" * 12)
    words = ("run", tiny, "in.txt", "--runner", "groq", "-o", "e.npy")
    process = ready.start(*words, GROQWARE_RUNNER="hang:2")
    wait_for_log(ready, "loading")
    os.kill(ready.find("worker.py")[0], signal.SIGKILL)
    code, _, last = end(process)
    assert code == 3
    assert re.search(r"worker was killed by signal 9\. Read the log \S+run-\d+\.log\.$", last)
    assert ready.is_quiet(), ready.processes()
    assert not list(ready.folder.glob("*e.npy*"))


def test_an_interrupted_run_on_groqflows_own_path_leaves_no_process(ready, tiny):
    (ready.folder / "in.txt").write_text("one\n")
    words = ("run", tiny, "in.txt", "--runner", "groq", "--groq-execution", "groqflow")
    process = ready.start(*words, GROQWARE_RUNNER="hang")
    ready.find("execute.py")
    process.send_signal(signal.SIGINT)
    assert end(process)[0] == 130
    assert ready.is_quiet(), ready.processes()
    assert not list((ready.folder / "tmp").glob("minilmx*"))
