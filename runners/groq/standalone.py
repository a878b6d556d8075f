"""Runs the program of this folder on a GroqCard, with nothing of minilmx.

    python run.py card.npy

It needs numpy below 2 and Groq's runtime, on the Python that the runtime is compiled for, and writes
the embeddings and, beside them, card.npy.run.json. `mlx compare cpu.npy card.npy` reads both, on any machine.

`mlx groq job --standalone` wrote this folder: bundle.tar has the program, batches.npz the token batches,
and run.json what is known of the run before it.
"""

import hashlib
import json
import math
import os
import platform
import signal
import sys
import tarfile
import tempfile
import time
from datetime import datetime, timezone

HERE = os.path.dirname(os.path.abspath(__file__))
RUNTIME = "/opt/groq/runtime/site-packages"


class Failure(Exception):
    """Ends the run, with a message of one line."""


def import_numpy():
    """The numpy of this Python, unless only the runtime's folder has one.

    Sites export that folder on PYTHONPATH, and its old packages would hide newer ones.
    """
    path = list(sys.path)
    named = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    sys.path[:] = [folder for folder in path if folder not in named]
    try:
        import numpy
    except ImportError:
        numpy = None
    sys.path[:] = path
    if numpy is None:
        sys.path.append(RUNTIME)
        try:
            import numpy
        except ImportError as error:
            raise Failure("{} cannot import numpy: {}".format(sys.executable, error)) from error
    if int(numpy.__version__.split(".")[0]) >= 2:
        raise Failure("numpy is {}; expected below 2, which Groq's runtime needs".format(numpy.__version__))
    return numpy


def import_runtime():
    """(groq, groq.runner.tsp), from PYTHONPATH or from where the SDK installs them."""
    sys.path.append(RUNTIME)
    try:
        import groq
        import groq.runner.tsp as tsp
    except ImportError as error:
        message = "{} cannot import groq.runner.tsp, Groq's runtime: {}".format(sys.executable, error)
        raise Failure(message) from error
    return groq, tsp


def sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        for piece in iter(lambda: stream.read(1 << 20), b""):
            digest.update(piece)
    return digest.hexdigest()


def read_plan():
    """run.json, after a check that the files beside it are those that it was written for."""
    with open(os.path.join(HERE, "run.json"), encoding="utf-8") as stream:
        plan = json.load(stream)
    for name, digest in plan["files"].items():
        if sha256(os.path.join(HERE, name)) != digest:
            raise Failure("{} is damaged: its SHA-256 is not that in run.json".format(name))
    return plan


def unpack_program(plan, folder):
    """The path of the program, unpacked into a folder."""
    program = os.path.join(folder, "output.iop")
    with tarfile.open(os.path.join(HERE, "bundle.tar"), "r:") as tar, open(program, "wb") as output:
        stream = tar.extractfile(plan["program"])
        for piece in iter(lambda: stream.read(1 << 20), b""):
            output.write(piece)
    return program


def run_batches(np, plan, runner):
    """Embeddings, float32 [N, D], and for each batch the seconds within the SDK's call."""
    with np.load(os.path.join(HERE, "batches.npz"), allow_pickle=False) as file:
        arrays = dict(file)
    texts = arrays.pop("texts")
    values = np.empty((plan["record"]["sentences"], plan["dimension"]), np.float32)
    seconds = []
    for number, owners in enumerate(texts):
        inputs = {name: array[number] for name, array in arrays.items()}
        started = time.perf_counter()
        outputs = runner(**inputs)
        seconds.append(time.perf_counter() - started)
        if plan["output"] not in outputs:
            raise Failure("batch {} gave {}; expected {}".format(number, sorted(outputs), plan["output"]))
        result = np.asarray(outputs[plan["output"]], dtype=np.float32)  # a card may return float16
        expected = (*owners.shape, plan["dimension"])
        if result.shape != expected:
            shapes = "{}; expected {}".format(list(result.shape), list(expected))
            raise Failure("batch {} gave the shape {}".format(number, shapes))
        values[owners[owners >= 0]] = result[owners >= 0]
    bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
    if len(bad):
        raise Failure("the card returned numbers that are not finite for sentence {}".format(bad[0] + 1))
    return values, seconds


def provenance(stated):
    """Of this machine; the version of minilmx is that which wrote the folder."""
    processor = platform.processor()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as stream:
            models = [line.split(":", 1)[1].strip() for line in stream if line.startswith("model name")]
        processor = models[0] if models else processor
    except OSError:
        pass
    return dict(
        stated,
        python=platform.python_version(),
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        system="{} {} {}".format(platform.system(), platform.release(), platform.machine()),
        processor=processor,
        cpus=len(os.sched_getaffinity(0)),
    )


def complete(plan, sdk, load_seconds, call_seconds, seconds):
    """The record of the run, as `mlx run` writes it."""
    record, calls = plan["record"], len(call_seconds)
    record["provenance"] = provenance(record["provenance"])
    record["versions"]["sdk"] = str(sdk or record["versions"]["sdk"])
    details = record["details"]
    details.update(
        runtime_python=sys.executable,
        load_seconds=load_seconds,
        program_seconds=math.fsum(call_seconds),
        sdk_call_seconds=math.fsum(call_seconds) / calls,
    )
    if "standin" in record["versions"]["sdk"]:
        details["caution"] = "a stand-in for Groq's SDK: its numbers are not from a GroqCard"
    record["timing"] = {
        "batches": calls,
        "seconds": seconds,
        "latency_seconds": seconds / calls,
        "sentences_per_second": record["sentences"] / seconds,
    }
    return record


def run(output):
    if not output.endswith(".npy"):
        raise Failure("{}: unknown extension; expected .npy".format(output))
    beside = output + ".run.json"
    for path in (output, beside):
        if os.path.exists(path):
            raise Failure("{} already exists; expected a new file".format(path))
    np = import_numpy()
    plan = read_plan()
    groq, tsp = import_runtime()
    # A program is closed before the process ends: a card whose program was killed may need an administrator.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with tempfile.TemporaryDirectory(prefix="groq-run-") as folder:
        started = time.perf_counter()
        runner = tsp.create_tsp_runner(unpack_program(plan, folder))
        load_seconds, started = time.perf_counter() - started, time.perf_counter()
        values, call_seconds = run_batches(np, plan, runner)
        seconds = time.perf_counter() - started
        del runner
    sdk = getattr(groq, "__version__", None)
    record = complete(plan, sdk, load_seconds, call_seconds, seconds)
    with open(output + ".partial", "wb") as stream:
        np.save(stream, values)
    record.update(output=os.path.basename(output), sha256=sha256(output + ".partial"))
    with open(beside, "w", encoding="utf-8") as stream:
        stream.write(json.dumps(record, indent=2) + "\n")
    os.replace(output + ".partial", output)
    print("{}: {} embeddings, {} batches".format(output, len(values), len(call_seconds)))


def main():
    # A script's own folder is first on the path, where nothing is to be imported from.
    sys.path[:] = [folder for folder in sys.path if os.path.abspath(folder or ".") != HERE]
    if len(sys.argv) != 2:
        print("usage: python run.py OUTPUT.npy", file=sys.stderr)
        return 2
    try:
        run(sys.argv[1])
    except Exception as error:
        text = str(error) if isinstance(error, Failure) else "{}: {}".format(type(error).__name__, error)
        print("error: {}.".format(text.rstrip(".")), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
