"""The worker leaves no process behind, however a job ends, and a long build can be followed."""

import os
import signal
import time

import pytest


def end_session(worker):
    """Do as a time limit and Ctrl-C do: TERM to the group, a wait, KILL to the group."""
    os.killpg(worker.process.pid, signal.SIGTERM)
    time.sleep(0.2)
    if worker.members():
        os.killpg(worker.process.pid, signal.SIGKILL)


def end_worker_alone(worker):
    worker.process.terminate()


def end_parent(worker):
    """Do as the kernel does when mlx is killed with -9: close the other end of the pipe."""
    worker.process.stdin.close()


ENDINGS = [end_session, end_worker_alone, end_parent]


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_build_that_hangs_can_be_ended(start, project, ending):
    worker = start(project.build, GROQWARE_COMPILER="stubborn")
    worker.wait_for("compile")
    while len(worker.members()) < 3:  # the worker, the tool, and a child of the tool
        time.sleep(0.02)
    ending(worker)
    assert worker.is_gone()


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


def test_a_run_on_groqflows_own_path_that_hangs_can_be_ended(start, built):
    worker = start(built.job("groqflow-run"), GROQWARE_RUNNER="hang")
    assert worker.receive()[0]["event"] == "ready"
    worker.process.stdin.write(b'{"tensors": []}\n')
    worker.process.stdin.flush()
    time.sleep(0.3)
    end_worker_alone(worker)
    assert worker.is_gone()


def test_the_output_of_the_compiler_can_be_followed(start, project):
    worker = start(project.build, GROQWARE_COMPILER="slow:5")
    worker.wait_for("compile")
    deadline = time.monotonic() + 60
    while b"progress 3/10" not in worker.log.read_bytes():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert b"progress 10/10" not in worker.log.read_bytes()
    end_session(worker)
