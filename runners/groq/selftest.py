"""What a compiler and a card do with our graphs, answered in about a minute by a model of one layer.

The artifact beside this file is a BERT of random weights from our own exporter, so its graphs have the
operators, the int64 mask and the packing of a real model's. It is shipped, and not made here, because an
export needs PyTorch, which a machine with a card often lacks; and so each machine answers for the same bytes.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from minilmx.errors import RunnerFailed
from minilmx.models.artifact import Artifact, open_artifact
from minilmx.models.batching import Batch, feed_batches
from minilmx.models.interface import SENTENCE_EMBEDDING
from minilmx.models.manifest import GraphKind
from minilmx.models.tokenizer import open_tokenizer
from minilmx.progress import Progress
from minilmx.runners.groq.bridge import Tensors
from minilmx.runners.groq.build import MAX_FP16_ERROR, build_artifact, cpu_runner, largest_error
from minilmx.runners.groq.cache import Build
from minilmx.runners.groq.doctor import MachineCheck
from minilmx.runners.groq.runner import start_program

ARTIFACT = Path(__file__).with_name("selftest-artifact")
CALLS = 100
_HELD = "held"
# Each letter is a token: the first two leave padding in the fixed graph's rows, and all of them make two
# rows of several segments in the packed graph's.
_TEXTS = (
    "one",
    "a text of some words",
    "two",
    "another sentence that is a little longer than the others are",
    "there is padding after every one of these",
    "and a last sentence of eight words here",
)
# What to use instead of a graph that cannot be compiled, loaded or trusted. No published run on a card has an
# int64 mask through Cast; the packed graph has neither it nor other operators than the encoder.
_OTHER_FORMS = {
    GraphKind.FIXED: "export the model with a bool mask, as in Groq's proof point",
    GraphKind.PACKED: "use the fixed graph",
}
_UNPROVEN = ("compiles", "inputs", "error")


def run_selftest(progress: Progress) -> list[MachineCheck]:
    """Compile the fixed and the packed graph of the shipped model, and call each 100 times on the card.

    A check per answer: compiling, input types, output names and types, repeats, time, and the error against
    the CPU. An answer that cannot be had because an earlier one failed is left out. Raises RunnerUnavailable.
    """
    artifact = open_artifact(ARTIFACT)
    return [
        check
        for kind in (GraphKind.FIXED, GraphKind.PACKED)
        for check in _test_graph(artifact.with_graph(kind), progress)
    ]


def _test_graph(artifact: Artifact, progress: Progress) -> list[MachineCheck]:
    kind = artifact.graph_kind
    progress.message(f"self-test of the {kind} graph")
    try:
        build = build_artifact(artifact, progress=progress)
    except RunnerFailed as error:
        return [_check(kind, "compiles", False, error.message, error.hint, "build")]
    emulated = "emulated: " if build.is_stand_in else ""
    ops = ", ".join(f"{name} {count}" for name, count in sorted(build.op_counts.items()))
    checks = [_check(kind, "compiles", True, f"{emulated}{ops}", None, "build")]
    tokenized = open_tokenizer(artifact).encode(_TEXTS)
    batch, owners = next(feed_batches(tokenized, artifact))
    types = ", ".join(f"{tensor.name} {tensor.dtype}" for tensor in artifact.graph.inputs)
    inputs = f"{types}, each sent as int32"
    log = build.folder / "selftest.log"
    seconds: list[float] = []
    changed = 0
    first: Tensors = {}
    try:
        with start_program(build, _HELD, log, None) as worker:
            worker.ready()
            for _ in range(CALLS):
                within, (outputs,) = worker.call([batch.feeds()])
                seconds.append(within)
                first = first or outputs
                changed += not _same(first, outputs)
    except RunnerFailed as error:
        if not seconds:
            return [*checks, _check(kind, "inputs", False, f"{inputs}: {error.message}", error.hint)]
        checks.append(_check(kind, "inputs", True, inputs, None))
        return [*checks, _check(kind, "repeats", False, error.message, error.hint)]
    checks += [
        _check(kind, "inputs", True, inputs, None),
        _check_outputs(artifact, first),
        _check(
            kind,
            "repeats",
            changed == 0,
            f"{CALLS - changed} of {CALLS} calls gave the same bits",
            "have the card examined: a program must return the same results in every call",
        ),
        _check(kind, "time", True, emulated + _describe_time(build, seconds), None),
    ]
    if SENTENCE_EMBEDDING in first:
        checks.append(_check_error(artifact, batch, first, owners >= 0))
    return checks


def _check(
    kind: GraphKind,
    name: str,
    ok: bool,
    found: str,
    remedy: str | None,
    needed_to: str = "run",
    *,
    warning: bool = False,
) -> MachineCheck:
    remedy = remedy or "ask Groq"
    if name in _UNPROVEN and not ok:
        remedy = f"{_OTHER_FORMS[kind]}, or: {remedy}"
    return MachineCheck(f"{kind}: {name}", ok, found, remedy, needed_to, warning)


def _same(first: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray]) -> bool:
    """Whether two calls gave the same bits; NaN is like itself."""
    return first.keys() == other.keys() and all(
        first[name].dtype == other[name].dtype and first[name].tobytes() == other[name].tobytes()
        for name in first
    )


def _check_outputs(artifact: Artifact, outputs: Tensors) -> MachineCheck:
    """Names and shapes as in the graph, and float16, as GroqFlow's conversion declares them."""
    expected = {tensor.name: list(tensor.shape) for tensor in artifact.graph.outputs}
    shapes = {name: list(value.shape) for name, value in outputs.items()}
    found = ", ".join(f"{name} {value.dtype} {shapes[name]}" for name, value in sorted(outputs.items()))
    kinds = {value.dtype.name for value in outputs.values()}
    ok = shapes == expected and kinds <= {"float16", "float32"}
    listed = ", ".join(f"{name} {shape}" for name, shape in sorted(expected.items()))
    remedy = f"expected {listed}, of float16" if not ok else "expected float16; minilmx takes float32, too"
    return _check(artifact.graph_kind, "outputs", ok, found, remedy, warning=ok and kinds != {"float16"})


def _describe_time(build: Build, seconds: list[float]) -> str:
    mean, least, most = (1000 * each for each in (sum(seconds) / len(seconds), min(seconds), max(seconds)))
    text = f"{mean:.3f} ms per call inside the SDK ({least:.3f} to {most:.3f})"
    compute = build.on_chip_compute_seconds
    return f"{text}, {1000 * compute:.4f} ms of it on-chip compute by the cycles" if compute else text


def _check_error(artifact: Artifact, batch: Batch, outputs: Tensors, used: np.ndarray) -> MachineCheck:
    with artifact.private_graph() as graph, cpu_runner(graph) as session:
        expected = session.run(batch)[used]
    found = outputs[SENTENCE_EMBEDDING].astype(np.float32)
    error = largest_error(found[used], expected) if found.shape == used.shape + expected.shape[1:] else np.inf
    return _check(
        artifact.graph_kind,
        "error",
        error <= MAX_FP16_ERROR,
        f"relative error of an embedding {error:.1e} against the CPU's float32; at most {MAX_FP16_ERROR:.0e}",
        "do not use embeddings of this graph",
    )
