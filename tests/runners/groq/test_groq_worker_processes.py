"""The worker leaves no process behind, however a job ends, and a long build can be followed."""

import os
import shutil
import signal
import time

import pytest


def end_session(worker):
    """What a time limit and Ctrl-C do: TERM to the group, a wait, KILL to the group."""
    os.killpg(worker.process.pid, signal.SIGTERM)
    time.sleep(0.2)
    if worker.members():
        os.killpg(worker.process.pid, signal.SIGKILL)


def end_worker_alone(worker):
    worker.process.terminate()


def end_parent(worker):
    """What the kernel does when mlx is killed with -9: the other end of the pipe is closed."""
    worker.process.stdin.close()


ENDINGS = [end_session, end_worker_alone, end_parent]


@pytest.mark.parametrize(
    ("tool", "stage", "ending"),
    [
        ("ANALYZER", "check_compatibility", end_parent),
        ("ASSEMBLER", "assemble", end_worker_alone),
        *(("COMPILER", "compile", ending) for ending in ENDINGS),
    ],
)
def test_a_build_that_hangs_can_be_ended(start, project, tool, stage, ending):
    worker = start(project.build, **{f"GROQWARE_{tool}": "stubborn"})
    worker.wait_for(stage)
    while len(worker.members()) < 3:  # the worker, the tool, and a child of the tool
        time.sleep(0.02)
    ending(worker)
    assert worker.is_gone()


def test_a_build_that_was_ended_can_be_built_again(start, project):
    worker = start(project.build, GROQWARE_COMPILER="hang")
    worker.wait_for("compile")
    end_session(worker)
    assert worker.is_gone()
    assert "holds another build" in start(project.build).finish()["message"]
    shutil.rmtree(project.cache)
    assert start(project.build).finish()["event"] == "result"


@pytest.mark.parametrize(
    ("verb", "switch", "ending"),
    [
        *(("execute", "hang", ending) for ending in ENDINGS),
        ("execute", "hang-load", end_parent),
        ("groqflow-run", "hang", end_worker_alone),
    ],
)
def test_a_run_that_hangs_can_be_ended(start, built, verb, switch, ending):
    worker = start(built.job(verb), GROQWARE_RUNNER=switch)
    if switch == "hang":
        assert worker.receive()[0]["event"] == "ready"
        worker.process.stdin.write(b'{"tensors": []}\n')
        worker.process.stdin.flush()
    time.sleep(0.3)
    ending(worker)
    assert worker.is_gone()


def test_a_compiler_that_is_killed_is_named(start, project):
    worker = start(project.build, GROQWARE_COMPILER="hang")
    worker.wait_for("compile")
    while not (compilers := [pid for pid, command in worker.members() if "groq_compiler.py" in command]):
        time.sleep(0.02)
    os.kill(compilers[0], signal.SIGKILL)
    error = worker.finish()
    assert error["stage"] == "compile"
    assert "groq-compiler ended with exit code -9" in error["message"]


def test_a_worker_that_is_killed_leaves_a_compiler_that_its_parent_can_end(start, project):
    worker = start(project.build, GROQWARE_COMPILER="stubborn")
    worker.wait_for("compile")
    while len(worker.members()) < 3:
        time.sleep(0.02)
    worker.process.kill()
    assert worker.process.wait(10) == -signal.SIGKILL
    assert worker.members() != []  # GroqFlow's compiler has lost its parent
    end_session(worker)
    assert worker.is_gone()


def test_what_the_compiler_says_can_be_followed(start, project):
    worker = start(project.build, GROQWARE_COMPILER="slow:2")
    worker.wait_for("compile")
    deadline = time.monotonic() + 1.5
    while b"progress 3/10" not in worker.log.read_bytes():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert b"progress 10/10" not in worker.log.read_bytes()
    end_session(worker)
