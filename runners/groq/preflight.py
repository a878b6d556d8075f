"""What would fail in a compile of ten minutes, found in a second.

The limits are those of GroqFlow 4.3.1 with onnx 1.14.0 and onnxruntime 1.15.1, as measured
with the unmodified package. Whether the closed compiler takes an operator, only it can tell.
"""

import math
from dataclasses import dataclass

from minilmx.errors import RunnerFailed
from minilmx.models.artifact import Artifact
from minilmx.models.batching import feed_batches
from minilmx.models.manifest import FLOAT32
from minilmx.models.onnx_file import GraphFacts, load_onnx, read_facts
from minilmx.models.sample_texts import sample_texts
from minilmx.models.tokenizer import Tokenizer
from minilmx.runners.groq_emulator import FLOAT16_MAX, EmulatorRunner

OPSETS = range(13, 18)
MAX_IR_VERSION = 9
# groqflow/common/build.py, calculate_num_chips: about 50M parameters a chip, then a power of two.
_PARAMETERS_PER_CHIP = 50_000_000
_MAX_CHIPS = 64
# Operators that were seen to pass GroqFlow's own stages, conversion to float16 included.
KNOWN_OPS = {
    *("Add", "Cast", "Clip", "Constant", "Div", "Equal", "Erf", "Gather", "MatMul", "Mul", "Pow"),
    *("ReduceMax", "ReduceMean", "ReduceSum", "Reshape", "Softmax", "Sqrt", "Squeeze", "Sub"),
    *("Tanh", "Transpose", "Unsqueeze"),
}
# Below this factor to float16's largest number, a longer or odder text could go past it.
_LOW_HEADROOM = 1.5


@dataclass(frozen=True, slots=True)
class Preflight:
    """What was found. `largest_magnitude` is that of any value on some sentences, in float32."""

    parameters: int
    chips: int
    largest_magnitude: float
    warnings: tuple[str, ...]

    @property
    def headroom(self) -> float:
        """How many times the largest value could grow before it is infinite in float16."""
        return FLOAT16_MAX / self.largest_magnitude


def chips_needed(parameters: int) -> int:
    """Chips that GroqFlow builds for: one per 50M parameters, rounded up to a power of two."""
    needed = max(1, math.ceil(parameters / _PARAMETERS_PER_CHIP))
    return 1 << (needed - 1).bit_length()


def check_before_build(artifact: Artifact) -> Preflight:
    """Check an artifact against GroqFlow's limits. Raises RunnerFailed, naming all that is wrong."""
    facts = read_facts(load_onnx(artifact.graph_file))
    problems = _problems(facts, artifact)
    if problems:
        raise RunnerFailed(f"GroqFlow cannot build {artifact.graph_file.name}: {'; '.join(problems)}")
    largest = _largest_magnitude(artifact)
    if largest > FLOAT16_MAX:
        raise RunnerFailed(
            f"{artifact.graph_file.name} has values of {largest:,.0f}, and float16, in which a "
            f"GroqCard computes, ends at {FLOAT16_MAX:,.0f}"
        )
    warnings = []
    if FLOAT16_MAX / largest < _LOW_HEADROOM:
        warnings.append(
            f"values reach {largest:,.0f}, {FLOAT16_MAX / largest:.2f} times below float16's limit"
        )
    unknown = sorted(set(facts.ops) - KNOWN_OPS)
    if unknown:
        warnings.append(f"operators not tried with GroqFlow: {', '.join(unknown)}")
    return Preflight(facts.parameters, chips_needed(facts.parameters), largest, tuple(warnings))


def _problems(facts: GraphFacts, artifact: Artifact) -> list[str]:
    problems = []
    if artifact.manifest.precision != FLOAT32:
        problems.append(f"it is {artifact.manifest.precision}, and GroqFlow converts float32 graphs itself")
    if facts.opset not in OPSETS:
        problems.append(f"opset {facts.opset}, expected {OPSETS[0]} to {OPSETS[-1]}")
    if facts.ir_version > MAX_IR_VERSION:
        problems.append(f"IR version {facts.ir_version}, expected at most {MAX_IR_VERSION}")
    if not facts.domains or facts.domains[0] != "":
        problems.append("the first operator set is not ONNX's own")
    if facts.external_data:
        problems.append("its weights are in another file")
    stated = artifact.graph
    for found, expected in ((facts.inputs, stated.inputs), (facts.outputs, stated.outputs)):
        if found != expected:
            problems.append(f"it has {', '.join(map(str, found))}, not as its manifest says")
    for tensor in facts.inputs:
        if tensor.dtype != "int64" or not all(isinstance(dim, int) for dim in tensor.shape):
            problems.append(f"its input is {tensor}, expected int64 and numbers for dims")
    if not all(isinstance(dim, int) for tensor in facts.outputs for dim in tensor.shape):
        problems.append("an output's shape is not static")
    chips = chips_needed(facts.parameters)
    if chips > _MAX_CHIPS:
        problems.append(f"it needs {chips} chips, and GroqFlow builds for at most {_MAX_CHIPS}")
    return problems


def _largest_magnitude(artifact: Artifact) -> float:
    """The largest magnitude of any value while the emulator embeds some sentences."""
    texts = sample_texts(artifact.shape.sequence_length)[::3]
    tokenized = Tokenizer(artifact.tokenizer_file, artifact.shape).encode(texts)
    with EmulatorRunner(artifact, None) as emulator:
        for batch, _ in feed_batches(tokenized, artifact):
            emulator.run(batch)
        largest = emulator.details["largest_magnitude"]
    return largest if isinstance(largest, float) else math.inf
