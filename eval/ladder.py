"""The ladder: which step between PyTorch and the accelerator causes the drift."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from minilmx.embedding.scorer import opener
from minilmx.errors import EvalError, ModelError, RunnerError
from minilmx.models.artifact import Artifact
from minilmx.models.manifest import GraphKind
from minilmx.models.tokenizer import TokenizedTexts
from minilmx.progress import SILENT, Progress
from minilmx.runners.registry import find_runner, make_options, own_settings

SENTENCES = 128
# From the model to the hardware; each step changes one thing.
_STEPS = (
    ("PyTorch", "torch", None),
    ("ONNX graph, unoptimised", "onnxruntime", "disable"),
    ("ONNX graph, optimised", "onnxruntime", None),
    ("float16, emulated", "groq-emulator", None),
    ("GroqCard", "groq", None),
)


@dataclass(frozen=True, slots=True)
class LadderStep:
    """What one step changed, over N x D numbers, against the step before it.

    `share` is this step's share of the final drift: its difference projected on the difference
    between the last and the first step, divided by the square of that difference. The shares add up
    to 1, and one is negative if a step cancels the drift of others. That of the first step is 0.
    """

    name: str
    runner: str
    max_abs: float
    rms_abs: float
    share: float


@dataclass(frozen=True, slots=True)
class Ladder:
    """The steps that can run here, over `sentences` sentences; `missing` names the others."""

    sentences: int
    steps: tuple[LadderStep, ...]
    missing: tuple[str, ...]


def climb(
    artifact: Artifact, texts: TokenizedTexts, settings: Mapping[str, Any], progress: Progress = SILENT
) -> Ladder:
    """Run up to 128 texts on every step that can run here, on the artifact's static graph.

    Each runner takes those of the settings that it has; a message says why one that is there cannot run.
    Raises EvalError if fewer than two steps can run or one is not finite.
    """
    some = texts.take(slice(0, SENTENCES))
    climbed, missing = [], []
    for name, runner, level in _STEPS:
        own = own_settings(runner, settings)
        if level:
            own["graph_optimization"] = level
        entry = find_runner(runner)
        if entry.missing(make_options(entry, own)) is not None:
            missing.append(name)
            continue
        # The PyTorch model is the model itself, and takes one text per row.
        packed = artifact.graph_kind == GraphKind.PACKED and runner != "torch"
        graph = GraphKind.PACKED if packed else GraphKind.FIXED
        try:
            with opener(artifact)(artifact, runner, graph, **own) as embedder:
                embeddings = embedder.encode_tokenized(some)
        except (RunnerError, ModelError) as error:  # the evaluation is finished, and not lost
            progress.message(f"the ladder, without {name}: {error.message}")
            missing.append(name)
            continue
        if not embeddings.finite:
            raise EvalError(f"the ladder's step {name}: numbers that are not finite; expected finite ones")
        climbed.append((name, runner, embeddings.values.astype(np.float64)))
    if len(climbed) < 2:
        raise EvalError(
            f"the ladder: {len(climbed)} steps can run here; expected at least two",
            f"Install what is missing for {', '.join(missing)}.",
        )
    final = climbed[-1][2] - climbed[0][2]
    steps = [LadderStep(*climbed[0][:2], max_abs=0.0, rms_abs=0.0, share=0.0)]
    for (_, _, before), (name, runner, values) in pairwise(climbed):
        moved = values - before
        share = float((moved * final).sum() / (final * final).sum()) if final.any() else 0.0
        rms = float(np.sqrt(np.mean(moved**2)))
        steps.append(LadderStep(name, runner, float(np.abs(moved).max()), rms, share))
    return Ladder(len(some), tuple(steps), tuple(missing))
