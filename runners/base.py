"""What a runner is.

A runner has one job: run one token batch at the artifact's shape. Tokenising, padding,
batching, un-padding and the checks of what comes back are written once around it
(src/minilmx/embedding/feeding.py) and are the same for every runner, so drift measures the runner alone.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from minilmx.models.artifact import Artifact
from minilmx.models.batching import Batch as Batch

Details = Mapping[str, str | int | float | None]

# The key under which a runner's details give its own estimate of one batch on the chip, seconds.
ON_CHIP_SECONDS = "estimated_on_chip_seconds"


@dataclass(frozen=True, slots=True)
class RunnerOptions:
    """What a user may set; a runner takes what concerns it.

    `threads` is how many threads compute (None: the library's own choice, or one a CPU).
    `graph_optimization` is onnxruntime's level: disable, basic, extended or all.
    `precision` is OpenVINO's: f32, bf16 or int8.
    `model` is the folder with the PyTorch weights, for the torch runner.
    `bundle` is a build from another machine, and `groq_execution` is "held" (the program is
    loaded once) or "groqflow" (GroqFlow's own path), for the groq runner. `say` is told what
    takes long before it begins.
    """

    threads: int | None = None
    graph_optimization: str = "all"
    precision: str = "f32"
    model: Path | None = None
    bundle: Path | None = None
    groq_execution: str = "held"
    say: Callable[[str], None] = lambda message: None


class Runner(Protocol):
    """Runs batches of one artifact. Opened by a RunnerEntry, closed by its user.

    A runner whose `run` may be called from several threads at once says from how many in an
    attribute `concurrency`; one that has none is called from one thread.
    """

    @property
    def name(self) -> str:
        """The name it is registered under."""

    @property
    def details(self) -> Details:
        """Facts worth recording, such as versions and settings; complete after the last batch."""

    def run(self, batch: Batch) -> NDArray[np.float32]:
        """Embed one batch: int64 [B, S] inputs to float32 [B, D]. Raises RunnerFailed.

        Where the graph is packed, to float32 [B, N, D].
        """

    def close(self) -> None:
        """Free what it holds. Closing again does nothing."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...


@dataclass(frozen=True, slots=True)
class RunnerEntry:
    """A runner in the registry, or in the entry-point group `minilmx.runners`.

    `missing(options)` says what this machine lacks and how to get it, or None where the runner
    can run. `open(artifact, options)` raises RunnerUnavailable or RunnerFailed. `dynamic` tells
    whether the runner takes batches of any size and length, through the artifact's dynamic twin.
    """

    name: str
    about: str
    missing: Callable[[RunnerOptions], str | None]
    open: Callable[[Artifact, RunnerOptions], Runner]
    dynamic: bool = False
