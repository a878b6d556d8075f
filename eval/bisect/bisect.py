"""Which step of a model makes the drift: its graph run by two sides, compared at its boundaries."""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass

import onnx
from onnx import ModelProto

from minilmx.errors import EvalError
from minilmx.eval.bisect.boundaries import find_boundaries
from minilmx.eval.bisect.steps import Step, compare_steps, relative_error
from minilmx.eval.bisect.traces import finish, trace
from minilmx.eval.datasets.pairs import SentencePairs
from minilmx.models.artifact import Artifact
from minilmx.models.manifest import GraphKind
from minilmx.models.onnx_file import load_onnx
from minilmx.models.tokenizer import Tokenizer
from minilmx.progress import SILENT, Progress
from minilmx.runners.groq_emulator import round_to_float16
from minilmx.runners.provenance import Provenance, record_provenance
from minilmx.runners.registry import AUTO, find_runner

DEFAULT_THRESHOLD = 0.01

_EMULATOR = "groq-emulator"
_EMULATION = "float16 weights and node outputs, float32 sums; not from a GroqCard"
# The runners whose inside can be seen: what each makes of the artifact's graph.
_GRAPHS: dict[str, Callable[[ModelProto], ModelProto]] = {
    "onnxruntime": lambda model: model,
    _EMULATOR: round_to_float16,
}


@dataclass(frozen=True, slots=True)
class Side:
    """What was run: a runner on an artifact. `emulation` says what a runner imitates, if any."""

    runner: str
    artifact: str
    artifact_sha256: str
    emulation: str | None


@dataclass(frozen=True, slots=True)
class Bisection:
    """The candidate's steps beside the reference's. All numbers are unrounded.

    `final_drift` is the relative L2 of the difference over all sentence embeddings. A boundary is
    past the threshold where its relative error is greater, or not defined.
    """

    model: str
    model_revision: str | None
    reference: Side
    candidate: Side
    batch_size: int
    sequence_length: int
    dataset: str
    language: str | None
    split: str | None
    pairs: int
    attended_tokens: int
    truncated_sentences: int
    inputs_sha256: str
    threshold: float
    final_drift: float | None
    first_past_threshold: str | None
    largest_share: str | None
    steps: tuple[Step, ...]
    seconds: float
    provenance: Provenance


def bisect(
    artifact: Artifact,
    reference: str,
    candidate: str,
    pairs: SentencePairs,
    *,
    candidate_artifact: Artifact | None = None,
    threshold: float = DEFAULT_THRESHOLD,
    graph: str = GraphKind.FIXED,
    threads: int | None = None,
    progress: Progress = SILENT,
) -> Bisection:
    """Compare two runners, or two artifacts of one shape, or both, at the model's boundaries.

    `graph` is "fixed" or "dynamic"; the batches are the same for both. Raises RunnerError for an
    unknown runner, and EvalError for a runner that does not show its intermediate tensors, for
    artifacts that do not fit each other, and for a graph in which no boundaries are found.
    """
    started = time.perf_counter()
    if graph == GraphKind.PACKED:
        raise EvalError("the packed graph cannot be bisected; expected fixed or dynamic")
    artifact = artifact.with_graph(GraphKind.FIXED if graph == AUTO else graph)
    other = artifact if candidate_artifact is None else candidate_artifact.with_graph(artifact.graph_kind)
    _require_fit(artifact, other)
    for name in (reference, candidate):
        _require_visible(name)
    texts = Tokenizer(artifact.tokenizer_file, artifact.shape).encode(pairs.texts)
    digest = hashlib.sha256()
    texts.update_digest(digest)
    graph = load_onnx(artifact.graph_file)
    other_graph = graph if other is artifact else load_onnx(other.graph_file)
    boundaries, theirs = find_boundaries(graph), find_boundaries(other_graph)
    if [boundary.name for boundary in theirs] != [boundary.name for boundary in boundaries]:
        raise EvalError(
            f"{artifact.path} and {other.path} have {len(boundaries)} and {len(theirs)} boundaries, not the "
            "same ones: expected two artifacts of one model"
        )
    track = progress.start(f"reference: {reference}", len(texts))
    wanted = trace(_as_run(reference, graph), boundaries, texts, threads, track, magnitudes=True)
    model = _as_run(candidate, other_graph)
    track = progress.start(f"candidate: {candidate}", len(texts))
    found = trace(model, theirs, texts, threads, track)
    remaining = [relative_error(wanted.values[-1], found.values[-1])]
    track = progress.start("shares", len(texts) * (len(theirs) - 1))
    for boundary, values in zip(theirs[:-1], wanted.values[:-1], strict=True):
        embeddings = finish(model, boundary, values, texts, threads, track)
        remaining.append(relative_error(wanted.values[-1], embeddings))
    steps = compare_steps(boundaries, wanted, found, [*remaining, 0.0])
    shares = [(step.share, step.boundary) for step in steps if step.share is not None]
    source = artifact.manifest.source
    return Bisection(
        model=source.id,
        model_revision=source.revision,
        reference=_side(reference, artifact),
        candidate=_side(candidate, other),
        batch_size=artifact.shape.batch_size,
        sequence_length=artifact.shape.sequence_length,
        dataset=pairs.name,
        language=pairs.language,
        split=pairs.split,
        pairs=len(pairs),
        attended_tokens=int(texts.token_counts.sum()),
        truncated_sentences=int(texts.truncated.sum()),
        inputs_sha256=digest.hexdigest(),
        threshold=threshold,
        final_drift=remaining[0],
        first_past_threshold=next((step.boundary for step in steps if step.is_past(threshold)), None),
        largest_share=max(shares)[1] if shares else None,
        steps=steps,
        seconds=time.perf_counter() - started,
        provenance=record_provenance(),
    )


def _as_run(runner: str, model: ModelProto) -> ModelProto:
    try:
        return _GRAPHS[runner](model)
    except onnx.shape_inference.InferenceError as error:
        raise EvalError(f"the graph cannot be emulated: {error}") from error


def _side(runner: str, artifact: Artifact) -> Side:
    emulation = _EMULATION if runner == _EMULATOR else None
    return Side(runner, artifact.path.resolve().name, artifact.digest, emulation)


def _require_visible(runner: str) -> None:
    """Refuse a runner whose intermediate tensors cannot be had. Raises RunnerError for an unknown one."""
    if runner in _GRAPHS:
        return
    find_runner(runner)
    raise EvalError(
        f"the runner {runner} cannot be bisected: it gives sentence embeddings and shows none of the tensors "
        f"on the way; use {' or '.join(_GRAPHS)} here (float16's rounding is emulated by {_EMULATOR}), and "
        f"`mlx eval` to measure the drift of {runner} itself"
    )


def _require_fit(artifact: Artifact, other: Artifact) -> None:
    """Refuse artifacts that do not take the same token batches, or not to embeddings of one size."""
    for what, mine, theirs in (
        ("shape", artifact.shape, other.shape),
        ("embedding dimension", artifact.manifest.embedding_dimension, other.manifest.embedding_dimension),
        ("tokenizer", _tokenizer_sha256(artifact), _tokenizer_sha256(other)),
    ):
        if mine != theirs:
            raise EvalError(
                f"{artifact.path} and {other.path} cannot be compared tensor by tensor: their {what} is "
                f"{mine} and {theirs}; expected two artifacts of one shape and tokenizer"
            )


def _tokenizer_sha256(artifact: Artifact) -> str:
    return next(file.sha256 for file in artifact.manifest.files if file.path == artifact.tokenizer_file.name)
