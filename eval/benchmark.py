"""Runners side by side in interleaved rounds: how fast each is on the same texts, on this machine."""

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from minilmx.embedding.feeding import Embeddings, run_tokenized
from minilmx.errors import EvalError
from minilmx.models.artifact import Artifact
from minilmx.models.batching import feed_batches
from minilmx.models.tokenizer import TokenizedTexts, Tokenizer
from minilmx.runners.base import ON_CHIP_SECONDS, Details, Runner, RunnerOptions
from minilmx.runners.provenance import Provenance, record_provenance
from minilmx.runners.registry import open_runner, require_runner

# Fresh processes that are started for the first embedding.
_STARTS = 3
_FIRST_TEXT = "A man is playing a guitar."
# `mlx` with the arguments that follow; at the end it notes the most memory that it held, in bytes.
# The resource usage that a parent gets of its child would count what the parent held at the fork.
_MLX = """
import atexit, pathlib, resource, runpy
def note():
    try:
        lines = pathlib.Path("/proc/self/status").read_text().splitlines()
        peak = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    except OSError:  # not Linux
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    pathlib.Path("peak.txt").write_text(str(peak))
atexit.register(note)
runpy.run_module("minilmx", run_name="__main__")
"""


@dataclass(frozen=True, slots=True)
class Contender:
    """A runner with one of the artifact's graphs: fixed, packed or dynamic."""

    runner: str
    graph: str

    @property
    def name(self) -> str:
        """As it is written on the command line: RUNNER:GRAPH."""
        return f"{self.runner}:{self.graph}"


@dataclass(frozen=True, slots=True)
class Timing:
    """One contender's figures. All times are in seconds.

    `rounds` is how long each round took, tokenizing included. `latency_median` and `latency_p95`
    are of one batch from end to end, over the batches of all rounds; `on_chip` is an
    accelerator's own estimate of one batch, an estimate and no measurement, where it has one.
    `padding_share` is how much of what was computed was padding, 0 to 1. `first_embedding` is
    the time from starting `mlx run` to its end with one sentence, the median of three fresh
    processes, and `peak_bytes` the most memory that `mlx run` of all texts held.
    """

    contender: Contender
    details: Details
    rounds: tuple[float, ...]
    batches: int
    latency_median: float
    latency_p95: float
    on_chip: float | None
    sentences_per_second: float
    tokens_per_second: float
    padding_share: float
    first_embedding: float
    peak_bytes: int

    @property
    def median_seconds(self) -> float:
        """The median round."""
        return statistics.median(self.rounds)


@dataclass(frozen=True, slots=True)
class Benchmark:
    """An artifact's contenders over `texts` texts of `tokens` tokens; the first is the baseline.

    Raises ValueError where there is none.
    """

    artifact: str
    artifact_sha256: str
    model: str
    batch_size: int
    sequence_length: int
    dataset: str
    texts: int
    tokens: int
    timings: tuple[Timing, ...]
    provenance: Provenance

    def __post_init__(self) -> None:
        if not self.timings:
            raise ValueError("it holds no timing")

    def ratio(self, timing: Timing) -> float:
        """How many times as fast as the baseline: the median of the ratios within the rounds."""
        pairs = zip(self.timings[0].rounds, timing.rounds, strict=True)
        return statistics.median(baseline / mine for baseline, mine in pairs)


def parse_contender(text: str, artifact: Artifact) -> Contender:
    """RUNNER or RUNNER:GRAPH; without a graph, the one that `mlx run` takes.

    Raises EvalError for a graph that there is not, RunnerError for a runner that cannot run here.
    """
    runner, _, graph = text.partition(":")
    entry = require_runner(runner)
    graph = graph or ("dynamic" if entry.dynamic else "fixed")
    if graph not in ("fixed", "packed", "dynamic"):
        raise EvalError(f"{text} names the graph {graph!r}: expected fixed, packed or dynamic")
    if graph == "dynamic" and not entry.dynamic:
        raise EvalError(f"{text}: the runner {runner} runs graphs of a fixed shape, fixed or packed")
    choose_graph(artifact, graph)
    return Contender(runner, graph)


def choose_graph(artifact: Artifact, graph: str) -> Artifact:
    """The artifact with that graph for runners to run. Raises ArtifactError where it has none."""
    return {"fixed": lambda: artifact, "packed": artifact.as_packed, "dynamic": artifact.as_dynamic}[graph]()


def measure(
    artifact: Artifact,
    contenders: Sequence[Contender],
    texts: Sequence[str],
    dataset: str,
    options: RunnerOptions,
    rounds: int,
    say: Callable[[str], None] = lambda message: None,
) -> Benchmark:
    """Warm every contender up, then let each embed all texts once a round, in turning order.

    Raises RunnerError, and EvalError where a fresh process of a contender fails.
    """
    alone = {}
    for each in contenders:
        say(f"starting {each.name} afresh")
        starts = [_run_afresh(artifact, each, [_FIRST_TEXT], options)[0] for _ in range(_STARTS)]
        alone[each] = statistics.median(starts), _run_afresh(artifact, each, texts, options)[1]
    views = {each: choose_graph(artifact, each.graph) for each in contenders}
    tokenizer = Tokenizer(artifact.tokenizer_file, artifact.shape)
    tokenized = tokenizer.encode(texts)
    tokens = int(tokenized.token_counts.sum())
    seconds: dict[Contender, list[float]] = {each: [] for each in contenders}
    found: dict[Contender, list[Embeddings]] = {each: [] for each in contenders}
    with ExitStack() as stack:
        opened: dict[Contender, Runner] = {}
        for each in contenders:
            say(f"warming up {each.name}")
            opened[each] = stack.enter_context(open_runner(each.runner, views[each], options))
            run_tokenized(opened[each], tokenized, views[each])
        for number in range(rounds):
            say(f"round {number + 1} of {rounds}")
            first = number % len(contenders)
            for each in [*contenders[first:], *contenders[:first]]:
                started = time.perf_counter()
                embeddings = run_tokenized(opened[each], tokenizer.encode(texts), views[each])
                seconds[each].append(time.perf_counter() - started)
                found[each].append(embeddings)
        details = {each: dict(opened[each].details) for each in contenders}
    timings = []
    for each in contenders:
        median = statistics.median(seconds[each])
        latencies = np.concatenate([embeddings.batch_seconds for embeddings in found[each]])
        on_chip = details[each].get(ON_CHIP_SECONDS)
        first_embedding, peak_bytes = alone[each]
        timings.append(
            Timing(
                contender=each,
                details=details[each],
                rounds=tuple(seconds[each]),
                batches=found[each][0].batches,
                latency_median=float(np.median(latencies)),
                latency_p95=float(np.percentile(latencies, 95)),
                on_chip=on_chip if isinstance(on_chip, float) else None,
                sentences_per_second=len(texts) / median,
                tokens_per_second=tokens / median,
                padding_share=_padding_share(views[each], tokenized),
                first_embedding=first_embedding,
                peak_bytes=peak_bytes,
            )
        )
    return Benchmark(
        artifact=artifact.path.resolve().name,
        artifact_sha256=artifact.digest,
        model=artifact.manifest.source.id,
        batch_size=artifact.shape.batch_size,
        sequence_length=artifact.shape.sequence_length,
        dataset=dataset,
        texts=len(texts),
        tokens=tokens,
        timings=tuple(timings),
        provenance=record_provenance(),
    )


def _padding_share(artifact: Artifact, texts: TokenizedTexts) -> float:
    computed = sum(batch.feeds()["input_ids"].size for batch, _ in feed_batches(texts, artifact))
    return 1 - int(texts.token_counts.sum()) / computed


def _run_afresh(
    artifact: Artifact, contender: Contender, texts: Sequence[str], options: RunnerOptions
) -> tuple[float, int]:
    """`mlx run` in a process of its own: seconds from start to end, and its peak memory in bytes."""
    with tempfile.TemporaryDirectory(prefix="mlx-bench-") as name:
        folder = Path(name)
        # One text a line: a text with line breaks of its own counts as it would in a text file.
        (folder / "in.txt").write_text("".join(f"{' '.join(text.split())}\n" for text in texts), "utf-8")
        command = [sys.executable, "-c", _MLX, "run", str(artifact.path.resolve()), "in.txt"]
        command += ["--output", "out.npy", *_flags(contender, options)]
        with (folder / "log.txt").open("wb") as log:
            started = time.perf_counter()
            done = subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            seconds = time.perf_counter() - started
        if done.returncode:
            lines = (folder / "log.txt").read_text("utf-8", "replace").strip().splitlines()
            raise EvalError(f"`mlx run` with {contender.name} failed: {lines[-1] if lines else 'no message'}")
        return seconds, int((folder / "peak.txt").read_text())


def _flags(contender: Contender, options: RunnerOptions) -> list[str]:
    """The options of `mlx run` that make the same runner."""
    flags = ["--runner", contender.runner, "--precision", options.precision]
    flags += ["--graph-optimization", options.graph_optimization]
    flags += ["--groq-execution", options.groq_execution]
    flags += [f"--{contender.graph}"] if contender.graph != "dynamic" else []
    flags += ["--threads", str(options.threads)] if options.threads else []
    flags += ["--model", str(options.model.resolve())] if options.model else []
    flags += ["--bundle", str(options.bundle.resolve())] if options.bundle else []
    return flags
