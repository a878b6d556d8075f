"""The process that drives GroqFlow and Groq's runtime; minilmx starts it and talks to it over two pipes.

Started as `<python of the GroqFlow environment> -u worker.py`. It runs on Python 3.8 and imports nothing of
minilmx: only the standard library, numpy, and, when a verb needs them, groqflow or groq.*.

It is one file on purpose. minilmx cannot be imported in that Python, and its folder must not be on that
Python's path, where the modules beside this file would hide others; several files would need a way around
both. And one digest of one file says in a build's key which worker built it. Its parts, in order: the
protocol, ending processes, GroqFlow's traps, the verbs, main.

The first line on stdin is the job, as JSON; one job per process. On stdout come events, one JSON line each;
the last is a `result` (exit code 0) or an `error` (exit code 1). Closing stdin, or the parent's death, ends
the worker and every process under it; one that runs programs gets some seconds to end its call and to close
the program. A line, in either direction, with the key "tensors" is followed by their bytes: see `write_frame`
and `read_frame`, which the parent uses too.

Jobs (`verb` and its fields):
    build         onnx, build_name, cache_dir, inputs (.npz of example inputs), chips, compiler_flags,
                  groqview (all three optional)
    convert       onnx, inputs: convert to float16 as a build does, and run both on the CPU (error)
    execute       iop, outputs (names to send back; None: all, in their own types), runtime_path (optional)
    groqflow-run  build_name, cache_dir, outputs, runtime_path (optional),
                  onnx_sha256, output_names, chips_used (optional: what the build's state must say)
The last two send `ready` (load_seconds; sdk for execute) and answer each frame of inputs with a `result`
frame of outputs (seconds; float32 if they are named) until stdin ends. A frame holds one batch or more: in
each tensor, of the inputs and of the outputs, the batches are stacked along a first axis. `runtime_path`
holds groq.*, usually /opt/groq/runtime/site-packages. Wrong shapes and numbers that are not finite are
passed on, because the parent checks the outputs of every runner alike.

Events: stage (stage, status "started" or "done", seconds when done), ready, result, and error (kind, message,
stage, log). The kinds: `job`, the job cannot be done as requested; `environment`, GroqFlow, the SDK or the
runtime is missing or broken; `build`, a stage failed; `program`, it cannot be loaded or run; `worker`, a
mistake in this file.
"""

import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
import traceback
from contextlib import contextmanager, suppress
from importlib import metadata

GRACE_SECONDS = 0.5
# A program is closed, not killed: a card whose program ends abnormally may need an administrator.
CLOSING_SECONDS = 3
TOOLS = ("onnxmodelanalyzer", "groq-compiler", "aa-latest")


class Failure(Exception):
    """Ends the job: becomes the `error` event."""

    def __init__(self, kind, message, stage=None, log=None):
        super().__init__(message)
        self.event = {"event": "error", "kind": kind, "message": message, "stage": stage, "log": log}


# The protocol


def write_frame(stream, header, tensors=None):
    """Write `header` as a JSON line, then the raw bytes of the tensors in the order of that line."""
    payload = b""
    if tensors is not None:
        stated = [[name, value.dtype.str, value.shape] for name, value in tensors.items()]
        header = dict(header, tensors=stated)
        payload = b"".join(value.tobytes() for value in tensors.values())
    stream.write(json.dumps(header).encode() + b"\n" + payload)
    stream.flush()


def read_frame(stream):
    """The next (header, tensors), or None at the end of the stream. Raw bytes: nothing is ever unpickled."""
    import numpy as np

    line = stream.readline()
    if not line:
        return None
    header, tensors = json.loads(line), {}
    for name, code, shape in header.pop("tensors", ()):
        dtype = np.dtype(code)
        size_bytes = dtype.itemsize * int(np.prod(shape, dtype=np.int64))
        data = stream.read(size_bytes)
        if len(data) != size_bytes:
            raise EOFError(f"the stream ended inside tensor {name}")
        tensors[name] = np.frombuffer(data, dtype).reshape(shape)
    return header, tensors


def take_over_streams():
    """Keep stdin and stdout for the protocol, out of reach of GroqFlow and the tools that it starts.

    What they print goes to stderr; what they read is empty, so none of them can consume a frame.
    """
    requests, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    with open(os.devnull) as null:
        os.dup2(null.fileno(), 0)
    os.dup2(2, 1)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(encoding="utf-8", errors="backslashreplace")  # whatever the locale
    return requests, replies


# Ending processes


runs_programs = threading.Event()


def end_session(*_):
    """On SIGTERM: end every process of this session, because GroqFlow leaves groq-compiler running."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.killpg(0, signal.SIGTERM)
    time.sleep(GRACE_SECONDS)
    os.killpg(0, signal.SIGKILL)


def end_in_order(*_):
    """On SIGTERM, if this process holds a program: end by the way that closes it."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(128 + signal.SIGTERM)


def end_with_parent(requests):
    """Wait until the other end of stdin is closed, and end the job if it does not end soon after that."""
    poller = select.poll()
    poller.register(requests.fileno(), 0)  # only the hang-up
    poller.poll()
    time.sleep(CLOSING_SECONDS if runs_programs.is_set() else GRACE_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)
    # Inside a C call, the main thread does not handle the signal.
    time.sleep(CLOSING_SECONDS if runs_programs.is_set() else 4 * GRACE_SECONDS)
    os.killpg(0, signal.SIGKILL)


def guard_session(requests):
    if os.getsid(0) != os.getpid():
        os.setsid()
    signal.signal(signal.SIGTERM, end_session)
    threading.Thread(target=end_with_parent, args=(requests,), daemon=True).start()


# GroqFlow's traps: here, and in build and groqflow_run below, marked "Trap:"

lost_messages = []


def import_groqflow():
    # Trap: `auto` with no card tries a cloud that asks for input(); `remote` posts the inputs to a server.
    os.environ["GROQMODEL_BACKEND"] = "local"
    # Trap: log_compile.txt stays empty until the compiler ends. This sends its lines to stderr at once.
    os.environ["ONNXFLOW_DEBUG"] = "True"
    # Trap: GroqFlow's check needs a package manager, and an /etc/os-release that it knows. The parent has
    # checked the SDK's version.
    os.environ["GROQFLOW_SKIP_SDK_CHECK"] = "True"
    # Settings of a user's shell that change what is built, or break the import if their value is wrong.
    for name in ("GROQIT_REBUILD_POLICY", "GROQFLOW_USE_TORCH_IMPORTER", "GROQFLOW_BAKE_SDK"):
        os.environ.pop(name, None)
    python = f"{sys.executable} (Python {sys.version.split()[0]})"
    with failing("environment", f"{python} cannot import GroqFlow, which needs Python 3.8 to 3.10"):
        import groqflow.groqmodel
        import onnxflow.common.printing as printing

    # Trap: most of GroqFlow's exceptions have an empty str(): this function only prints their text. It also
    # fails, even after a good build, if the name of the home folder is not a regular expression.
    def clean_print(kind, message):
        print(kind.value, plain(message), file=sys.stderr)
        if kind is printing.LogType.ERROR:
            lost_messages.append(plain(message))

    printing.clean_print = clean_print
    return groqflow


def reason(error):
    """Why `error` was raised, in a sentence, even if GroqFlow left its text empty."""
    if type(error).__module__ == "onnxflow.common.exceptions":
        return plain(error) or "".join(lost_messages[-1:]) or type(error).__name__
    return f"{type(error).__name__}: {plain(error)}"


@contextmanager
def failing(kind, message, **details):
    """Turn any exception into a Failure. Trap: a failed call leaves sys.stdout or sys.stderr redirected."""
    streams = sys.stdout, sys.stderr
    try:
        yield
    except Failure:
        raise
    except Exception as error:
        raise Failure(kind, f"{message}: {reason(error)}", **details) from error
    finally:
        sys.stdout, sys.stderr = streams


class Tool(subprocess.Popen):
    """Remembers the SDK tool that ran last. Trap: GroqFlow drops exit codes and the analyzer's stderr."""

    last = None

    def __init__(self, command, *args, **kwargs):
        super().__init__(command, *args, **kwargs)
        self.name, self.stderr_text = os.path.basename(command[0]), ""
        if self.name in TOOLS:
            Tool.last = self

    def communicate(self, *args, **kwargs):
        out, err = super().communicate(*args, **kwargs)
        self.stderr_text = (err or b"").decode(errors="replace")
        return out, err


def report_stages(send):
    """Send an event when a stage of a build starts and ends; a failed stage ends the job with the reason."""
    from onnxflow.justbuildit.stage import Stage

    fire_helper = Stage.fire_helper

    def fire(stage, state):
        name, started, Tool.last = stage.unique_name, time.perf_counter(), None
        send({"event": "stage", "stage": name, "status": "started"})
        try:
            with failing("build", "failed"):
                state = fire_helper(stage, state)
            # Trap: a compiler that fails after it wrote its file counts as a success. (GroqFlow reads the
            # analyzer's answer itself, and the meaning of its exit code is not documented.)
            if Tool.last is not None and Tool.last.returncode != 0 and name != "check_compatibility":
                raise Failure("build", "the program that it left is not to be trusted")
        except Failure as failure:
            message = why(stage, state, failure)
            log = stage.logfile_path if read_text(stage.logfile_path).strip() else None
            raise Failure("build", message, name, log) from failure.__cause__
        seconds = time.perf_counter() - started
        send({"event": "stage", "stage": name, "status": "done", "seconds": seconds})
        return state

    Stage.fire_helper = fire
    subprocess.Popen = Tool


def why(stage, state, failure):
    """Why a stage failed: what the SDK tool did if one ran, otherwise GroqFlow's own reason."""
    tool, error, last = Tool.last, failure.__cause__, last_line(read_text(stage.logfile_path))
    by_groqflow = type(error).__name__ == "StageError"
    if tool is None or (by_groqflow and stage.unique_name == "check_compatibility"):
        text = reason(error)
        return f"{text} The log ends with: {last}" if last and "log file" in text else text
    if by_groqflow:
        held = sorted(os.listdir(state.compile_dir))
        cause = f"{state.compile_dir} then held {held}; expected one program per chip"
    elif error is not None:
        cause = f"GroqFlow could not read what it printed ({reason(error)})"
    else:
        cause = str(failure)
    last = last_line(tool.stderr_text) or last
    return f"{tool.name} ended with exit code {tool.returncode}; {cause}; its last line: {last}"


def plain(text):
    """One line, without GroqFlow's indentation and ** marks."""
    return " ".join(str(text).replace("**", "").split())


def last_line(text):
    """The last line, without colours, that is not GroqFlow's own "... exited"."""
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line).strip() for line in text.splitlines()]
    return next((line for line in reversed(lines) if line and not line.endswith("exited")), "")


def read_text(path):
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()


def versions():
    """Of Python and of every package in its environment."""
    installed = {each.metadata["Name"].lower(): each.version for each in metadata.distributions()}
    return dict(installed, python=sys.version.split()[0])


# The verbs


def read_inputs(job):
    import numpy as np

    with failing("job", f"the example inputs in {job['inputs']} cannot be read"):
        with np.load(job["inputs"], allow_pickle=False) as file:
            return dict(file)


def build(job, requests, send):
    onnx_path, cache_dir = os.path.abspath(job["onnx"]), os.path.abspath(job["cache_dir"])
    folder = os.path.join(cache_dir, job["build_name"])
    # Trap: GroqFlow takes each .aa and .iop file with "output." anywhere in its path for a program.
    if "output." in folder:
        raise Failure("job", f"GroqFlow cannot build in {folder}; expected a path without 'output.'")
    # Trap: it runs another model that is cached here, with only a warning. So the folder must be empty.
    if os.path.isdir(folder) and os.listdir(folder):
        raise Failure("job", f"{folder} holds another build; expected an empty folder")
    inputs = read_inputs(job)
    groqflow = import_groqflow()
    report_stages(send)
    with failing("build", "GroqFlow's build failed"):
        # Traps: the path must be a str, not a Path. With "always" a cached state, even a damaged one, is not
        # read. Only one build per process: all builds share GroqFlow's default state.
        model = groqflow.groqit(
            onnx_path,
            inputs,
            build_name=job["build_name"],
            cache_dir=cache_dir,
            monitor=False,
            rebuild="always",
            num_chips=job.get("chips"),
            compiler_flags=job.get("compiler_flags"),
            groqview=job.get("groqview", False),
        )
    if model is None:  # Trap: this is how GroqFlow reports a build that it did not finish.
        raise Failure("build", "GroqFlow ended its build with neither a program nor an error")
    if job.get("groqview") and not os.path.isdir(model.state.groqview_file):
        raise Failure("build", f"the compiler wrote no GroqView folder; expected {model.state.groqview_file}")
    send(dict(build_facts(model), event="result"))


def build_facts(model):
    """The facts of a build, with paths inside its folder. `info` is GroqFlow's own record, a GroqInfo."""
    state = model.state
    facts = {
        "onnx_sha256": state.model_hash,
        "f16_onnx": os.path.join("onnx", os.path.basename(state.converted_onnx_file)),
        "output_names": state.expected_output_names,
        "chips": state.num_chips_used,
        "total_cycles": None,
        "warning": None,
        "versions": versions(),
        # What GroqFlow did pass on; the other words are paths.
        "compiler_flags": [
            word
            for word in state.info.compiler_command.split()
            if word.startswith("--effort=") or word in ("--groqview", "--power-analysis")
        ],
    }
    try:
        with failing("build", f"no estimate of the latency: {state.stats_file} cannot be used"):
            model.estimate_performance()  # into info: estimated_latency, estimated_throughput and their parts
            facts["total_cycles"] = json.loads(read_text(state.stats_file))["total_cycles"]
    except Failure as failure:  # the program runs nonetheless
        facts["warning"] = str(failure)
    programs = [name for name in sorted(os.listdir(state.compile_dir)) if name.endswith((".aa", ".iop"))]
    sizes = {f"compile/{name}": os.path.getsize(os.path.join(state.compile_dir, name)) for name in programs}
    info = {key: value for key, value in vars(state.info).items() if key != "backend"}
    return dict(facts, program_bytes=sizes, info=info)


def convert(job, requests, send):
    """Convert as onnxflow's ConvertOnnxToFp16 does; GroqFlow does not notice an invalid graph."""
    inputs = read_inputs(job)
    import_groqflow()
    with failing("environment", "GroqFlow's conversion to float16 does not work"):
        import numpy as np
        import onnx
        import onnxmltools
        import onnxruntime

        def run(graph, feeds):
            settings = {"providers": ["CPUExecutionProvider"]}
            return onnxruntime.InferenceSession(graph.SerializeToString(), **settings).run(None, feeds)[0]

        def halve(value):
            return value.astype(np.float16) if value.dtype == np.float32 else value

        expected = run(onnx.load(job["onnx"]), inputs)
        half = onnxmltools.utils.float16_converter.convert_float_to_float16(
            onnx.load(job["onnx"]), disable_shape_infer=True
        )
        onnx.checker.check_model(half)
        found = run(half, {name: halve(value) for name, value in inputs.items()}).astype(np.float32)
        error = float(np.linalg.norm(found - expected) / np.linalg.norm(expected))
    send({"event": "result", "error": error if np.isfinite(error) else None})


def serve(job, requests, send, load, prepare=lambda inputs: inputs):
    """Answer each frame of inputs with a frame of outputs. `load()` returns the program and its facts.

    `seconds` of an answer is the time within the program alone, for all batches of the frame.
    """
    import numpy as np

    started = time.perf_counter()
    runs_programs.set()
    program, facts = load()
    send(dict(facts, event="ready", load_seconds=time.perf_counter() - started))
    names, number = job["outputs"], 0
    for _, frame in iter(lambda: read_frame(requests), None):
        answers, seconds = [], 0.0
        for index in range(len(next(iter(frame.values())))):
            number += 1
            with failing("program", f"batch {number} failed"):
                inputs = prepare({name: value[index] for name, value in frame.items()})
                started = time.perf_counter()
                outputs = program(inputs)
                seconds += time.perf_counter() - started
                if not set(names or ()) <= set(outputs):
                    raise Failure("program", f"batch {number} gave {sorted(outputs)}; expected {names}")
                # Copies, because the runtime may use its buffers again. The card may return float16.
                kind = None if names is None else np.float32
                answers.append({name: np.array(outputs[name], kind) for name in names or outputs})
        stacked = {name: np.stack([answer[name] for answer in answers]) for name in answers[0]}
        send({"event": "result", "seconds": seconds}, stacked)


def execute(job, requests, send):
    """Hold the program: GroqFlow's own way starts a process and loads the program again for every call."""
    with suppress(ImportError):  # it may be beside the runtime only
        import numpy  # noqa: F401  before runtime_path, which may hold another one, is on the path

    if job.get("runtime_path"):
        sys.path.insert(0, job["runtime_path"])

    signal.signal(signal.SIGTERM, end_in_order)

    def downcast(inputs):
        """As GroqFlow's save_inputs does: the card does not take int64, and its floats are float16."""
        narrow = {"int64": "int32", "float32": "float16", "float64": "float16"}
        kinds = {name: narrow.get(value.dtype.name, value.dtype) for name, value in inputs.items()}
        return {name: value.astype(kinds[name]) for name, value in inputs.items()}

    def load():
        with failing("environment", f"{sys.executable} cannot import groq.runner.tsp, Groq's runtime"):
            import groq
            import groq.runner.tsp as tsp
        with failing("program", f"{job['iop']} cannot be loaded"):
            runner = tsp.create_tsp_runner(os.path.abspath(job["iop"]))
        facts = {"sdk": getattr(groq, "__version__", None)}
        return lambda inputs: runner(**inputs), facts

    serve(job, requests, send, load, downcast)


# The fields that GroqFlow writes, and those that a job states, by the job's names for them.
STATE_KEYS = {
    *("build_status", "cache_dir", "config", "downcast_applied", "expected_input_dtypes"),
    *("expected_input_shapes", "expected_output_names", "groqflow_version", "info", "intermediate_results"),
    *("model_hash", "model_type", "monitor", "num_chips_used", "onnxflow_version", "quantization_samples"),
    *("rebuild", "uid", "use_sdk"),
}
STATED = {
    "onnx_sha256": "model_hash",
    "output_names": "expected_output_names",
    "chips_used": "num_chips_used",
}


def check_state(job, cache_dir):
    """Refuse a state that differs from what the job states, before GroqFlow reads it.

    A state names the folder that GroqFlow runs and writes into, and the class that runs it. GroqFlow's own
    reader also makes objects of other Python classes.
    """
    import yaml

    class Reader(yaml.SafeLoader):
        """Plain values, and the tuples in which GroqFlow writes shapes."""

    Reader.add_constructor(
        "tag:yaml.org,2002:python/tuple", lambda reader, node: tuple(reader.construct_sequence(node))
    )
    name = job["build_name"]
    path = os.path.join(cache_dir, name, f"{name}_state.yaml")
    with failing("program", f"the build in {cache_dir} cannot be loaded"):
        with open(path, encoding="utf-8") as file:
            state = yaml.load(file, Reader)
        unknown = sorted(set(state) - STATE_KEYS)
        found = dict(state, build_name=state["config"]["build_name"])
    if unknown:  # some make GroqFlow write the state's file while it reads it
        raise Failure(
            "program", f"the build in {cache_dir}: its state has the unknown field {unknown[0]!r:.80}"
        )
    expected = {
        "build_name": name,
        "build_status": "successful_build",
        "model_type": "onnx_file",
        "quantization_samples": False,
    }
    expected.update({key: job[stated] for stated, key in STATED.items() if stated in job})
    for key, value in expected.items():
        if found.get(key) != value:
            raise Failure(
                "program", f"the build in {cache_dir}: {key} is {found.get(key)!r:.80}; expected {value!r}"
            )


def groqflow_run(job, requests, send):
    """GroqFlow's own way to run what was built: never groqit, which might build."""
    import numpy as np

    cache_dir = os.path.abspath(job["cache_dir"])
    log = os.path.join(cache_dir, job["build_name"], "log_runner.txt")

    def load():
        groqflow = import_groqflow()
        if job.get("runtime_path"):  # for GroqFlow's execute.py only: it may hold another numpy and protobuf
            folders = [job["runtime_path"]]
            if shutil.which("/usr/local/groq/bin/python") is None:  # which GroqFlow prefers to this Python
                folders.insert(0, os.path.dirname(os.path.dirname(np.__file__)))
            os.environ["PYTHONPATH"] = os.pathsep.join(folders)
        check_state(job, cache_dir)
        with failing("program", f"the build in {cache_dir} cannot be loaded"):
            model = groqflow.groqmodel.load(job["build_name"], cache_dir)
        state = model.state
        # Trap: all paths come from the state's cache_dir, so a moved build runs at its old place. Set it in
        # memory only: an ordinary assignment would write the state's file, which a digest may cover.
        vars(state)["cache_dir"] = cache_dir
        model = type(model)(state)
        return lambda inputs: run(model, inputs), {}

    def run(model, inputs):
        # Trap: a runner that crashes writes its traceback only to file descriptor 2: here, to a file.
        stderr = os.dup(2)
        with open(log, "wb") as file:
            os.dup2(file.fileno(), 2)
        try:
            with failing("program", "GroqFlow's run failed"):
                outputs = model.run(inputs)  # Trap: run_abunch refuses a tuple, and returns one batch bare.
        except Failure as failure:
            code = getattr(failure.__cause__.__cause__, "returncode", None)
            if code is None:  # it was not started
                raise
            end = f"The runner ended with exit code {code}; its last line: {last_line(read_text(log))}"
            raise Failure("program", f"{failure} {end}") from failure.__cause__
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
            print(read_text(log), file=sys.stderr)  # into the log that is kept
        names = model.state.expected_output_names
        return dict(zip(names, outputs if len(names) > 1 else [outputs]))  # Trap: a single output comes bare.

    serve(job, requests, send, load)


VERBS = {"build": build, "convert": convert, "execute": execute, "groqflow-run": groqflow_run}


def main():
    # A script's own folder is first on the path, where the modules beside this file would hide others.
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path = [path for path in sys.path if os.path.abspath(path) != here]
    requests, replies = take_over_streams()
    guard_session(requests)
    try:
        with failing("job", "the job cannot be read"):
            job = json.loads(requests.readline())
            verb = VERBS[job["verb"]]
        verb(job, requests, lambda event, tensors=None: write_frame(replies, event, tensors))
        return 0
    except Failure as failure:
        traceback.print_exc()
        write_frame(replies, failure.event)
    except Exception as error:
        traceback.print_exc()
        kind = "environment" if isinstance(error, ImportError) else "worker"
        write_frame(replies, Failure(kind, f"the worker failed in {sys.executable}: {reason(error)}").event)
    return 1


if __name__ == "__main__":
    sys.exit(main())
