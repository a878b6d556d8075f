"""From texts to embeddings through any runner: the part that is the same for all of them."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from minilmx.errors import MinilmxError, RunnerFailed
from minilmx.models.artifact import Artifact
from minilmx.models.batching import Batch, Fed, feed_batches
from minilmx.models.tokenizer import TokenizedTexts, Tokenizer
from minilmx.runners.base import Runner

Advance = Callable[[int], None]
Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Embeddings:
    """What a runner made of N texts.

    `values` is float32 [N, D]. `seconds` is the time from the first batch to the last, without
    tokenizing; `batch_seconds`, float64 [batches], is how long the runner took for each.
    """

    values: NDArray[np.float32]
    seconds: float
    batch_seconds: NDArray[np.float64]

    @property
    def batches(self) -> int:
        """How often the runner ran."""
        return len(self.batch_seconds)

    @property
    def finite(self) -> bool:
        """Whether no number is NaN or infinite."""
        return bool(np.isfinite(self.values).all())


def run_tokenized(
    runner: Runner, texts: TokenizedTexts, artifact: Artifact, advance: Advance = lambda rows: None
) -> Embeddings:
    """Run every batch and put the texts' embeddings in order; `advance` is told of each batch's.

    Raises RunnerFailed where the runner fails, in whatever way, or returns anything else than
    float32 [B, D], or [B, N, D] where the artifact's graph is packed. Numbers that are not
    finite are kept: see require_finite.
    """
    dimension = artifact.manifest.embedding_dimension
    values = np.empty((len(texts), dimension), dtype=np.float32)
    batch_seconds: list[float] = []

    def run(fed: Fed) -> tuple[NDArray[np.float32], NDArray[np.int64], float]:
        batch, owners = fed
        started = time.perf_counter()
        result = _run_checked(runner, batch, (*owners.shape, dimension))
        return result, owners, time.perf_counter() - started

    started = time.perf_counter()
    for result, owners, seconds in _map_in_threads(run, feed_batches(texts, artifact), _concurrency(runner)):
        taken = owners >= 0
        values[owners[taken]] = result[taken]
        batch_seconds.append(seconds)
        advance(int(taken.sum()))
    return Embeddings(values, time.perf_counter() - started, np.array(batch_seconds))


def _run_checked(runner: Runner, batch: Batch, expected: tuple[int, ...]) -> NDArray[np.float32]:
    try:
        result: object = runner.run(batch)
    except MinilmxError:
        raise
    except Exception as error:
        raise RunnerFailed(
            f"the runner {runner.name} failed on a batch: {type(error).__name__}: {error}"
        ) from error
    if not isinstance(result, np.ndarray) or result.shape != expected or result.dtype != np.float32:
        raise RunnerFailed(
            f"the runner {runner.name} returned {_describe(result)}, expected float32 {list(expected)}"
        )
    return result


def _concurrency(runner: Runner) -> int:
    return getattr(runner, "concurrency", 1)


def _map_in_threads(work: Callable[[Item], Result], items: Iterable[Item], threads: int) -> Iterator[Result]:
    """`map`, with so many items at once, in order, and never many items ahead."""
    if threads == 1:
        yield from map(work, items)
        return
    pending: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for item in items:
                pending.append(pool.submit(work, item))
                if len(pending) > 4 * threads:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()


def _describe(result: object) -> str:
    if isinstance(result, np.ndarray):
        return f"{result.dtype} {list(result.shape)}"
    return f"a {type(result).__name__}"


def require_finite(
    values: NDArray[np.float32], texts: Sequence[str], runner: str, first_row: int = 0
) -> None:
    """Raise RunnerFailed, naming the sentence, where an embedding has NaN or infinity."""
    bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
    if len(bad):
        raise RunnerFailed(
            f"the runner {runner} returned numbers that are not finite for sentence "
            f"{first_row + int(bad[0]) + 1}: {texts[bad[0]][:80]!r}"
        )


def embed(artifact: Artifact, runner: Runner, texts: Sequence[str]) -> NDArray[np.float32]:
    """Embed N texts: float32 [N, D]. Raises RunnerFailed, also for numbers not finite."""
    tokenized = Tokenizer(artifact.tokenizer_file, artifact.shape).encode(texts)
    found = run_tokenized(runner, tokenized, artifact)
    require_finite(found.values, texts, runner.name)
    return found.values
