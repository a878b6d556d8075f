"""Runners side by side in interleaved rounds: how fast each is on the same texts, on this machine."""

import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from minilmx.embedding.corpus.worker import Job
from minilmx.embedding.embedder import Embedder, Embeddings
from minilmx.errors import EvalError
from minilmx.models.artifact import Artifact, open_artifact
from minilmx.models.batching import feed_batches
from minilmx.models.tokenizer import TokenizedTexts, Tokenizer
from minilmx.progress import SILENT, Progress
from minilmx.runners.base import ON_CHIP_SECONDS, Details
from minilmx.runners.provenance import Provenance, record_provenance
from minilmx.runners.registry import choose_graph, require_runner, share_settings

# Fresh processes that are started for the first embedding.
_STARTS = 3
_FIRST_TEXT = "A man is playing a guitar."
_CHILD = "from minilmx.eval.benchmark import embed_alone; embed_alone()"


@dataclass(frozen=True, slots=True)
class Contender:
    """A runner with one of the artifact's graphs: fixed, packed or dynamic."""

    runner: str
    graph: str

    @property
    def name(self) -> str:
        """What tables call it."""
        return f"{self.runner} {self.graph}"


@dataclass(frozen=True, slots=True)
class Timing:
    """One contender's figures. All times are in seconds.

    `rounds` is how long each round took, tokenizing included. `latency_median` and `latency_p95`
    are of one batch from end to end, over the batches of all rounds; `on_chip` is an
    accelerator's own estimate of one batch, an estimate and no measurement, where it has one.
    `padding_share` is how much of what was computed was padding, 0 to 1. `first_embedding` is
    the time from the start of a fresh process to its end with one sentence, the median of three,
    and `peak_bytes` the most memory that a fresh process held for all texts.
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


def choose_contenders(artifact: Artifact, runners: Sequence[str], graphs: Sequence[str]) -> list[Contender]:
    """Each runner with each graph; without graphs, each runner with every one that it takes.

    Raises RunnerError for a runner that does not take a graph that was named, ArtifactError for a
    graph that the artifact does not have.
    """
    contenders = []
    for name in dict.fromkeys(runners):
        taken = [kind for kind in artifact.manifest.graphs if kind in require_runner(name).graphs]
        for graph in graphs or taken:
            contenders.append(Contender(name, choose_graph(artifact, [name], graph).graph_kind))
    return list(dict.fromkeys(contenders))


def measure(
    artifact: Artifact,
    contenders: Sequence[Contender],
    texts: Sequence[str],
    dataset: str,
    settings: Mapping[str, Any] | None = None,
    rounds: int = 5,
    progress: Progress = SILENT,
) -> Benchmark:
    """Warm every contender up, then let each embed all texts once per round, in rotating order.

    Each runner takes those of the settings that it has. Raises RunnerError, and EvalError if a
    fresh process of a contender fails.
    """
    shares = share_settings([each.runner for each in contenders], settings or {})
    alone = {}
    for each in contenders:
        progress.message(f"starting {each.name} in a fresh process")
        job = Job(artifact.with_graph(each.graph), each.runner, shares[each.runner])
        starts = [_run_afresh(job, [_FIRST_TEXT])[0] for _ in range(_STARTS)]
        alone[each] = statistics.median(starts), _run_afresh(job, texts)[1]
    tokenizer = Tokenizer(artifact.tokenizer_file, artifact.shape)
    tokenized = tokenizer.encode(texts)
    tokens = int(tokenized.token_counts.sum())
    seconds: dict[Contender, list[float]] = {each: [] for each in contenders}
    found: dict[Contender, list[Embeddings]] = {each: [] for each in contenders}
    with ExitStack() as stack:
        opened: dict[Contender, Embedder] = {}
        for each in contenders:
            progress.message(f"warming up {each.name}")
            embedder = Embedder(artifact, each.runner, each.graph, progress, **shares[each.runner])
            opened[each] = stack.enter_context(embedder)
            embedder.encode_tokenized(tokenized)
        for number in range(rounds):
            progress.message(f"round {number + 1} of {rounds}")
            first = number % len(contenders)
            for each in [*contenders[first:], *contenders[:first]]:
                started = time.perf_counter()
                embeddings = opened[each].encode_tokenized(tokenizer.encode(texts))
                seconds[each].append(time.perf_counter() - started)
                found[each].append(embeddings)
        details = {each: dict(opened[each].runner.details) for each in contenders}
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
                padding_share=_padding_share(artifact.with_graph(each.graph), tokenized),
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


def _run_afresh(job: Job, texts: Sequence[str]) -> tuple[float, int]:
    """Embed texts in a process of its own: seconds from start to end, and its peak memory in bytes."""
    with tempfile.TemporaryDirectory(prefix="mlx-bench-") as name:
        folder = Path(name)
        (folder / "job.json").write_text(
            json.dumps(
                {
                    "artifact": str(job.artifact.path.resolve()),
                    "runner": job.runner,
                    "graph": job.artifact.graph_kind,
                    "settings": {key: _absolute(value) for key, value in job.settings.items()},
                    "texts": list(texts),
                }
            )
        )
        with (folder / "log.txt").open("wb") as log:
            started = time.perf_counter()
            command = [sys.executable, "-c", _CHILD]
            done = subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            seconds = time.perf_counter() - started
        if done.returncode:
            lines = (folder / "log.txt").read_text("utf-8", "replace").strip().splitlines()
            raise EvalError(f"{job.runner} failed in a fresh process: {lines[-1] if lines else 'no message'}")
        return seconds, int((folder / "peak.txt").read_text())


def embed_alone() -> None:
    """A fresh process of a benchmark: do job.json in this folder, and note the peak memory in bytes.

    It is measured from within: what a parent learns of its child counts what the parent held at the fork.
    """
    job = json.loads(Path("job.json").read_text())
    artifact = open_artifact(Path(job["artifact"]))
    with Embedder(artifact, job["runner"], job["graph"], **job["settings"]) as embedder:
        for _ in embedder.stream(job["texts"]):
            pass
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        peak = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    except OSError:  # not Linux
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    Path("peak.txt").write_text(str(peak))


def _absolute(value: object) -> object:
    return str(value.resolve()) if isinstance(value, Path) else value
