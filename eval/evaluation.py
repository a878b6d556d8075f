"""Run several runners on identical token batches and compare what they return."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from minilmx.embedding.embedder import Embedder, Embeddings
from minilmx.errors import EvalError
from minilmx.eval.comparison import Comparison, compare
from minilmx.eval.datasets.pairs import SentencePairs
from minilmx.eval.ladder import Ladder, climb
from minilmx.eval.metrics.correlation import Scores, pair_similarities, score_pairs
from minilmx.eval.noise import NoiseFloor, measure_noise
from minilmx.models.artifact import Artifact
from minilmx.models.tokenizer import Tokenizer
from minilmx.progress import SILENT, Progress
from minilmx.runners.base import ON_CHIP_SECONDS, Details
from minilmx.runners.provenance import Provenance, record_provenance
from minilmx.runners.registry import AUTO, choose_graph, require_runner, share_settings


@dataclass(frozen=True, slots=True)
class RunnerResult:
    """One runner over all 2N sentences. `comparison` is with the reference; None for itself.

    `similarities` are the cosines of the N pairs, None where not finite. `seconds` is the time
    inside the runner, for `batches` batches at the artifact's shape, and `latency_seconds` that
    of one batch, both measured from end to end. `estimated_on_chip_seconds` is an accelerator's
    own estimate for one batch, where it has one.
    """

    runner: str
    details: Details
    versions: Mapping[str, str]
    scores: Scores
    similarities: tuple[float, ...] | None
    comparison: Comparison | None
    batches: int | None
    seconds: float | None
    sentences_per_second: float | None
    latency_seconds: float | None
    estimated_on_chip_seconds: float | None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """An artifact on one data set in one language; the first runner is the reference.

    All numbers are unrounded. A comparison of saved embeddings has no pairs, no times and no shape;
    what no record states is "no record". `texts_per_row` is more than 1 for a packed graph. `noise`
    is the reference's difference from itself.
    """

    artifact: str
    artifact_sha256: str
    model: str
    model_revision: str | None
    batch_size: int | None
    sequence_length: int | None
    texts_per_row: int
    dataset: str
    dataset_revision: str | None
    language: str | None
    split: str | None
    pairs: int
    sentences: int
    truncated_sentences: int
    inputs_sha256: str
    gold: tuple[float, ...]
    runners: tuple[RunnerResult, ...]
    noise: NoiseFloor | None
    ladder: Ladder | None
    provenance: Provenance


def evaluate(
    artifact: Artifact,
    runners: Sequence[str],
    pairs: SentencePairs,
    graph: str = AUTO,
    settings: Mapping[str, Any] | None = None,
    *,
    ladder: bool = False,
    progress: Progress = SILENT,
) -> Evaluation:
    """Evaluate the artifact on graded pairs; the first runner is the reference.

    Every runner gets the very same token batches. `graph` is "auto" (the dynamic-shape graph if
    every runner takes it, else the fixed one), "dynamic", "fixed" or "packed". Each runner takes
    those of the settings that it has. With `ladder`, the steps from PyTorch to the hardware are
    run as well. Raises RunnerError before the first runner runs if another is not available here
    or a setting belongs to none, and EvalError for no runner or one that is named twice.
    """
    if not runners or len(set(runners)) != len(runners):
        raise EvalError(f"runners: {', '.join(runners) or 'none'}; expected runners that differ")
    shares = share_settings(runners, settings or {})
    for name in runners:
        require_runner(name, **shares[name])
    artifact = choose_graph(artifact, runners, graph)
    tokenized = Tokenizer(artifact.tokenizer_file, artifact.shape).encode(pairs.texts)
    digest = hashlib.sha256()
    tokenized.update_digest(digest)
    results: list[RunnerResult] = []
    reference: Embeddings | None = None
    for name in runners:
        with Embedder(artifact, name, artifact.graph_kind, progress, **shares[name]) as embedder:
            found = embedder.encode_tokenized(tokenized, progress.start(name, len(tokenized)))
            details = dict(embedder.runner.details)
            versions = dict(embedder.runner.versions)
        comparison = None
        if reference is not None:
            comparison = compare(reference.values, found.values, pairs, tokenized.token_counts)
        reference = reference or found
        results.append(_result(name, details, versions, found, pairs, comparison))
    several = len(runners) > 1 and reference is not None and reference.finite
    source = artifact.manifest.source
    return Evaluation(
        artifact=artifact.path.resolve().name,
        artifact_sha256=artifact.digest,
        model=source.id,
        model_revision=source.revision,
        batch_size=artifact.shape.batch_size,
        sequence_length=artifact.shape.sequence_length,
        texts_per_row=artifact.texts_per_row,
        dataset=pairs.name,
        dataset_revision=pairs.revision,
        language=pairs.language,
        split=pairs.split,
        pairs=len(pairs),
        sentences=2 * len(pairs),
        truncated_sentences=int(tokenized.truncated.sum()),
        inputs_sha256=digest.hexdigest(),
        gold=tuple(pairs.gold.tolist()),
        runners=tuple(results),
        noise=measure_noise(artifact, runners[0], tokenized, shares[runners[0]]) if several else None,
        ladder=climb(artifact, tokenized, settings or {}) if ladder else None,
        provenance=record_provenance(),
    )


def _result(
    name: str,
    details: Details,
    versions: Mapping[str, str],
    found: Embeddings,
    pairs: SentencePairs,
    comparison: Comparison | None,
) -> RunnerResult:
    on_chip = details.get(ON_CHIP_SECONDS)
    similarities = pair_similarities(found.values)
    scores = score_pairs(found.values[: len(pairs)], found.values[len(pairs) :], pairs.gold)
    return RunnerResult(
        runner=name,
        details=details,
        versions=versions,
        scores=scores,
        similarities=None if scores.spearman is None else tuple(similarities.tolist()),
        comparison=comparison,
        batches=found.batches,
        seconds=found.seconds,
        sentences_per_second=len(found.values) / found.seconds,
        latency_seconds=float(found.batch_seconds.mean()),
        estimated_on_chip_seconds=float(on_chip) if isinstance(on_chip, int | float) else None,
    )
