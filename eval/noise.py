"""How much one runner differs from itself: drift below this says nothing."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from minilmx.embedding.feeding import run_tokenized
from minilmx.models.artifact import Artifact
from minilmx.models.tokenizer import TokenizedTexts
from minilmx.runners.base import Runner, RunnerOptions
from minilmx.runners.registry import open_runner

SENTENCES = 64


@dataclass(frozen=True, slots=True)
class NoiseFloor:
    """Largest absolute differences of one runner from itself over some sentences.

    `repeat` is the same again, `threads` with one intra-op thread instead of the number that
    was set, `position` with the sentences in the opposite order, so at other places in the
    batch and beside others.
    """

    runner: str
    sentences: int
    repeat: float
    threads: float
    position: float

    @property
    def largest(self) -> float:
        """The noise floor: the largest of the three."""
        return max(self.repeat, self.threads, self.position)


def measure_noise(
    artifact: Artifact, runner: str, texts: TokenizedTexts, options: RunnerOptions
) -> NoiseFloor:
    """Run up to 64 of the texts four times. Raises RunnerError."""
    some = texts.take(slice(0, SENTENCES))

    def run(opened: Runner, texts: TokenizedTexts) -> NDArray[np.float32]:
        return run_tokenized(opened, texts, artifact).values

    def largest(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
        return float(np.abs(first.astype(np.float64) - second).max())

    with open_runner(runner, artifact, options) as opened:
        base = run(opened, some)
        again = run(opened, some)
        turned = run(opened, some.take(slice(None, None, -1)))[::-1]
    with open_runner(runner, artifact, replace(options, threads=1)) as opened:
        single = run(opened, some)
    return NoiseFloor(runner, len(some), largest(again, base), largest(single, base), largest(turned, base))
