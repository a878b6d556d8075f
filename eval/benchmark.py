"""Runners side by side in interleaved rounds: how fast each is on the same texts, on this machine."""

import atexit
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minilmx.embedding.embedder import Embedder
from minilmx.embedding.open_graph import require_finite
from minilmx.embedding.record import Timing
from minilmx.errors import EvalError
from minilmx.eval.header import DataHeader, header_fields
from minilmx.models.artifact import Artifact, open_artifact
from minilmx.models.batching import feed_batches
from minilmx.models.tokenizer import open_tokenizer
from minilmx.progress import SILENT, Progress
from minilmx.runners.base import Details, chip_latencies, facts_of
from minilmx.runners.groq.pythonpath import child_variables
from minilmx.runners.registry import choose_graph, require_runner, share_settings

# Processes that are started for the first embedding.
_STARTS = 3
_FIRST_TEXT = "A man is playing a guitar."
_CHILD = Path(__file__).with_name("benchmark_child.py")
_CLOSING_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Contender:
    """A runner with one of the artifact's graphs: fixed, packed or dynamic."""

    runner: str
    graph: str

    @property
    def name(self) -> str:
        """Its name in tables."""
        return f"{self.runner} {self.graph}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ContenderTiming(Timing):
    """One contender's figures: a timing of its median round, tokenizing included.

    All times are in seconds. `rounds` is how long each round took. All latencies are of one batch
    from end to end, over the batches of all rounds. `on_chip_compute_seconds`, `with_pcie_seconds` and
    `sdk_call_seconds` are an accelerator's, as in a result, or None. `padding_share` is the share of
    padding in what was computed, 0 to 1. `first_embedding` is the time from the start of a process to
    its first embedding, the median of three, and `peak_bytes` is the most memory that the contender's
    process held.
    """

    contender: Contender
    details: Details
    versions: Mapping[str, str]
    rounds: tuple[float, ...]
    latency_median: float
    latency_p95: float
    on_chip_compute_seconds: float | None
    with_pcie_seconds: float | None
    sdk_call_seconds: float | None
    tokens_per_second: float
    padding_share: float
    first_embedding: float
    peak_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmark(DataHeader):
    """An artifact's contenders over the same sentences of `tokens` tokens; the first is the baseline.

    Raises ValueError if there is none.
    """

    tokens: int
    timings: tuple[ContenderTiming, ...]

    def __post_init__(self) -> None:
        if not self.timings:
            raise ValueError("it holds no timing")

    def ratio(self, timing: ContenderTiming) -> float:
        """How many times as fast as the baseline: the median of the ratios within the rounds."""
        return median_ratio(self.timings[0].rounds, timing.rounds)


def choose_contenders(
    artifact: Artifact,
    runners: Sequence[str],
    graphs: Sequence[str],
    settings: Mapping[str, Any],
) -> list[Contender]:
    """Each runner with each graph; without graphs, each runner with every one that it takes.

    Raises RunnerError for a runner that cannot run here with those of the settings that it has, or does not
    take one of the graphs, and ArtifactError for a graph that the artifact does not have.
    """
    contenders = []
    for name, share in share_settings(runners, settings).items():
        entry = require_runner(name, **share)
        for graph in graphs or [kind for kind in artifact.graph_kinds if kind in entry.graphs]:
            contenders.append(Contender(name, choose_graph(artifact, name, graph).graph_kind))
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
    """Warm up every contender, then let each embed all texts once per round, in rotating order.

    Each runner takes those of the settings that it has. Raises RunnerError, and EvalError if the
    process of a contender fails.
    """
    shares = share_settings([each.runner for each in contenders], settings or {})
    with ExitStack() as stack:
        children, first_embeddings = [], []
        for each in contenders:
            progress.message(f"starting {each.name}")
            options = {"artifact": str(artifact.path), "runner": each.runner, "graph": each.graph}
            program = Program(each.name, __name__, {**options, "settings": shares[each.runner]})
            child, first_embedding = warm_up(program, texts)
            children.append(stack.enter_context(child))
            first_embeddings.append(first_embedding)
        laps = race(children, texts, rounds, progress)
    tokenized = open_tokenizer(artifact, artifact.prompt).encode(texts)
    tokens = int(tokenized.token_counts.sum())
    timings = []
    for each, mine, first_embedding in zip(contenders, laps, first_embeddings, strict=True):
        rounds_seconds = tuple(lap.seconds for lap in mine)
        median = statistics.median(rounds_seconds)
        latencies = np.concatenate([lap.notes["batch_seconds"] for lap in mine])
        details = mine[-1].notes["details"]
        fed = feed_batches(tokenized, artifact.with_graph(each.graph))
        timings.append(
            ContenderTiming(
                batches=len(mine[0].notes["batch_seconds"]),
                seconds=median,
                latency_seconds=float(latencies.mean()),
                sentences_per_second=len(texts) / median,
                contender=each,
                details=details,
                versions=mine[-1].notes["versions"],
                rounds=rounds_seconds,
                latency_median=float(np.median(latencies)),
                latency_p95=float(np.percentile(latencies, 95)),
                **chip_latencies(details),
                tokens_per_second=tokens / median,
                padding_share=1 - tokens / sum(batch.feeds()["input_ids"].size for batch, _ in fed),
                first_embedding=first_embedding,
                peak_bytes=mine[-1].peak_bytes,
            )
        )
    return Benchmark(
        **header_fields(artifact, tokenized, dataset),
        tokens=tokens,
        timings=tuple(timings),
    )


@dataclass(frozen=True, slots=True)
class Program:
    """A program that embeds in a process of its own: `load(**options)` of a module; see benchmark_child.py.

    `python` runs it, and `folder` is where the module is if it is not installed there.
    """

    name: str
    module: str
    options: Mapping[str, Any]
    python: str | Path = sys.executable
    folder: Path | None = None


@dataclass(frozen=True, slots=True)
class Lap:
    """All texts, embedded once: `seconds` within the process, and the most memory that it has held."""

    seconds: float
    peak_bytes: int
    notes: dict[str, Any]


class Child:
    """A program in a process of its own, which holds a model and embeds on request."""

    def __init__(self, program: Program) -> None:
        """Start the process, which loads its model in the background."""
        self.program = program
        self._log = tempfile.TemporaryFile()  # noqa: SIM115, as it lasts as long as the process
        command = [program.python, _CHILD, program.folder or "", program.module]
        self._process = subprocess.Popen(
            [*command, json.dumps(program.options, default=str)],
            env=child_variables(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )

    def embed(self, texts: Sequence[str], save: Path | None = None) -> Lap:
        """Embed texts, and save float32 [N, D] as .npy. Raises EvalError if the process fails."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin and stdout
        with suppress(BrokenPipeError):  # its answer states the reason
            print(json.dumps({"texts": texts, "save": save and str(save)}), file=stdin, flush=True)
        answer = json.loads(stdout.readline() or "{}")
        if "seconds" not in answer:
            reason = answer.get("error") or f"it ended with code {self._process.wait()}; {self._last_line()}"
            raise EvalError(f"{self.program.name} failed in its process: {reason}")
        return Lap(**answer)

    def _last_line(self) -> str:
        self._log.seek(0)
        lines = self._log.read().decode("utf-8", "replace").strip().splitlines()
        return lines[-1] if lines else "no message"

    def __enter__(self) -> "Child":
        return self

    def __exit__(self, *_: object) -> None:
        """Let the process close its model, and end it if that takes too long."""
        with suppress(subprocess.TimeoutExpired, BrokenPipeError):
            self._process.communicate(timeout=_CLOSING_SECONDS)
        self._process.kill()
        self._process.communicate()
        self._log.close()


def warm_up(program: Program, texts: Sequence[str], save: Path | None = None) -> tuple[Child, float]:
    """Start a program, and let it embed all texts once. Raises EvalError if it fails.

    Returns its process, and the seconds from the start of a process to its first embedding: the
    median of three, of which the last stays.
    """
    seconds = []
    for start in range(_STARTS):
        with ExitStack() as stack:
            started = time.perf_counter()
            child = stack.enter_context(Child(program))
            child.embed([_FIRST_TEXT])
            seconds.append(time.perf_counter() - started)
            if start == _STARTS - 1:
                child.embed(texts, save)
                stack.pop_all()
    return child, statistics.median(seconds)


def race(
    children: Sequence[Child], texts: Sequence[str], rounds: int, progress: Progress = SILENT
) -> list[list[Lap]]:
    """Each child's laps, one per round. One child works at a time, and each round begins with another.

    Raises EvalError if a process fails.
    """
    laps: list[list[Lap]] = [[] for _ in children]
    for number in range(rounds):
        progress.message(f"round {number + 1} of {rounds}")
        for place in range(len(children)):
            turn = (number + place) % len(children)
            laps[turn].append(children[turn].embed(texts))
    return laps


def median_ratio(baseline: Sequence[float], rounds: Sequence[float]) -> float:
    """How many times as fast as the baseline: the median of the ratios within the rounds."""
    return statistics.median(theirs / mine for theirs, mine in zip(baseline, rounds, strict=True))


def load(
    artifact: str, runner: str, graph: str, settings: Mapping[str, Any]
) -> Callable[[Sequence[str]], tuple[NDArray[np.float32], dict[str, Any]]]:
    """The program of a runner; its notes are each batch's seconds and the runner's details and versions."""
    embedder = Embedder(open_artifact(Path(artifact)), runner, graph, **settings)
    atexit.register(embedder.close)

    def embed(texts: Sequence[str]) -> tuple[NDArray[np.float32], dict[str, Any]]:
        embeddings = embedder.encode_tokenized(embedder.tokenizer.encode(texts))
        require_finite(embeddings.values, texts, runner)
        details, versions = facts_of(embedder.runner)
        return embeddings.values, {
            "batch_seconds": embeddings.batch_seconds.tolist(),
            "details": details,
            "versions": versions,
        }

    return embed
