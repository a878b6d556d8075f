"""What a runner is.

A runner has one job: run one token batch at its graph's shape. Tokenizing, padding, batching and the
checks of its output are written once, in minilmx.embedding.open_graph, and are the same for every runner,
so drift measures the runner alone.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from minilmx.arguments import require_count
from minilmx.errors import RunnerFailed
from minilmx.models.artifact import Artifact
from minilmx.models.batching import Batch as Batch
from minilmx.models.manifest import GraphKind
from minilmx.progress import Progress

if TYPE_CHECKING:
    from typing import Self  # of Python 3.11

Details = Mapping[str, str | int | float | None]

# The keys under which an accelerator's runner gives the latencies of one batch in its details, in seconds:
# the cycles of the compute alone, an estimate with the transfers, and a measurement within the call.
ON_CHIP_COMPUTE_SECONDS = "on_chip_compute_seconds"
WITH_PCIE_SECONDS = "with_pcie_seconds"
SDK_CALL_SECONDS = "sdk_call_seconds"


def chip_latencies(details: Details) -> dict[str, Any]:
    """The three latencies of one batch that an accelerator's runner gives, in seconds, or None."""
    keys = (ON_CHIP_COMPUTE_SECONDS, WITH_PCIE_SECONDS, SDK_CALL_SECONDS)
    latencies = {key: details.get(key) for key in keys}
    return {key: float(value) if isinstance(value, int | float) else None for key, value in latencies.items()}


FLOAT16_MAX = 65504.0
STATIC_GRAPHS = frozenset({GraphKind.FIXED, GraphKind.PACKED})
ALL_GRAPHS = frozenset(GraphKind)


class Runner(ABC):
    """Runs batches of one graph of one artifact. Opened by a RunnerEntry; close it after use.

    `concurrency` is how many threads may call `run_all` at once; if it is above 1, an interruption calls
    `close` while they do. `batches_per_call` is how many batches `run_all` takes at most: above 1 if each
    call has an overhead, such as a message to another process. `versions` maps the libraries that compute
    to their versions, and `details` holds other facts worth recording, such as settings: strings, finite
    numbers and None. Both are read after the last batch.

    Example:
        A runner of your own needs `name` and `run`:

        >>> import numpy as np
        >>> class Zeros(minilmx.Runner):
        ...     name = "zeros"
        ...     def run(self, batch):
        ...         return np.zeros((len(batch.feeds()["input_ids"]), 384), np.float32)
    """

    name: ClassVar[str]
    concurrency: int = 1
    batches_per_call: int = 1

    @property
    def details(self) -> Details:
        """Facts worth recording."""
        return {}

    @property
    def versions(self) -> Mapping[str, str]:
        """Versions of the libraries that compute."""
        return {}

    @abstractmethod
    def run(self, batch: Batch) -> NDArray[np.float32]:
        """Embed one batch: int64 [B, S] inputs to float32 [B, D], or [B, N, D] if the graph is packed.

        A cross-encoder's artifact gives a score per row instead: float32 [B, 1], the output `score`.

        Raises RunnerFailed.
        """

    def run_all(self, batches: Sequence[Batch]) -> list[NDArray[np.float32]]:
        """Embed at most `batches_per_call` batches: for each, what `run` returns. Raises RunnerFailed."""
        return [self.run(batch) for batch in batches]

    def close(self) -> None:
        """Free what the runner holds. Closing it again does nothing."""
        return

    def __enter__(self) -> "Self":
        return self

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        self.close()


@dataclass(frozen=True, slots=True)
class NoOptions:
    """The options of a runner that takes none."""


@dataclass(frozen=True, slots=True)
class ThreadOptions:
    """`threads` is how many threads compute (None: the library's own choice, or one per CPU)."""

    threads: int | None = None

    def __post_init__(self) -> None:
        require_count("threads", self.threads)


def facts_of(runner: Runner) -> tuple[dict[str, Any], dict[str, str]]:
    """A runner's details and versions, as every record states them; numbers of numpy become Python's.

    Raises RunnerFailed for a detail that no record can state, such as NaN.
    """
    details = {
        name: value.item() if isinstance(value, np.generic) else value
        for name, value in runner.details.items()
    }
    for name, value in details.items():
        is_number = type(value) is int or (isinstance(value, float) and math.isfinite(value))
        if not (value is None or isinstance(value, str) or is_number):
            raise RunnerFailed(
                f"the details of the runner {runner.name}: {name} {value!r:.80}; expected a string, a finite "
                "number or None"
            )
    return details, dict(runner.versions)


def _no_versions(options: Any) -> Mapping[str, str]:
    return {}


@dataclass(frozen=True, slots=True)
class RunnerEntry:
    """A runner in the registry, or in the entry-point group `minilmx.runners`.

    `options` is the frozen dataclass of the settings that the runner takes; each needs a default.
    `missing(options)` returns what this machine lacks and how to get it, or None if the runner can
    run. `open(artifact, options, progress)` raises RunnerUnavailable or RunnerFailed. `graphs` says
    which kinds of graph the runner takes, and `scores` whether it takes those of a cross-encoder's artifact,
    which give a score per pair of texts. `verifies` is whether `open` reads the artifact's files with
    Artifact.read and Artifact.private_graph alone, which verify them; otherwise `minilmx.load` verifies all
    files first. `versions(options)` are those of the libraries that compute, known before the runner is open:
    a corpus is resumed only with the same, and with the same version of a plug-in's own package.

    Example:
        With the class from the example of Runner:

        >>> entry = minilmx.RunnerEntry(
        ...     name="zeros",
        ...     about="returns zeros",
        ...     missing=lambda options: None,
        ...     open=lambda artifact, options, progress: Zeros(),
        ... )
        >>> with minilmx.load("out", runner=entry) as model:
        ...     float(model.encode(["One sentence."]).max())
        0.0
    """

    name: str
    about: str
    missing: Callable[[Any], str | None]
    open: Callable[[Artifact, Any, Progress], Runner]
    options: type[Any] = NoOptions
    graphs: frozenset[GraphKind] = STATIC_GRAPHS
    verifies: bool = False
    scores: bool = True
    versions: Callable[[Any], Mapping[str, str]] = _no_versions
