"""Real processes that are interrupted, or whose reader goes away."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper
from tests.cli.conftest import Start, wait_for
from tests.conftest import reseal

from minilmx.models.artifact import read_artifact


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("command", ["run", "eval"])
def test_an_interrupted_command_leaves_nothing_half_written(
    command: str, number: signal.Signals, tiny: Path, tmp_path: Path, start: Start
) -> None:
    (tmp_path / "in.txt").write_text("one sentence\n" * 4000)
    (tmp_path / "out").mkdir()
    before = files(tmp_path)
    words: dict[str, list[object]] = {
        "run": ["run", tiny, "in.txt", "--runner", "slow", "-o", "out/e.npy"],
        "eval": ["eval", tiny, "--runner", "slow", "--runner", "onnxruntime", "-o", "out/r.json"],
    }
    process = start(*words[command])
    wait_for((tmp_path / "started").exists, process)
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=30)
    assert process.returncode == 130, stderr
    assert stderr.split("\n")[-2:] == ["Error: interrupted", ""]
    messages = {"run": [], "eval": ["bundled: 208 rows read"]}
    assert [line for line in stderr.splitlines() if line] == [*messages[command], "Error: interrupted"]
    assert stdout == ""
    assert {name for name in files(tmp_path) if "__pycache__" not in name} == {*before, "started"}


def test_a_command_that_waits_for_standard_input_can_be_interrupted(tiny: Path, start: Start) -> None:
    process = start("run", tiny)
    caught = re.compile(r"^SigCgt:\s+\w*[4-7c-f]\w{3}$", re.MULTILINE)  # SIGTERM, which Python leaves alone
    while not caught.search(Path(f"/proc/{process.pid}/status").read_text()):
        time.sleep(0.05)
    time.sleep(1.5)  # until it reads
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in stderr


def test_a_closed_pipe_ends_the_command_without_a_message(tiny: Path, tmp_path: Path, start: Start) -> None:
    (tmp_path / "in.txt").write_text("one sentence\n" * 4000)
    process = start("run", tiny, "in.txt")
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline().startswith('{"text": "one sentence"')
    process.stdout.close()
    stderr = process.stderr.read()
    assert process.wait(30) == 3
    assert stderr == ""


@pytest.mark.parametrize("words", [["eval", "--limit", "2", "-o", "r.json"], ["run"], ["inspect"]])
def test_a_pipe_that_is_closed_from_the_start_gives_no_traceback(
    words: list[str], tiny: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    """Little output, which a closed pipe refuses only when it is flushed."""
    read, write = os.pipe()
    os.close(read)
    command, *rest = words
    done = subprocess.run(
        [sys.executable, "-m", "minilmx", command, str(tiny), *rest],
        cwd=tmp_path,
        env=environment,
        input="one sentence\n",
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(write)
    assert done.returncode == 3, done.stderr
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr


def test_a_faulty_runner_ends_in_one_line(tiny: Path, tmp_path: Path, start: Start) -> None:
    process = start("run", tiny, "--runner", "faulty", "-o", "e.npy")
    stdout, stderr = process.communicate("a sentence\n", timeout=30)
    assert process.returncode == 3
    assert stdout == ""
    assert stderr == (
        "Error: the runner onnxruntime failed on a batch: ZeroDivisionError: division by zero\n"
    )
    assert not (tmp_path / "e.npy").exists()


@pytest.fixture
def endless(tiny: Path) -> Path:
    """An artifact whose graphs run a loop that never ends."""
    for path in (read_artifact(tiny).graph_file, tiny / "onnx" / "model.onnx"):
        model = onnx.load(str(path))
        name = model.graph.output[0].name
        (producer,) = [node for node in model.graph.node if name in node.output]
        producer.output[list(producer.output).index(name)] = "before_the_loop"
        value = helper.make_tensor_value_info
        body = helper.make_graph(
            [
                helper.make_node("Identity", ["condition"], ["again"]),
                helper.make_node("Identity", ["value"], ["result"]),
            ],
            "body",
            [
                value("number", TensorProto.INT64, []),
                value("condition", TensorProto.BOOL, []),
                value("value", TensorProto.FLOAT, None),
            ],
            [value("again", TensorProto.BOOL, []), value("result", TensorProto.FLOAT, None)],
        )
        model.graph.initializer.append(helper.make_tensor("forever", TensorProto.BOOL, [], [True]))
        loop = helper.make_node("Loop", ["", "forever", "before_the_loop"], [name], body=body)
        model.graph.node.append(loop)
        onnx.save(model, str(path))
    return reseal(tiny).path


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("output", ["out/e.npy", "out/e/"])
def test_a_graph_that_never_ends_can_be_interrupted(
    output: str, number: signal.Signals, endless: Path, tmp_path: Path, start: Start
) -> None:
    (tmp_path / "in.txt").write_text("one sentence\n" * 40)
    (tmp_path / "out").mkdir()
    process = start("run", endless, "in.txt", "-o", output)
    for _ in range(1000):
        if any((tmp_path / "out").glob(".*" if output.endswith("npy") else "*.jsonl")):
            break
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    time.sleep(1)  # until the loop runs
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=30)  # it takes 1.5 s
    assert process.returncode == 130, stderr
    assert (stdout, stderr.lstrip()) == ("", "Error: interrupted\n")
    assert not [name for name in files(tmp_path / "out") if "ledger" not in name and ".lock" not in name]


@pytest.mark.parametrize(
    "words",
    [
        ["run", "tiny-b4-s16", "in.txt", "-o", "out/e.npy"],
        ["run", "tiny-b4-s16", "in.txt", "-o", "out/e/"],
        ["eval", "tiny-b4-s16", "--runner", "groq-emulator", "--limit", "2", "-o", "out/r.json"],
    ],
    ids=["file", "folder", "eval"],
)
def test_a_time_limit_ends_a_graph_that_never_ends(
    words: list[str], endless: Path, tmp_path: Path, start: Start
) -> None:
    (tmp_path / "in.txt").write_text("one sentence\n" * 40)
    (tmp_path / "out").mkdir()
    process = start(*words, "--time-limit", "2")
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 3, stderr
    assert (stdout, stderr.splitlines()[-1]) == ("", "Error: not finished within the time limit of 2 s")
    assert not [name for name in files(tmp_path / "out") if "ledger" not in name and ".lock" not in name]


def test_a_command_within_its_time_limit_is_not_ended(tiny: Path, tmp_path: Path, start: Start) -> None:
    process = start("run", tiny, "-o", "e.npy", "--time-limit", "500")
    _, stderr = process.communicate("one\n", timeout=60)
    assert process.returncode == 0, stderr
    assert (tmp_path / "e.npy").exists()


# What it runs in Python may not raise: nanobind, as in onnx, then aborts the process.
LOADER = """
import os, signal, time
from importlib.machinery import ExtensionFileLoader
from minilmx.cli.watchdog import watched

class Loader(ExtensionFileLoader):
    def exec_module(self, module):
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(module)
        except BaseException:
            os.abort()

with watched(130):
    try:
        Loader("native", "native.so").exec_module(SECONDS)
        time.sleep(AFTERWARDS)
    except KeyboardInterrupt:
        print("handled", flush=True)
time.sleep(0.3)
print("ended", flush=True)
"""


@pytest.mark.parametrize(("seconds", "afterwards", "printed"), [(0.2, 30, "handled"), (0, 0, "ended")])
def test_native_code_is_not_interrupted_while_it_starts(
    seconds: float, afterwards: float, printed: str
) -> None:
    """The signal is handled afterwards, unless all is over by then."""
    program = LOADER.replace("SECONDS", str(seconds)).replace("AFTERWARDS", str(afterwards))
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout.startswith(printed), done


def test_native_code_that_prints_the_interruption_prints_nothing() -> None:
    """As PyErr_Print does in a module of native code, while it imports another: it calls sys.excepthook."""
    program = (
        "import os, signal, sys, time\n"
        "from minilmx.cli.watchdog import watched\n"
        "with watched(130):\n"
        "    try:\n"
        "        os.kill(os.getpid(), signal.SIGTERM)\n"
        "        time.sleep(1)\n"
        "    except KeyboardInterrupt:\n"
        "        sys.excepthook(*sys.exc_info())\n"
        "        print('handled', flush=True)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout == "handled\n"
    # The second is the watchdog's, on a machine so busy that the process does not end within 1.5 s.
    assert done.stderr in ("", "Error: interrupted\n")
