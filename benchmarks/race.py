"""The rounds: every contender's process stands by, asleep, while one of them embeds the workload."""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from contenders import BASELINE, Contender
from folders import HERE, SCRATCH, SetupFailed, python_of
from numpy.typing import NDArray
from process import Run, Worker, WorkerFailed
from workloads import MAX_TOKENS

_FIRST_TEXT = "A man is playing a guitar."


@dataclass(slots=True)
class Entrant:
    """A contender in one workload's rounds. `failed` is why it is out of them.

    `first_seconds` are from the spawn of a fresh process to its first embedding. `values` is
    float32 [N, D], from the pass before the rounds, and `runs` has one run a round.
    """

    contender: Contender
    failed: str | None = None
    worker: Worker | None = None
    first_seconds: list[float] = field(default_factory=list)
    values: NDArray[np.float32] | None = None
    runs: list[Run] = field(default_factory=list)

    @contextmanager
    def guard(self) -> Iterator[None]:
        """Take it out, and end its process, where what is done within fails."""
        try:
            yield
        except (SetupFailed, WorkerFailed) as error:
            say(f"  {self.contender.name} failed: {error}")
            self.failed = str(error)
            self.close()

    def close(self) -> None:
        """End its process."""
        if self.worker:
            self.worker.close()
        self.worker = None


def say(line: str) -> None:
    """Tell the user what goes on; the result alone is for standard output."""
    print(line, file=sys.stderr, flush=True)


def race(
    contenders: Sequence[Contender],
    folders: Mapping[str, Path | SetupFailed],
    texts: Sequence[str],
    rounds: int,
    starts: int,
) -> tuple[list[Entrant], list[float]]:
    """Every contender's runs, and the machine's fp32 rate before each round, FLOP/s.

    A first embedding is timed in `starts` fresh processes; the last of them stays.
    """
    first, whole = SCRATCH / "first.json", SCRATCH / "texts.json"
    first.write_text(json.dumps([_FIRST_TEXT]))
    whole.write_text(json.dumps(texts))
    entrants = [Entrant(contender) for contender in contenders]
    rates = []
    try:
        for entrant in entrants:
            with entrant.guard():
                _open(entrant, folders, first, whole, starts)
            if entrant.contender.name == BASELINE and entrant.failed:
                sys.exit(f"there is nothing to compare with: {BASELINE} failed: {entrant.failed}")
        for number in range(rounds):
            rates.append(_measure_rate())
            shift = number % len(entrants)
            for entrant in entrants[shift:] + entrants[:shift]:
                with entrant.guard():
                    if entrant.worker:
                        entrant.runs.append(entrant.worker.embed(whole))
            took = (f"{e.contender.name} {e.runs[-1].seconds:.2f}" for e in entrants if not e.failed)
            say(f"  round {number + 1}, seconds: {', '.join(took)}")
    finally:
        for entrant in entrants:
            entrant.close()
    return entrants, rates


def _open(
    entrant: Entrant, folders: Mapping[str, Path | SetupFailed], first: Path, whole: Path, starts: int
) -> None:
    """Time the first embedding, then let the last process embed all once: the warm-up."""
    contender = entrant.contender
    folder = folders[contender.folder]
    if isinstance(folder, SetupFailed):
        raise folder
    options = {"model": str(folder), "max_tokens": MAX_TOKENS, **contender.options}
    python, log, saved = (
        python_of(contender.environment),
        SCRATCH / f"{contender.name}.log",
        SCRATCH / "values.npy",
    )
    for _ in range(starts):
        entrant.close()
        entrant.worker = Worker(python, contender.library, options, log)
        entrant.worker.embed(first)
        entrant.first_seconds.append(entrant.worker.age)
    if entrant.worker:
        run = entrant.worker.embed(whole, saved)
        first_seconds = entrant.first_seconds[-1]
        say(f"  {contender.name}: first embedding {first_seconds:.2f} s, warm-up {run.seconds:.2f} s")
        entrant.values = np.load(saved)
        saved.unlink()


def _measure_rate() -> float:
    """limit.py in a process of its own, while all are asleep: FLOP/s."""
    command = [sys.executable, str(HERE / "limit.py")]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
