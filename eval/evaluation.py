"""Run several runners on identical token batches and compare what they return."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from minilmx.errors import EvalError
from minilmx.eval.drift import Drift, measure_drift
from minilmx.eval.pairs import SentencePairs
from minilmx.eval.scores import Scores, score_pairs
from minilmx.models.artifact import Artifact
from minilmx.models.tokenizer import Tokenizer
from minilmx.runners.feeding import Advance, Embeddings, run_tokenized
from minilmx.runners.protocol import ON_CHIP_SECONDS, Details, RunnerOptions
from minilmx.runners.provenance import Provenance, record_provenance
from minilmx.runners.registry import open_runner, require_runner

RESULT_SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class RunnerResult:
    """One runner over all 2N sentences. `drift` is against the reference; None for itself.

    `seconds` is the time inside the runner, for `batches` batches at the artifact's shape, and
    `latency_seconds` that of one batch, both measured from end to end.
    `estimated_on_chip_seconds` is an accelerator's own estimate for one batch, where it has one.
    """

    runner: str
    details: Details
    scores: Scores
    drift: Drift | None
    batches: int
    seconds: float
    sentences_per_second: float
    latency_seconds: float
    estimated_on_chip_seconds: float | None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A whole evaluation; the first runner is the reference. All numbers are unrounded."""

    artifact: str
    artifact_sha256: str
    model: str
    model_revision: str | None
    batch_size: int
    sequence_length: int
    dataset: str
    language: str | None
    split: str | None
    pairs: int
    truncated_sentences: int
    inputs_sha256: str
    runners: tuple[RunnerResult, ...]
    provenance: Provenance

    def to_document(self) -> dict[str, Any]:
        """The result as it is saved in JSON."""
        return {"schema_version": RESULT_SCHEMA_VERSION, **asdict(self)}


def evaluate(
    artifact: Artifact,
    runners: Sequence[str],
    pairs: SentencePairs,
    options: RunnerOptions | None = None,
    progress: Callable[[str, int], Advance] = lambda runner, rows: lambda done: None,
) -> Evaluation:
    """Evaluate the artifact on graded pairs; the first runner is the reference.

    Every runner gets the very same token batches. `progress(runner, rows)` is asked for a
    function that is told of each batch's rows. Raises RunnerError, before the first runner
    runs where another is not available here, and EvalError for no runner or one named twice.
    """
    if not runners or len(set(runners)) != len(runners):
        raise EvalError(f"expected runners that differ, got {', '.join(runners) or 'none'}")
    for name in runners:
        require_runner(name, options)
    tokenized = Tokenizer(artifact.tokenizer_file, artifact.shape).encode(pairs.texts)
    digest = hashlib.sha256()
    tokenized.update_digest(digest)
    dimension = artifact.manifest.embedding_dimension
    results: list[RunnerResult] = []
    reference: Embeddings | None = None
    for name in runners:
        with open_runner(name, artifact, options) as runner:
            found = run_tokenized(runner, tokenized, dimension, progress(name, len(tokenized)))
            details = dict(runner.details)
        drift = None if reference is None else measure_drift(reference.values, found.values)
        reference = reference or found
        first, second = found.values[: len(pairs)], found.values[len(pairs) :]
        results.append(
            RunnerResult(
                runner=name,
                details=details,
                scores=score_pairs(first, second, pairs.gold),
                drift=drift,
                batches=found.batches,
                seconds=found.seconds,
                sentences_per_second=len(tokenized) / found.seconds,
                latency_seconds=found.seconds / found.batches,
                estimated_on_chip_seconds=_number(details.get(ON_CHIP_SECONDS)),
            )
        )
    source = artifact.manifest.source
    return Evaluation(
        artifact=artifact.path.resolve().name,
        artifact_sha256=artifact.digest,
        model=source.id,
        model_revision=source.revision,
        batch_size=artifact.shape.batch_size,
        sequence_length=artifact.shape.sequence_length,
        dataset=pairs.name,
        language=pairs.language,
        split=pairs.split,
        pairs=len(pairs),
        truncated_sentences=int(tokenized.truncated.sum()),
        inputs_sha256=digest.hexdigest(),
        runners=tuple(results),
        provenance=record_provenance(),
    )


def _number(value: str | int | float | None) -> float | None:
    return float(value) if isinstance(value, int | float) else None
