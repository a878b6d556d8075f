"""What would fail in a ten-minute compile, found in a second.

The limits are those of GroqFlow 4.3.1 with onnx 1.14.0 and onnxruntime 1.15.1, as measured with the
unmodified package. Only the closed compiler knows which operators it supports.
"""

import math

from minilmx.errors import RunnerFailed
from minilmx.models.artifact import Artifact
from minilmx.models.batching import feed_batches
from minilmx.models.interface import GROQ_MAX_IR_VERSION, GROQ_MAX_OPSET, MIN_OPSET
from minilmx.models.manifest import FLOAT32, MASKS
from minilmx.models.onnx_file import GraphFacts, load_graph, read_facts
from minilmx.models.sample_texts import sample_texts
from minilmx.models.tokenizer import open_tokenizer
from minilmx.runners.base import FLOAT16_MAX
from minilmx.runners.groq_emulator import EmulatorRunner

OPSETS = range(MIN_OPSET, GROQ_MAX_OPSET + 1)
# groqflow/common/build.py, calculate_num_chips: about 50M parameters per chip, then a power of two.
_PARAMETERS_PER_CHIP = 50_000_000
# Operators that were seen to pass GroqFlow's own stages, conversion to float16 included.
KNOWN_OPS = {
    *("Add", "Cast", "Clip", "Constant", "Div", "Equal", "Erf", "Gather", "MatMul", "Mul", "Pow"),
    *("ReduceMax", "ReduceMean", "ReduceSum", "Reshape", "Softmax", "Sqrt", "Squeeze", "Sub"),
    *("Tanh", "Transpose", "Unsqueeze"),
}
# Below this ratio of float16's largest number to the largest value, an unusual text could exceed float16.
_LOW_HEADROOM = 1.5


def chips_needed(parameters: int) -> int:
    """Chips that GroqFlow builds for: one per 50M parameters, rounded up to a power of two."""
    needed = max(1, math.ceil(parameters / _PARAMETERS_PER_CHIP))
    return 1 << (needed - 1).bit_length()


def check_before_build(artifact: Artifact) -> list[str]:
    """Check an artifact against GroqFlow's limits and ours, and return warnings about the graph, in words.

    Raises RunnerFailed, which names every problem.
    """
    facts = read_facts(load_graph(artifact), artifact.graph_file)
    problems = _problems(facts, artifact)
    if problems:
        hint = "Export the model from its PyTorch weights." if facts.opset not in OPSETS else None
        if chips_needed(facts.parameters) > 1:
            hint = "Use a smaller model, or the runner groq-emulator to see what float16 costs."
        raise RunnerFailed(f"GroqFlow cannot build {artifact.graph_file.name}: {'; '.join(problems)}", hint)
    largest = _largest_magnitude(artifact)
    if largest > FLOAT16_MAX:
        raise RunnerFailed(
            f"the largest value in {artifact.graph_file.name}: {largest:,.0f}; expected at most "
            f"{FLOAT16_MAX:,.0f}, the limit of float16, in which a GroqCard computes"
        )
    warnings = []
    headroom = FLOAT16_MAX / largest
    if headroom < _LOW_HEADROOM:
        warnings.append(f"values reach {largest:,.0f}, {headroom:.2f} times below float16's limit")
    unknown = sorted(set(facts.ops) - KNOWN_OPS)
    if unknown:
        warnings.append(f"operators that were not tried with GroqFlow: {', '.join(unknown)}")
    return warnings


def _problems(facts: GraphFacts, artifact: Artifact) -> list[str]:
    problems = []
    if artifact.manifest.precision != FLOAT32:
        problems.append(f"precision {artifact.manifest.precision}, expected float32")
    if facts.opset not in OPSETS:
        problems.append(f"opset {facts.opset}, expected {OPSETS[0]} to {OPSETS[-1]}")
    if facts.ir_version > GROQ_MAX_IR_VERSION:
        problems.append(f"IR version {facts.ir_version}, expected at most {GROQ_MAX_IR_VERSION}")
    if not facts.domains or facts.domains[0] != "":
        problems.append(f"operator sets {facts.domains}, expected ONNX's own first")
    if facts.external_data:
        problems.append("weights in another file, expected them in the ONNX file")
    stated = artifact.graph
    for found, expected in ((facts.inputs, stated.inputs), (facts.outputs, stated.outputs)):
        if found != expected:
            problems.append(f"{', '.join(map(str, found))}, expected {', '.join(map(str, expected))}")
    for tensor in facts.inputs:
        types = MASKS if tensor.name == "attention_mask" else MASKS[:1]
        if tensor.dtype not in types or not all(isinstance(dim, int) for dim in tensor.shape):
            problems.append(f"input {tensor}, expected {' or '.join(types)} and a static shape")
    for tensor in facts.outputs:
        if not all(isinstance(dim, int) for dim in tensor.shape):
            problems.append(f"output {tensor}, expected a static shape")
    chips = chips_needed(facts.parameters)
    if chips > 1:  # GroqFlow writes a program per chip then, and runs them with another call
        problems.append(
            f"{facts.parameters:,} parameters, which take {chips} chips; expected at most "
            f"{_PARAMETERS_PER_CHIP:,}, because minilmx runs programs of one chip only"
        )
    return problems


def _largest_magnitude(artifact: Artifact) -> float:
    """The largest magnitude of any value while the emulator embeds some sentences."""
    texts = sample_texts(artifact.shape.sequence_length)[::3]
    tokenized = open_tokenizer(artifact).encode(texts)
    with EmulatorRunner(artifact, None) as emulator:
        for batch, _ in feed_batches(tokenized, artifact):
            emulator.run(batch)
        largest = emulator.details["largest_magnitude"]
    return largest if isinstance(largest, float) else math.inf
