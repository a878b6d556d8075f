"""The table of metrics."""

from pathlib import Path

import pytest

import minilmx
from minilmx.eval.metrics.table import METRIC


def test_inferences_per_second_counts_batches_that_run_at_the_same_time(tiny: Path) -> None:
    """With several batches at once, the inverse of one batch's latency would be too low."""
    result = minilmx.evaluate(tiny, ["onnxruntime", "groq-emulator"])
    reference, emulator = result.evaluations[0].runners
    for runner in (reference, emulator):
        assert runner.timing
        rate = METRIC["inferences_per_second"].value(runner, reference)
        assert rate == pytest.approx(runner.timing.batches / runner.timing.seconds)
