"""From texts to embeddings through any runner: the part that is the same for all of them."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from minilmx.errors import MinilmxError, RunnerFailed
from minilmx.models.artifact import Artifact
from minilmx.models.packing import pack
from minilmx.models.tokenizer import TokenizedTexts, Tokenizer
from minilmx.runners.protocol import Batch, Runner

Advance = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Embeddings:
    """What a runner made of N texts.

    `values` is float32 [N, D]. `seconds` is the time inside the runner, without tokenizing,
    from the first batch to the last; `batches` is how often it ran.
    """

    values: NDArray[np.float32]
    seconds: float
    batches: int

    @property
    def finite(self) -> bool:
        """Whether no number is NaN or infinite."""
        return bool(np.isfinite(self.values).all())


def run_tokenized(
    runner: Runner,
    texts: TokenizedTexts,
    dimension: int,
    advance: Advance = lambda rows: None,
    *,
    segments: int | None = None,
) -> Embeddings:
    """Run every batch and put the texts' embeddings in order; `advance` is told of each batch's.

    With `segments` (Artifact.segments) the runner has a packed graph: its rows hold up to so
    many texts, and it returns float32 [B, N, D].

    Raises RunnerFailed where the runner fails, in whatever way, or returns anything else than
    float32 [B, D]. Numbers that are not finite are kept: see require_finite.
    """
    values = np.empty((len(texts), dimension), dtype=np.float32)
    seconds, batches = 0.0, 0
    for batch, owners in feed_batches(texts, segments):
        expected = (*owners.shape, dimension)
        started = time.perf_counter()
        try:
            result = runner.run(batch)
        except MinilmxError:
            raise
        except Exception as error:
            raise RunnerFailed(
                f"the runner {runner.name} failed on a batch: {type(error).__name__}: {error}"
            ) from error
        seconds += time.perf_counter() - started
        if not isinstance(result, np.ndarray) or result.shape != expected or result.dtype != np.float32:
            raise RunnerFailed(
                f"the runner {runner.name} returned {_describe(result)}, expected float32 {list(expected)}"
            )
        taken = owners >= 0
        values[owners[taken]] = result[taken]
        batches += 1
        advance(int(taken.sum()))
    return Embeddings(values, seconds, batches)


def feed_batches(texts: TokenizedTexts, segments: int | None) -> Iterator[tuple[Batch, NDArray[np.int64]]]:
    """Each batch, and which text each of its embeddings is of; -1 where it is of none."""
    if segments is not None:
        for packed in pack(texts, segments):
            yield packed, packed.texts
        return
    for number, batch in enumerate(texts.batches()):
        rows = number * texts.shape.batch_size + np.arange(texts.shape.batch_size)
        yield batch, np.where(rows < len(texts), rows, -1)


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
    dimension, segments = artifact.manifest.embedding_dimension, artifact.segments
    found = run_tokenized(runner, tokenized, dimension, segments=segments)
    require_finite(found.values, texts, runner.name)
    return found.values
