"""Builds: an artifact's ONNX bytes through GroqFlow, kept under a key of all that matters.

A build has its own folder in the cache. It counts as done when build.json is in it, written
last, and the digests there match: a half-built or garbled folder is built again, never run.
One builder at a time holds the folder's lock, which dies with its process.
"""

import fcntl
import hashlib
import json
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from minilmx.atomic import atomic_file
from minilmx.errors import RunnerFailed
from minilmx.export.parity import parity_texts
from minilmx.models.artifact import Artifact
from minilmx.models.digest import sha256_of_file
from minilmx.models.tokenizer import TokenBatch, Tokenizer
from minilmx.runners.groq.bridge import WORKER, Event, Worker
from minilmx.runners.groq.environment import GroqFlowEnvironment
from minilmx.runners.groq.machine import DEVTOOLS, package_version
from minilmx.runners.groq.preflight import Preflight, check_before_build
from minilmx.runners.protocol import Runner

BUILD_NAME = "model"
OUTPUT_NAME = "sentence_embedding"
PROGRAM = f"{BUILD_NAME}/compile/output.iop"
STATE = f"{BUILD_NAME}/{BUILD_NAME}_state.yaml"
STATISTICS = f"{BUILD_NAME}/compile/stats.json"
DEFAULT_TIME_LIMIT_SECONDS = 3600.0
_DONE = "build.json"
_LOG = "build.log"
# Relative L2 error an embedding may have after GroqFlow's conversion to float16. MiniLM has
# 1.2e-3; the conversion that onnxconverter-common 1.16 gets wrong does not even run.
_MAX_FP16_ERROR = 0.02

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Build:
    """A finished build. `facts` is what GroqFlow and the SDK said of it (worker.py's result)."""

    folder: Path
    artifact_sha256: str
    sdk: str | None
    facts: Mapping[str, Any]

    @property
    def program(self) -> Path:
        """The .iop file that a card runs."""
        return self.folder / PROGRAM

    @property
    def on_chip_seconds(self) -> float | None:
        """GroqFlow's estimate for one batch: cycles at 900 MHz and the transfers over PCIe.

        groqflow/groqmodel/groqmodel.py, GroqModel.estimate_performance. None without cycles.
        """
        seconds = self.facts["info"].get("estimated_latency")
        return float(seconds) if self.facts["total_cycles"] and seconds else None

    @property
    def op_counts(self) -> dict[str, int]:
        """Nodes by operator in the graph that was compiled."""
        ops = self.facts["info"].get("opt_onnx_ops") or []
        return dict(ops) if isinstance(ops, dict) else dict(Counter(ops))

    @property
    def is_stand_in(self) -> bool:
        """Whether the SDK that compiled it says of itself that it is the tests' stand-in."""
        return "standin" in str(self.sdk)


def cache_root() -> Path:
    """Where builds are kept."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "minilmx" / "groq"


def build_key(artifact: Artifact, environment: GroqFlowEnvironment, sdk: str | None) -> str:
    """A digest of all that decides a build: the ONNX bytes, the tools, and the worker itself."""
    tools = ("groqflow", "onnx", "onnxruntime", "onnxconverter-common", "onnxmltools", "numpy")
    parts = {
        "artifact": artifact.digest,  # covers the ONNX bytes and the tokenizer
        "sdk": sdk,
        "worker": sha256_of_file(WORKER),
        "versions": {name: environment.versions.get(name) for name in tools},
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def get_build(
    artifact: Artifact,
    environment: GroqFlowEnvironment,
    reference: Callable[[], Runner],
    say: Say,
    *,
    time_limit_seconds: float = DEFAULT_TIME_LIMIT_SECONDS,
    rebuild: bool = False,
) -> Build:
    """The artifact's build from the cache, or built now.

    `reference` opens a float32 runner, which the converted graph is compared with once. Raises
    RunnerFailed where the build fails, takes too long, or converts the graph wrongly.
    """
    sdk = package_version(DEVTOOLS)
    folder = cache_root() / build_key(artifact, environment, sdk)
    with _lock(folder, say):
        if not rebuild:
            found = _read_done(folder, say)
            if found is not None:
                say(f"build: from the cache, {folder}")
                return found
        preflight = check_before_build(artifact)
        for warning in preflight.warnings:
            say(f"preflight: {warning}")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        try:
            facts = _run_groqflow(artifact, environment, folder, preflight, time_limit_seconds, say)
            error = _check_conversion(artifact, environment, folder, facts, reference)
            say(f"FP16 conversion checked on the CPU: relative error {error:.1e}")
            return _mark_done(folder, artifact, sdk, facts)
        except BaseException:
            # Nothing half-built stays but the log.
            shutil.rmtree(folder / BUILD_NAME, ignore_errors=True)
            raise


def _run_groqflow(
    artifact: Artifact,
    environment: GroqFlowEnvironment,
    folder: Path,
    preflight: Preflight,
    time_limit_seconds: float,
    say: Say,
) -> Event:
    """One worker process, one build. Raises RunnerFailed."""
    example = folder / "example_inputs.npz"
    np.savez(example, **_example_batches(artifact)[0].feeds())  # type: ignore[arg-type] # numpy's stub
    job = {
        "verb": "build",
        "onnx": str(artifact.fixed_graph.resolve()),
        "build_name": BUILD_NAME,
        "cache_dir": str(folder),
        "inputs": str(example),
        "chips": preflight.chips,
    }
    log = folder / _LOG
    say(f"building with GroqFlow; follow it with: tail -f {log}")
    started = time.perf_counter()
    with Worker(environment.python, job, log, environment.variables()) as worker:
        worker.limit(time_limit_seconds)
        try:
            for event in worker.events():
                if event["event"] == "stage" and event["status"] == "started":
                    say(f"{time.perf_counter() - started:7.1f} s  {event['stage']}")
        except RunnerFailed as error:
            if worker.timed_out:
                raise RunnerFailed(
                    f"the build was not done after {time_limit_seconds / 60:g} minutes and was "
                    f"ended (log: {log}): give more with --time-limit"
                ) from error
            raise
    say(f"{time.perf_counter() - started:7.1f} s  done")
    if event["onnx_sha256"] != sha256_of_file(artifact.fixed_graph):
        raise RunnerFailed(f"GroqFlow built another ONNX file than the artifact's (log: {log})")
    if OUTPUT_NAME not in event["output_names"]:
        raise RunnerFailed(f"the program has no output {OUTPUT_NAME}: {event['output_names']}")
    return event


def _check_conversion(
    artifact: Artifact,
    environment: GroqFlowEnvironment,
    folder: Path,
    facts: Event,
    reference: Callable[[], Runner],
) -> float:
    """Run the FP16 graph on the CPU and compare it: GroqFlow does not notice a wrong one.

    Returns the largest relative L2 error of an embedding. Raises RunnerFailed past 2%.
    """
    graph = str(folder / BUILD_NAME / facts["f16_onnx"])
    job = {"verb": "compare", "onnx": graph, "outputs": [OUTPUT_NAME]}
    worst = 0.0
    with (
        Worker(environment.python, job, folder / _LOG, environment.variables()) as worker,
        reference() as runner,
    ):
        worker.ready()
        for batch in _example_batches(artifact):
            expected = runner.run(batch)
            converted = worker.call(batch.feeds())[1][OUTPUT_NAME]
            error = np.linalg.norm(converted - expected, axis=1) / np.linalg.norm(expected, axis=1)
            worst = max(worst, float(error.max()) if np.isfinite(error).all() else np.inf)
    if worst > _MAX_FP16_ERROR:
        raise RunnerFailed(
            f"GroqFlow's conversion to float16 is wrong: an embedding differs by {worst:.1%}, "
            f"expected at most {_MAX_FP16_ERROR:.0%}; check `mlx groq doctor` for the pins"
        )
    return worst


def _example_batches(artifact: Artifact) -> list[TokenBatch]:
    """A few batches of real sentences from one word to truncated."""
    texts = parity_texts(artifact.shape.sequence_length)[::4]
    return list(Tokenizer(artifact.tokenizer_file, artifact.shape).encode(texts).batches())


def _mark_done(folder: Path, artifact: Artifact, sdk: str | None, facts: Event) -> Build:
    kept = [PROGRAM, STATE, f"{BUILD_NAME}/{facts['f16_onnx']}"]
    if (folder / STATISTICS).is_file():
        kept.append(STATISTICS)
    document = {
        "artifact_sha256": artifact.digest,
        "sdk": sdk,
        "facts": facts,
        "files": {name: sha256_of_file(folder / name) for name in kept},
    }
    with atomic_file(folder / _DONE, replace=True) as temporary:
        temporary.write_text(json.dumps(document, indent=2), encoding="utf-8")
    return Build(folder, artifact.digest, sdk, facts)


def _read_done(folder: Path, say: Say) -> Build | None:
    """The build in a folder, if it is whole; else None, and why."""
    try:
        document = json.loads((folder / _DONE).read_text(encoding="utf-8"))
        for name, digest in document["files"].items():
            if sha256_of_file(folder / name) != digest:
                say(f"the cached build is damaged ({name}): building again")
                return None
        return Build(folder, document["artifact_sha256"], document["sdk"], document["facts"])
    except FileNotFoundError:
        return None  # never finished
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        say("the cached build is damaged: building again")
        return None


@contextmanager
def _lock(folder: Path, say: Say) -> Iterator[None]:
    """Hold the lock of a build's folder; the system frees it when the process ends."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f"{folder.name}.lock").open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another process is building this artifact: waiting for it")
            fcntl.flock(stream, fcntl.LOCK_EX)
        yield
