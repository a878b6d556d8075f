"""Run several runners on identical tokens and compare what they return."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from msgspec import UNSET, UnsetType
from numpy.typing import NDArray

from minilmx.embedding.embedder import Embedder
from minilmx.embedding.open_graph import Embeddings
from minilmx.embedding.record import Timing, timing_of
from minilmx.embedding.scorer import opener
from minilmx.errors import EvalError
from minilmx.eval.comparison import Comparison, compare, compare_scores
from minilmx.eval.datasets.pairs import SentencePairs
from minilmx.eval.header import DataHeader, header_fields
from minilmx.eval.invariance import BatchInvariance, measure_invariance
from minilmx.eval.ladder import Ladder, climb
from minilmx.eval.metrics.correlation import Scores, correlate, pair_similarities
from minilmx.eval.metrics.relevance import Relevance
from minilmx.eval.metrics.retrieval import Sides
from minilmx.eval.noise import NoiseFloor, measure_noise
from minilmx.models.artifact import Artifact, SearchPrompts
from minilmx.models.interface import SCORE
from minilmx.models.tokenizer import TokenizedTexts, open_tokenizer
from minilmx.progress import SILENT, Progress
from minilmx.runners.base import Details, chip_latencies, facts_of
from minilmx.runners.registry import AUTO, choose_graph, require_runner, share_settings


@dataclass(frozen=True, slots=True)
class RunnerResult:
    """One runner over all 2N sentences, or over N pairs of a cross-encoder.

    `comparison` is with the reference; None for itself.

    `graph` is the artifact's graph that ran, None if it is not recorded. `invariance` is None for saved
    embeddings, which cannot be made again, for embeddings that are not finite, and for scores.
    `finite` is whether every number of its embeddings is finite, also with the prompts of a search.
    `similarities` are those of the N pairs, by the model's similarity, or its scores; None if one is not
    defined. `timing` is of the runner alone, without tokenizing and without the prompts of a search; None if
    it is not recorded. The three latencies are an accelerator's, of one batch, if it has them: the cycles of
    the compute alone, an estimate with the transfers, and a measurement within the call of its SDK.
    `relevance` is left out without judgements.
    """

    runner: str
    graph: str | None
    details: Details
    versions: Mapping[str, str]
    finite: bool
    scores: Scores
    similarities: tuple[float, ...] | None = None
    comparison: Comparison | None = None
    invariance: BatchInvariance | None = None
    timing: Timing | None = None
    on_chip_compute_seconds: float | None = None
    with_pcie_seconds: float | None = None
    sdk_call_seconds: float | None = None
    relevance: Relevance | UnsetType = UNSET


@dataclass(frozen=True, slots=True)
class SampleSize:
    """That the sentences are drawn from `total`, by a generator of random numbers with this seed."""

    total: int
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation(DataHeader):
    """An artifact on one data set in one language; the first runner is the reference.

    All numbers are unrounded. A comparison of saved embeddings has no pairs; without a record it
    has no shape and no times, and "no record" stands for the names and digests. `texts_per_row` is
    more than 1 for a packed graph. `noise` is the reference's difference from itself. `search_prompts` are
    the names of the prompts of the two sides of a search, and left out if both have the prompt of the header.
    `sample` is left out unless the sentences are a sample.
    Of a cross-encoder the `similarity` is "score", and `sentences` counts pairs.
    """

    sample: SampleSize | UnsetType = UNSET
    search_prompts: SearchPrompts | UnsetType = UNSET
    texts_per_row: int
    gold: tuple[float, ...]
    runners: tuple[RunnerResult, ...]
    noise: NoiseFloor | None
    ladder: Ladder | None

    @property
    def gives_scores(self) -> bool:
        """Whether it is of a cross-encoder, which gives a score per pair and no embeddings."""
        return self.similarity == SCORE


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

    Every runner gets the very same tokens, through the graph that it runs by default: `graph` is "auto" (for
    each runner the first of the dynamic-shape, the packed and the fixed graph that it takes and the artifact
    has), "dynamic", "fixed" or "packed". Each runner takes those of the settings that it has. With `ladder`,
    the steps from PyTorch to the hardware are run as well. Raises RunnerError before the first runner runs if
    another is not available here or a setting belongs to none, and EvalError for no runner or one that is
    named twice.
    """
    if not runners or len(set(runners)) != len(runners):
        raise EvalError(f"runners: {', '.join(runners) or 'none'}; expected different runners")
    shares = share_settings(runners, settings or {})
    views = {name: choose_graph(artifact, name, graph) for name in runners}
    for name in runners:
        require_runner(name, **shares[name])
    first = views[runners[0]]
    inputs = _tokenize(artifact, pairs)
    tokenized = inputs[artifact.prompt]
    results: list[RunnerResult] = []
    reference: dict[str, Embeddings] | None = None
    noise = None
    for name in runners:
        view = views[name]
        with opener(view)(view, name, view.graph_kind, progress, **shares[name]) as embedder:
            advance = progress.start(name, sum(map(len, inputs.values())))
            found = {text: embedder.encode_tokenized(each, advance) for text, each in inputs.items()}
            invariance = None
            if isinstance(embedder, Embedder):
                invariance = measure_invariance(embedder, tokenized, found[artifact.prompt])
            if reference is None and len(runners) > 1 and all(each.finite for each in found.values()):
                noise = measure_noise(embedder, name, tokenized, shares[name])
            details, versions = facts_of(embedder.runner)
        plain = found[artifact.prompt]
        similarities = _similarities(artifact, plain)
        scores = correlate(similarities, pairs.gold)
        comparison = None
        if reference is not None and artifact.gives_scores:
            before = _similarities(artifact, reference[artifact.prompt])
            comparison = compare_scores(before, similarities, pairs)
        elif reference is not None:
            comparison = compare(
                reference[artifact.prompt].values,
                plain.values,
                pairs,
                tokenized.token_counts,
                artifact.similarity,
                _search(artifact, reference, found),
            )
        reference = reference or found
        results.append(
            RunnerResult(
                runner=name,
                graph=view.graph_kind,
                details=details,
                versions=versions,
                finite=all(each.finite for each in found.values()),
                scores=scores,
                similarities=None if scores.spearman is None else tuple(similarities.tolist()),
                comparison=comparison,
                invariance=invariance,
                timing=timing_of(len(plain.values), plain.seconds, plain.batch_seconds),
                **chip_latencies(details),
            )
        )
    return Evaluation(
        **header_fields(artifact, tokenized, pairs),
        search_prompts=artifact.search_prompts or UNSET,
        texts_per_row=first.texts_per_row,
        gold=tuple(pairs.gold.tolist()),
        runners=tuple(results),
        noise=noise,
        ladder=climb(first, tokenized, settings or {}, progress) if ladder else None,
    )


def _tokenize(artifact: Artifact, pairs: SentencePairs) -> dict[str, TokenizedTexts]:
    """The texts with every prompt that is needed, by its text: that of all texts, and those of a search.

    For a cross-encoder, the pairs, without a prompt.
    """
    if artifact.gives_scores:
        return {artifact.prompt: open_tokenizer(artifact).encode_pairs(pairs.pairs)}
    sides = artifact.search_prompts
    names = (artifact.prompt_name, *((sides.query, sides.document) if sides else ()))
    return {
        prompt: open_tokenizer(artifact, prompt).encode(pairs.texts)
        for prompt in dict.fromkeys(map(artifact.prompt_text, names))
    }


def _similarities(artifact: Artifact, embeddings: Embeddings) -> NDArray[np.float64]:
    """The similarities of the N pairs, or a cross-encoder's scores: float64 [N]."""
    if artifact.gives_scores:
        return embeddings.values[:, 0].astype(np.float64)
    return pair_similarities(embeddings.values, artifact.similarity)


def _search(
    artifact: Artifact, reference: Mapping[str, Embeddings], candidate: Mapping[str, Embeddings]
) -> tuple[Sides, Sides] | None:
    """The embeddings of both sides of a search, if the model has prompts for them."""
    prompts = artifact.search_prompts
    if prompts is None:
        return None
    query, document = artifact.prompt_text(prompts.query), artifact.prompt_text(prompts.document)
    first, second = (Sides(each[query].values, each[document].values) for each in (reference, candidate))
    return first, second
