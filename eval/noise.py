"""The noise floor: how much one runner differs from itself. Drift below it means nothing."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minilmx.embedding.open_graph import Embeddings, OpenGraph
from minilmx.embedding.scorer import opener
from minilmx.models.tokenizer import TokenizedTexts
from minilmx.runners.base import RunnerEntry
from minilmx.runners.registry import option_names

SENTENCES = 64


@dataclass(frozen=True, slots=True)
class NoiseFloor:
    """Largest absolute differences of one runner from itself over some sentences.

    `repeat` is of a second run; `threads` of a run with one thread instead of the number that was
    set (None if the runner has no such setting); `position` of a run with the sentences in the
    opposite order, so at other positions in the batch and beside other sentences.
    """

    runner: str
    sentences: int
    repeat: float
    threads: float | None
    position: float

    @property
    def largest(self) -> float:
        """The noise floor: the largest of the three."""
        return max(self.repeat, self.threads or 0.0, self.position)


def measure_noise(
    embedder: OpenGraph[Any], runner: str | RunnerEntry, texts: TokenizedTexts, settings: Mapping[str, Any]
) -> NoiseFloor:
    """Embed up to 64 of the texts again and again, on the graph of an open embedder.

    `runner` and `settings` are what it was opened with. Raises RunnerError.
    """
    some = texts.take(slice(0, SENTENCES))

    def largest(first: Embeddings, second: NDArray[np.float32]) -> float:
        return float(np.abs(first.values.astype(np.float64) - second).max())

    base = embedder.encode_tokenized(some)
    again = embedder.encode_tokenized(some)
    turned = embedder.encode_tokenized(some.take(slice(None, None, -1)))
    single = None
    if "threads" in option_names(runner):
        artifact = embedder.artifact
        with opener(artifact)(artifact, runner, artifact.graph_kind, **{**settings, "threads": 1}) as one:
            single = one.encode_tokenized(some)
    return NoiseFloor(
        embedder.runner.name,
        len(some),
        largest(again, base.values),
        None if single is None else largest(single, base.values),
        largest(base, turned.values[::-1]),
    )
