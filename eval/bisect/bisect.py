"""Which step of a model causes the drift: two runs of its graph, compared at its boundaries."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto

from minilmx.errors import EvalError
from minilmx.eval.bisect.boundaries import find_boundaries
from minilmx.eval.bisect.steps import Step, compare_steps, relative_error
from minilmx.eval.bisect.traces import finish, trace
from minilmx.eval.comparison import compare
from minilmx.eval.datasets.pairs import SentencePairs
from minilmx.eval.evaluation import Evaluation, RunnerResult
from minilmx.eval.header import DataHeader, header_fields
from minilmx.eval.metrics.correlation import correlate, pair_similarities
from minilmx.eval.verdict import Verdict, judge
from minilmx.models.artifact import Artifact
from minilmx.models.manifest import GraphKind
from minilmx.models.onnx_file import load_graph
from minilmx.models.tokenizer import open_tokenizer
from minilmx.progress import SILENT, Progress
from minilmx.runners.groq_emulator import EMULATION, round_to_float16
from minilmx.runners.registry import AUTO, find_runner

DEFAULT_THRESHOLD = 0.01

_EMULATOR = "groq-emulator"
# The runners whose intermediate tensors can be read, each with what it makes of the artifact's graph.
_GRAPHS: dict[str, Callable[[ModelProto], ModelProto]] = {
    "onnxruntime": lambda model: model,
    _EMULATOR: round_to_float16,
}


@dataclass(frozen=True, slots=True)
class Side:
    """A runner on an artifact. `emulation` says what the runner imitates, if anything.

    `finite` is whether every number of its sentence embeddings is finite.
    """

    runner: str
    artifact: str
    artifact_sha256: str
    emulation: str | None
    finite: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Bisection(DataHeader):
    """The candidate's steps beside the reference's. All numbers are unrounded.

    The header states the reference's artifact. `final_drift` is the relative L2 norm of the
    difference over all sentence embeddings. A boundary is past the threshold if its relative error
    is greater, or not defined. `seconds` is the time of the whole bisection. `verdict` says whether the
    sentence embeddings are still the same, as that of an evaluation does.
    """

    verdict: Verdict
    reference: Side
    candidate: Side
    attended_tokens: int
    threshold: float
    final_drift: float | None
    first_past_threshold: str | None
    largest_share: str | None
    steps: tuple[Step, ...]
    seconds: float


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
    artifacts that do not fit each other, and for a graph without boundaries.
    """
    started = time.perf_counter()
    if graph == GraphKind.PACKED:
        raise EvalError("graph: packed, which cannot be bisected; expected fixed or dynamic")
    artifact = artifact.with_graph(GraphKind.FIXED if graph == AUTO else graph)
    other = artifact if candidate_artifact is None else candidate_artifact.with_graph(artifact.graph_kind)
    _require_fit(artifact, other)
    for name in (reference, candidate):
        _require_visible(name)
    for each in (artifact, other):
        if each.graph_data:
            raise EvalError(
                f"{each.path}: weights in {each.graph_data.name}, as they have more than 2 GiB; expected "
                "them in the graph"
            )
    texts = open_tokenizer(artifact, artifact.prompt).encode(pairs.texts)
    model = load_graph(artifact)
    other_model = model if other is artifact else load_graph(other)
    boundaries, theirs = find_boundaries(model), find_boundaries(other_model)
    if [boundary.name for boundary in theirs] != [boundary.name for boundary in boundaries]:
        raise EvalError(
            f"{artifact.path} and {other.path}: {len(boundaries)} and {len(theirs)} boundaries; "
            "expected the same ones, of two artifacts of one model"
        )
    track = progress.start(f"reference: {reference}", len(texts))
    exact = trace(_as_run(reference, model), boundaries, texts, threads, track, magnitudes=True)
    candidate_model = _as_run(candidate, other_model)
    track = progress.start(f"candidate: {candidate}", len(texts))
    found = trace(candidate_model, theirs, texts, threads, track)
    remaining = [relative_error(exact.values[-1], found.values[-1])]
    track = progress.start("shares", len(texts) * (len(theirs) - 1))
    for boundary, values in zip(theirs[:-1], exact.values[:-1], strict=True):
        embeddings = finish(candidate_model, boundary, values, texts, threads, track)
        remaining.append(relative_error(exact.values[-1], embeddings))
    steps = compare_steps(boundaries, exact, found, [*remaining, 0.0])
    shares = [(step.share, step.boundary) for step in steps if step.share is not None]
    header = header_fields(artifact, texts, pairs)
    first, second = exact.values[-1], found.values[-1]
    sides = _side(reference, artifact, first), _side(candidate, other, second)
    return Bisection(
        **header,
        verdict=_judge(
            header,
            sides,
            (artifact.manifest.precision, other.manifest.precision),
            (first, second),
            pairs,
            texts.token_counts,
        ),
        reference=sides[0],
        candidate=sides[1],
        attended_tokens=int(texts.token_counts.sum()),
        threshold=threshold,
        final_drift=remaining[0],
        first_past_threshold=next((step.boundary for step in steps if step.is_past(threshold)), None),
        largest_share=max(shares)[1] if shares else None,
        steps=steps,
        seconds=time.perf_counter() - started,
    )


def _as_run(runner: str, model: ModelProto) -> ModelProto:
    try:
        return _GRAPHS[runner](model)
    except onnx.shape_inference.InferenceError as error:
        raise EvalError(f"the graph cannot be emulated: {error}") from error


def _side(runner: str, artifact: Artifact, embeddings: NDArray[np.float32]) -> Side:
    emulation = EMULATION if runner == _EMULATOR else None
    finite = bool(np.isfinite(embeddings).all())
    return Side(runner, artifact.name, artifact.digest, emulation, finite)


def _names(first: Side, second: Side) -> list[str]:
    """What the verdict calls the sides: by runner, by artifact, or by digest, if folders have one name."""
    sides, is_one = (first, second), first.artifact_sha256 == second.artifact_sha256
    if is_one and first.runner != second.runner:
        return [side.runner for side in sides]
    if first.artifact == second.artifact and not is_one:
        return [f"{side.runner} on {side.artifact} {side.artifact_sha256[:12]}" for side in sides]
    return [f"{side.runner} on {side.artifact}" for side in sides]


def _judge(
    header: Mapping[str, Any],
    sides: tuple[Side, Side],
    precisions: tuple[str, str],
    embeddings: tuple[NDArray[np.float32], NDArray[np.float32]],
    pairs: SentencePairs,
    token_counts: NDArray[np.int64],
) -> Verdict:
    """Whether the sentence embeddings of the two sides are still the same."""
    similarity = header["similarity"]
    comparison = compare(*embeddings, pairs, token_counts, similarity)
    results = [
        RunnerResult(
            runner=name,
            graph=None,
            details={"runner": side.runner} | ({} if side.emulation else {"precision": precision}),
            versions={},
            finite=side.finite,
            scores=correlate(pair_similarities(values, similarity), pairs.gold),
            comparison=compared,
        )
        for name, side, precision, values, compared in zip(
            _names(*sides), sides, precisions, embeddings, (None, comparison), strict=True
        )
    ]
    evaluation = Evaluation(
        **header, texts_per_row=1, gold=(), runners=tuple(results), noise=None, ladder=None
    )
    return judge([evaluation], ())


def _require_visible(runner: str) -> None:
    """Refuse a runner that hides its intermediate tensors. Raises RunnerError for an unknown one."""
    if runner in _GRAPHS:
        return
    find_runner(runner)
    raise EvalError(
        f"the runner {runner} cannot be bisected: it returns sentence embeddings and none of the tensors "
        f"before them; expected {' or '.join(_GRAPHS)}",
        f"Bisect with {_EMULATOR}, which emulates the rounding of float16, and evaluate {runner} to measure "
        "its own drift.",
    )


def _require_fit(artifact: Artifact, other: Artifact) -> None:
    """Refuse artifacts that take other token batches, or return embeddings of another size."""
    for what, mine, theirs in (
        ("shape", artifact.shape, other.shape),
        ("embedding dimension", artifact.manifest.embedding_dimension, other.manifest.embedding_dimension),
        ("tokenizer", _tokenizer_sha256(artifact), _tokenizer_sha256(other)),
    ):
        if mine != theirs:
            raise EvalError(
                f"{artifact.path} and {other.path}: {what} {mine} and {theirs}; expected two artifacts of "
                "one shape and tokenizer"
            )


def _tokenizer_sha256(artifact: Artifact) -> str:
    return next(file.sha256 for file in artifact.manifest.files if file.path == artifact.tokenizer_file.name)
