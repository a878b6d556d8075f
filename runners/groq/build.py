"""Building an artifact's ONNX bytes with GroqFlow, or taking its build from the cache."""

import shutil
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from minilmx.errors import RunnerFailed, RunnerUnavailable
from minilmx.files.locking import hold_lock
from minilmx.models.artifact import Artifact
from minilmx.models.batching import Batch, feed_batches
from minilmx.models.interface import SENTENCE_EMBEDDING
from minilmx.models.sample_texts import sample_texts
from minilmx.models.tokenizer import open_tokenizer
from minilmx.progress import Progress
from minilmx.runners.groq.bridge import Event, Worker
from minilmx.runners.groq.cache import (
    BUILD_NAME,
    LOG,
    Build,
    CompilerOptions,
    build_key,
    cache_root,
    delete_all_but_logs,
    mark_done,
    read_done,
)
from minilmx.runners.groq.environment import GroqFlowEnvironment, require_environment
from minilmx.runners.groq.machine import DEVTOOLS, MIN_SDK_VERSION, package_version, too_old
from minilmx.runners.groq.preflight import check_before_build
from minilmx.runners.groq.trial import conversion_problem
from minilmx.runners.onnxruntime import SessionRunner

DEFAULT_TIME_LIMIT_SECONDS = 3600.0
DEFAULT_OPTIONS = CompilerOptions()
# Relative L2 error that an embedding may have after GroqFlow's conversion to float16. MiniLM has
# 1.2e-3; the invalid graph that onnxconverter-common 1.16 writes cannot even be loaded.
MAX_FP16_ERROR = 0.02


def build_artifact(
    artifact: Artifact,
    *,
    options: CompilerOptions = DEFAULT_OPTIONS,
    time_limit_seconds: float = DEFAULT_TIME_LIMIT_SECONDS,
    rebuild: bool = False,
    progress: Progress,
) -> Build:
    """Build the artifact's graph with GroqFlow, or take its build from the cache unless `rebuild`.

    Raises RunnerUnavailable if GroqFlow is not installed or does not work, or the SDK is too old, and
    RunnerFailed if GroqFlow cannot build the graph, the build fails or takes too long, or the converted
    graph is wrong.
    """
    environment = require_environment()
    sdk = package_version(DEVTOOLS)
    folder = cache_root() / build_key(artifact, environment, sdk, options)
    folder.parent.mkdir(parents=True, exist_ok=True)
    waiting = "another process is building this artifact: waiting for it"
    with hold_lock(folder.with_name(f"{folder.name}.lock"), progress, waiting):
        if not rebuild:
            found = read_done(folder, progress)
            if found is not None:
                progress.message(f"build: from the cache, {folder}")
                return found
        if too_old(sdk):
            raise RunnerUnavailable(f"the version of {DEVTOOLS}: {sdk}; expected {MIN_SDK_VERSION} or later")
        if problem := conversion_problem(environment):
            raise RunnerUnavailable(problem, "Run `mlx groq setup`.")
        for warning in check_before_build(artifact):
            progress.message(f"preflight: {warning}")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        try:
            facts = _run_groqflow(artifact, environment, folder, options, time_limit_seconds, progress)
            error = _check_conversion(artifact, folder, facts)
            progress.message(f"FP16 conversion checked on the CPU: relative error {error:.1e}")
            return mark_done(folder, artifact, sdk, facts)
        except BaseException:
            delete_all_but_logs(folder)
            raise


def _run_groqflow(
    artifact: Artifact,
    environment: GroqFlowEnvironment,
    folder: Path,
    options: CompilerOptions,
    time_limit_seconds: float,
    progress: Progress,
) -> Event:
    """Build in a worker process. Raises RunnerFailed."""
    example = folder / "example_inputs.npz"
    np.savez(example, **_example_batches(artifact)[0][0].feeds())  # type: ignore[arg-type] # numpy's stub
    graph = folder / artifact.graph_file.name
    graph.write_bytes(artifact.read(artifact.graph_file))  # the artifact's own file could change
    job = {
        "verb": "build",
        "onnx": str(graph.resolve()),
        "build_name": BUILD_NAME,
        "cache_dir": str(folder),
        "inputs": str(example),
        "chips": 1,
        "compiler_flags": options.beyond_groqflows,
        "groqview": options.groqview,
    }
    log = folder / LOG
    progress.message(f"building with GroqFlow; to follow it: tail -f {log}")
    started = time.perf_counter()
    with Worker(environment.python, job, log, environment.variables()) as worker:
        worker.limit(time_limit_seconds)
        try:
            for event in worker.events():
                if event["event"] == "stage" and event["status"] == "started":
                    progress.message(f"{time.perf_counter() - started:7.1f} s  {event['stage']}")
        except RunnerFailed as error:
            if worker.timed_out:
                raise RunnerFailed(
                    f"the build did not finish in {time_limit_seconds / 60:g} minutes",
                    f"Allow more time, or read the log {log}.",
                ) from error
            raise
    progress.message(f"{time.perf_counter() - started:7.1f} s  done")
    graph.unlink()
    expected = artifact.graph_sha256
    if event["onnx_sha256"] != expected:
        raise RunnerFailed(
            f"the SHA-256 of the ONNX file that GroqFlow built: {event['onnx_sha256']}; expected {expected}",
            f"Read the log {log}.",
        )
    if event["compiler_flags"] != options.flags:
        raise RunnerFailed(
            f"the compiler's flags: {' '.join(event['compiler_flags']) or 'none'}; "
            f"expected {' '.join(options.flags)}",
            f"Read the log {log}.",
        )
    if SENTENCE_EMBEDDING not in event["output_names"]:
        raise RunnerFailed(
            f"the outputs of the program: {', '.join(event['output_names'])}; expected {SENTENCE_EMBEDDING}"
        )
    return event


def _check_conversion(artifact: Artifact, folder: Path, facts: Event) -> float:
    """Run the FP16 graph on the CPU and compare it, because GroqFlow does not notice a wrong one.

    Returns the largest relative L2 error of an embedding. Raises RunnerFailed above the limit.
    """
    graph = folder / BUILD_NAME / facts["f16_onnx"]
    hint = f"Check the pinned packages with `mlx groq doctor`, or read the log {folder / LOG}."
    worst = 0.0
    try:
        with (
            artifact.private_graph() as original,
            cpu_runner(original) as reference,
            # onnxruntime 1.23, the last for Python 3.10, cannot load MiniLM's float16 graph if it fuses
            # LayerNorm.
            cpu_runner(graph, optimization="disable") as converted,
        ):
            for batch, owners in _example_batches(artifact):
                expected = reference.run(batch)[owners >= 0]
                found = converted.run(batch)[owners >= 0].astype(np.float32)
                worst = max(worst, largest_error(found, expected))
    except RunnerFailed as error:
        raise RunnerFailed(f"GroqFlow's conversion to float16: {error.message}", hint) from error
    if worst > MAX_FP16_ERROR:
        raise RunnerFailed(
            f"the relative error of an embedding after GroqFlow's conversion to float16: {worst:.1%}; "
            f"expected at most {MAX_FP16_ERROR:.0%}",
            hint,
        )
    return worst


def largest_error(found: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    """The largest relative L2 error of an embedding, each float32 [N, D]; infinite if one is not finite."""
    error = np.linalg.norm(found - expected, axis=1) / np.linalg.norm(expected, axis=1)
    return float(error.max()) if np.isfinite(error).all() else np.inf


def cpu_runner(graph: Path | bytes, optimization: str = "all") -> SessionRunner:
    """The CPU's session of a graph, a file or the bytes. Raises RunnerFailed."""
    return SessionRunner(graph, threads=None, graph_optimization=optimization)


def _example_batches(artifact: Artifact) -> list[tuple[Batch, NDArray[np.int64]]]:
    """A few batches of real sentences, from one word to truncated, and the text of each embedding."""
    texts = sample_texts(artifact.shape.sequence_length)[::4]
    tokenized = open_tokenizer(artifact).encode(texts)
    return list(feed_batches(tokenized, artifact))
