"""The process that talks to GroqFlow and to Groq's runtime; minilmx starts it and talks over two pipes.

Started as `<python of the GroqFlow environment> -u worker.py`. One file that needs nothing of minilmx and
runs on Python 3.8: the standard library, numpy, and, only when a verb asks, groqflow, onnxruntime or groq.*.

The first line on stdin is the job, as JSON; one job a process. Out come events, one JSON line each; the last
is a `result` (exit code 0) or an `error` (exit code 1). Closing stdin, or the parent's death, ends the worker
and every process under it. A line, in or out, with the key "tensors" is followed by their bytes: see
`write_frame` and `read_frame`, which the parent uses too.

Jobs (`verb` and its fields):
    probe
    build         onnx, build_name, cache_dir, inputs (.npz of example inputs), chips (optional)
    execute       iop, outputs (names to send back), runtime_path (optional)
    groqflow-run  build_name, cache_dir, outputs, runtime_path (optional), onnx_sha256 (optional)
    compare       onnx (the FP16 graph of a build), outputs
The last three send `ready` (load_seconds; sdk for execute) and answer each frame of inputs with a `result`
frame of outputs (seconds; always float32) until stdin ends. `runtime_path` holds groq.*, usually
/opt/groq/runtime/site-packages. Wrong shapes and numbers that are not finite are passed on: the parent checks
every runner alike.

Events: stage (stage, status "started" or "done", seconds when done), ready, result, and error (kind, message,
stage, log). The kinds: `job`, it cannot be done as asked; `environment`, GroqFlow, the SDK or the runtime is
missing or broken; `build`, a stage failed; `program`, it cannot be loaded or run; `worker`, a mistake
in this file.
"""

import json
import os
import re
import select
import signal
import subprocess
import sys
import threading
import time
import traceback
from contextlib import contextmanager
from importlib import metadata

GRACE_SECONDS = 0.5
TOOLS = ("onnxmodelanalyzer", "groq-compiler", "aa-latest")


class Failure(Exception):
    """Ends the job: becomes the `error` event."""

    def __init__(self, kind, message, stage=None, log=None):
        super().__init__(message)
        self.event = {"event": "error", "kind": kind, "message": message, "stage": stage, "log": log}


# The protocol


def write_frame(stream, header, tensors=None):
    """Write `header` as a JSON line, then the raw bytes of the tensors in the order that the line states."""
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
    """Keep stdin and stdout for the protocol, and leave nothing of it to GroqFlow and the tools it starts.

    What they print, banners and all, goes to stderr; what they read is empty, so none can eat a frame.
    """
    requests, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    with open(os.devnull) as null:
        os.dup2(null.fileno(), 0)
    os.dup2(2, 1)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(encoding="utf-8", errors="backslashreplace")  # whatever the locale
    return requests, replies


# Leaving no process behind


def end_session(*_):
    """On SIGTERM: end every process of this session, for GroqFlow would leave groq-compiler running."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.killpg(0, signal.SIGTERM)
    time.sleep(GRACE_SECONDS)
    os.killpg(0, signal.SIGKILL)


def end_with_parent(requests):
    """Wait until nobody holds the other end of stdin; a job that is not over soon after that is ended."""
    poller = select.poll()
    poller.register(requests.fileno(), 0)  # no event but the hang-up
    poller.poll()
    time.sleep(GRACE_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(4 * GRACE_SECONDS)  # the main thread can be inside a C call, where it handles no signal
    os.killpg(0, signal.SIGKILL)


def guard_session(requests):
    if os.getsid(0) != os.getpid():
        os.setsid()
    signal.signal(signal.SIGTERM, end_session)
    threading.Thread(target=end_with_parent, args=(requests,), daemon=True).start()


# GroqFlow's traps, here and, each where it bites, in build and groqflow_run below

lost_messages = []


def import_groqflow():
    # Trap: `auto` with no card tries a cloud that asks for input(); `remote` posts the inputs to a server.
    os.environ["GROQMODEL_BACKEND"] = "local"
    # Trap: log_compile.txt stays empty until the compiler ends. This sends its lines to stderr too, at once.
    os.environ["ONNXFLOW_DEBUG"] = "True"
    # Settings of a user's shell that change what is built, or break the import when their value is wrong.
    for name in ("GROQIT_REBUILD_POLICY", "GROQFLOW_USE_TORCH_IMPORTER", "GROQFLOW_BAKE_SDK"):
        os.environ.pop(name, None)
    python = f"{sys.executable} (Python {sys.version.split()[0]})"
    with failing("environment", f"{python} cannot import GroqFlow, which needs Python 3.8 to 3.10"):
        import groqflow.groqmodel
        import onnxflow.common.printing as printing

    # Trap: most of GroqFlow's exceptions have an empty str(): their text is only printed, by this function.
    # It also breaks, even after a good build, where the name of the home folder is no regular expression.
    def clean_print(kind, message):
        print(kind.value, plain(message), file=sys.stderr)
        if kind is printing.LogType.ERROR:
            lost_messages.append(plain(message))

    printing.clean_print = clean_print
    return groqflow


def reason(error):
    """Why `error` was raised, in a sentence, also where GroqFlow left its text empty."""
    if type(error).__module__ == "onnxflow.common.exceptions":
        return plain(error) or "".join(lost_messages[-1:]) or type(error).__name__
    return f"{type(error).__name__}: {plain(error)}"


@contextmanager
def failing(kind, message, **where):
    """Turn any exception into a Failure. Trap: a failed call leaves sys.stdout or sys.stderr redirected."""
    streams = sys.stdout, sys.stderr
    try:
        yield
    except Failure:
        raise
    except Exception as error:
        raise Failure(kind, f"{message}: {reason(error)}", **where) from error
    finally:
        sys.stdout, sys.stderr = streams


class Tool(subprocess.Popen):
    """Remembers the SDK's tool that ran last. Trap: GroqFlow drops exit codes and the analyzer's stderr."""

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
    """Send an event as each stage of a build starts and ends; a failed stage ends the job and says why."""
    from onnxflow.justbuildit.stage import Stage

    fire_helper = Stage.fire_helper

    def fire(stage, state):
        name, started, Tool.last = stage.unique_name, time.perf_counter(), None
        send({"event": "stage", "stage": name, "status": "started"})
        try:
            with failing("build", "failed"):
                state = fire_helper(stage, state)
            # Trap: a compiler that fails after it wrote its file counts as a success. (GroqFlow reads the
            # analyzer's answer itself, and what its exit code means nobody says.)
            if Tool.last is not None and Tool.last.returncode != 0 and name != "check_compatibility":
                raise Failure("build", "it left a program, which is not to be trusted")
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
    """The sentence for a failed stage: what the tool did, where one ran, else GroqFlow's own reason."""
    tool, error, said = Tool.last, failure.__cause__, last_line(read_text(stage.logfile_path))
    by_groqflow = type(error).__name__ == "StageError"
    if tool is None or (by_groqflow and stage.unique_name == "check_compatibility"):
        text = reason(error)
        return f"{text} The log ends with: {said}" if said and "log file" in text else text
    if by_groqflow:
        held = sorted(os.listdir(state.compile_dir))
        cause = f"{state.compile_dir} then held {held}, not one program a chip"
    elif error is not None:
        cause = f"GroqFlow could not read what it printed ({reason(error)})"
    else:
        cause = str(failure)
    said = last_line(tool.stderr_text) or said
    return f"{tool.name} ended with exit code {tool.returncode}; {cause}; it last said: {said}"


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
    found = {each.metadata["Name"].lower(): each.version for each in metadata.distributions()}
    return dict(found, python=sys.version.split()[0])


# The verbs


def probe(job, requests, send):
    import_groqflow()
    send({"event": "result", "executable": sys.executable, "versions": versions()})


def build(job, requests, send):
    import numpy as np

    onnx_path, cache_dir = os.path.abspath(job["onnx"]), os.path.abspath(job["cache_dir"])
    folder = os.path.join(cache_dir, job["build_name"])
    # Trap: GroqFlow takes each .aa and .iop with "output." anywhere in its path for a program.
    if "output." in folder:
        raise Failure("job", f"GroqFlow cannot build in {folder}: no folder's name may hold 'output.'")
    # Trap: it may run another model that is cached here with no more than a warning. So nothing may be here.
    if os.path.isdir(folder) and os.listdir(folder):
        raise Failure("job", f"{folder} holds another build: delete it, or name another folder")
    with failing("job", f"the example inputs in {job['inputs']} cannot be read"):
        with np.load(job["inputs"], allow_pickle=False) as file:
            inputs = dict(file)
    groqflow = import_groqflow()
    report_stages(send)
    with failing("build", "GroqFlow's build failed"):
        # Traps: the path must be a str, no Path. With "always" a cached state is not even read, garbled or
        # not. Only one build a process: GroqFlow's default state is one object, shared by all of them.
        model = groqflow.groqit(
            onnx_path,
            inputs,
            build_name=job["build_name"],
            cache_dir=cache_dir,
            monitor=False,
            rebuild="always",
            num_chips=job.get("chips"),
        )
    if model is None:  # Trap: that is how GroqFlow says that a build stopped half way.
        raise Failure("build", "GroqFlow ended its build with neither a program nor an error")
    send(dict(build_facts(model), event="result"))


def build_facts(model):
    """What a build is known by, with paths inside its folder. `info` is GroqFlow's own record, a GroqInfo."""
    state = model.state
    facts = {
        "onnx_sha256": state.model_hash,
        "f16_onnx": os.path.join("onnx", os.path.basename(state.converted_onnx_file)),
        "output_names": state.expected_output_names,
        "chips": state.num_chips_used,
        "total_cycles": None,
        "warning": None,
        "versions": versions(),
    }
    try:
        with failing("build", f"no estimate of the latency, as {state.stats_file} cannot be used"):
            model.estimate_performance()  # into info: estimated_latency, estimated_throughput and their parts
            facts["total_cycles"] = json.loads(read_text(state.stats_file))["total_cycles"]
    except Failure as failure:  # the program runs all the same
        facts["warning"] = str(failure)
    programs = [name for name in sorted(os.listdir(state.compile_dir)) if name.endswith((".aa", ".iop"))]
    sizes = {f"compile/{name}": os.path.getsize(os.path.join(state.compile_dir, name)) for name in programs}
    info = {key: value for key, value in vars(state.info).items() if key != "backend"}
    return dict(facts, program_bytes=sizes, info=info)


def serve(job, requests, send, load):
    """Answer each frame of inputs with a frame of outputs. `load()` gives the program and facts about it."""
    import numpy as np

    started = time.perf_counter()
    program, facts = load()
    send(dict(facts, event="ready", load_seconds=time.perf_counter() - started))
    for call, (_, inputs) in enumerate(iter(lambda: read_frame(requests), None), 1):
        started = time.perf_counter()
        with failing("program", f"call {call} failed"):
            outputs = program(inputs)
            seconds = time.perf_counter() - started
            if not set(job["outputs"]) <= set(outputs):
                raise Failure("program", f"call {call} gave {sorted(outputs)}, expected {job['outputs']}")
            # The card may return float16.
            tensors = {name: np.asarray(outputs[name], dtype=np.float32) for name in job["outputs"]}
        send({"event": "result", "seconds": seconds}, tensors)


def execute(job, requests, send):
    """Hold the program: GroqFlow's own way starts a process and loads the program anew for every call."""
    import numpy as np  # before runtime_path is searched, which may hold another numpy

    if job.get("runtime_path"):
        sys.path.insert(0, job["runtime_path"])

    def downcast(value):
        """As GroqFlow's save_inputs does: the card takes no int64, and its floats are float16."""
        narrow = {"int64": np.int32, "float32": np.float16, "float64": np.float16}.get(value.dtype.name)
        return value if narrow is None else value.astype(narrow)

    def load():
        with failing("environment", f"{sys.executable} cannot import groq.runner.tsp, Groq's runtime"):
            import groq
            import groq.runner.tsp as tsp
        with failing("program", f"{job['iop']} cannot be loaded"):
            runner = tsp.create_tsp_runner(os.path.abspath(job["iop"]))
        facts = {"sdk": getattr(groq, "__version__", None)}
        return lambda inputs: runner(**{name: downcast(value) for name, value in inputs.items()}), facts

    serve(job, requests, send, load)


def groqflow_run(job, requests, send):
    """GroqFlow's own way to run what was built: never groqit, which might build."""
    cache_dir = os.path.abspath(job["cache_dir"])
    log = os.path.join(cache_dir, job["build_name"], "log_runner.txt")

    def load():
        groqflow = import_groqflow()
        if job.get("runtime_path"):  # for GroqFlow's execute.py only: it may hold another numpy and protobuf
            os.environ["PYTHONPATH"] = job["runtime_path"]
        with failing("program", f"the build in {cache_dir} cannot be loaded"):
            model = groqflow.groqmodel.load(job["build_name"], cache_dir)
        state = model.state
        # Trap: all paths come from the state's cache_dir, so a moved build is run at its old place.
        # Set in memory: an ordinary assignment would write the state's file, which a digest may cover.
        vars(state)["cache_dir"] = cache_dir
        model = type(model)(state)
        if state.build_status.value != "successful_build":
            raise Failure("program", f"the build in {cache_dir} is a {state.build_status.value}")
        if job.get("onnx_sha256") not in (None, state.model_hash):
            raise Failure("program", f"the build in {cache_dir} is another model's: {state.model_hash}")
        return lambda inputs: run(model, inputs), {}

    def run(model, inputs):
        # Trap: a runner that crashes leaves its traceback on file descriptor 2 alone: here, in a file.
        stderr = os.dup(2)
        with open(log, "wb") as file:
            os.dup2(file.fileno(), 2)
        try:
            with failing("program", "GroqFlow's run failed"):
                outputs = model.run(inputs)  # Trap: run_abunch refuses a tuple, and gives one batch bare.
        except Failure as failure:
            code = getattr(failure.__cause__.__cause__, "returncode", None)
            if code is None:  # it was not even started
                raise
            said = f"The runner ended with exit code {code}; it last said: {last_line(read_text(log))}"
            raise Failure("program", f"{failure} {said}") from failure.__cause__
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
            print(read_text(log), file=sys.stderr)  # into the log that stays
        names = model.state.expected_output_names
        return dict(zip(names, outputs if len(names) > 1 else [outputs]))  # Trap: a single output comes bare.

    serve(job, requests, send, load)


def compare(job, requests, send):
    """Run the FP16 graph on the CPU. That finds a wrong conversion, which GroqFlow does not notice."""

    def load():
        with failing("program", f"onnxruntime cannot load {job['onnx']}"):
            import onnxruntime

            session = onnxruntime.InferenceSession(job["onnx"], providers=["CPUExecutionProvider"])
        names = [tensor.name for tensor in session.get_outputs()]
        return lambda inputs: dict(zip(names, session.run(None, inputs))), {}

    serve(job, requests, send, load)


VERBS = {"probe": probe, "build": build, "execute": execute, "groqflow-run": groqflow_run, "compare": compare}


def main():
    # A script's own folder comes first on the path, where the modules next to this file would hide others.
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path = [path for path in sys.path if os.path.abspath(path) != here]
    requests, replies = take_over_streams()
    guard_session(requests)
    try:
        with failing("job", "the job was not understood"):
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
