"""Builds: an artifact's ONNX bytes through GroqFlow, or what the cache holds of it already."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from minilmx.errors import RunnerFailed
from minilmx.files.digest import sha256_of_file
from minilmx.models.artifact import Artifact
from minilmx.models.batching import feed_batches
from minilmx.models.sample_texts import sample_texts
from minilmx.models.tokenizer import Tokenizer
from minilmx.progress import Progress
from minilmx.runners.base import Batch, Runner
from minilmx.runners.groq.bridge import Event, Worker
from minilmx.runners.groq.cache import (
    BUILD_NAME,
    LOG,
    Build,
    build_key,
    cache_root,
    delete_all_but_logs,
    lock_folder,
    mark_done,
    read_done,
)
from minilmx.runners.groq.environment import GroqFlowEnvironment
from minilmx.runners.groq.machine import DEVTOOLS, package_version
from minilmx.runners.groq.preflight import Preflight, check_before_build

OUTPUT_NAME = "sentence_embedding"
DEFAULT_TIME_LIMIT_SECONDS = 3600.0
# Relative L2 error an embedding may have after GroqFlow's conversion to float16. MiniLM has
# 1.2e-3; the conversion that onnxconverter-common 1.16 gets wrong does not even run.
_MAX_FP16_ERROR = 0.02


def get_build(
    artifact: Artifact,
    environment: GroqFlowEnvironment,
    reference: Callable[[], Runner],
    progress: Progress,
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
    with lock_folder(folder, progress):
        if not rebuild:
            found = read_done(folder, progress)
            if found is not None:
                progress.message(f"build: from the cache, {folder}")
                return found
        preflight = check_before_build(artifact)
        for warning in preflight.warnings:
            progress.message(f"preflight: {warning}")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        try:
            facts = _run_groqflow(artifact, environment, folder, preflight, time_limit_seconds, progress)
            error = _check_conversion(artifact, environment, folder, facts, reference)
            progress.message(f"FP16 conversion checked on the CPU: relative error {error:.1e}")
            return mark_done(folder, artifact, sdk, facts)
        except BaseException:
            delete_all_but_logs(folder)
            raise


def _run_groqflow(
    artifact: Artifact,
    environment: GroqFlowEnvironment,
    folder: Path,
    preflight: Preflight,
    time_limit_seconds: float,
    progress: Progress,
) -> Event:
    """One worker process, one build. Raises RunnerFailed."""
    example = folder / "example_inputs.npz"
    np.savez(example, **_example_batches(artifact)[0][0].feeds())  # type: ignore[arg-type] # numpy's stub
    job = {
        "verb": "build",
        "onnx": str(artifact.graph_file.resolve()),
        "build_name": BUILD_NAME,
        "cache_dir": str(folder),
        "inputs": str(example),
        "chips": preflight.chips,
    }
    log = folder / LOG
    progress.message(f"building with GroqFlow; follow it with: tail -f {log}")
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
                    f"the build was not done after {time_limit_seconds / 60:g} minutes and was "
                    f"ended (log: {log}): give more with --time-limit"
                ) from error
            raise
    progress.message(f"{time.perf_counter() - started:7.1f} s  done")
    if event["onnx_sha256"] != sha256_of_file(artifact.graph_file):
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

    Returns the largest relative L2 error of an embedding. Raises RunnerFailed past the limit.
    """
    graph = str(folder / BUILD_NAME / facts["f16_onnx"])
    job = {"verb": "compare", "onnx": graph, "outputs": [OUTPUT_NAME]}
    log = folder / LOG
    worst = 0.0
    with (
        Worker(environment.python, job, log, environment.variables()) as worker,
        reference() as runner,
    ):
        worker.ready()
        for batch, owners in _example_batches(artifact):
            taken = owners >= 0
            expected = runner.run(batch)[taken]
            converted = worker.call(batch.feeds())[1][OUTPUT_NAME][taken]
            error = np.linalg.norm(converted - expected, axis=1) / np.linalg.norm(expected, axis=1)
            worst = max(worst, float(error.max()) if np.isfinite(error).all() else np.inf)
    if worst > _MAX_FP16_ERROR:
        raise RunnerFailed(
            f"GroqFlow's conversion to float16 is wrong: an embedding differs by {worst:.1%}, "
            f"expected at most {_MAX_FP16_ERROR:.0%} (log: {log}); check `mlx groq doctor` for the pins"
        )
    return worst


def _example_batches(artifact: Artifact) -> list[tuple[Batch, NDArray[np.int64]]]:
    """A few batches of real sentences from one word to truncated, and which embeddings count."""
    texts = sample_texts(artifact.shape.sequence_length)[::4]
    tokenized = Tokenizer(artifact.tokenizer_file, artifact.shape).encode(texts)
    return list(feed_batches(tokenized, artifact))
