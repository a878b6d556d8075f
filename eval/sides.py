"""A comparison of anything with anything: artifacts, models, endpoints and saved embeddings."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import UNSET, UnsetType
from numpy.typing import NDArray

from minilmx.embedders.base import OtherEmbedder, TextEmbedder
from minilmx.embedders.spelling import Spelled
from minilmx.embedding.embedder import Embedder
from minilmx.embedding.record import Header, RunRecord, Timing, artifact_fields
from minilmx.embedding.vectors import Selection, take_vectors
from minilmx.errors import EvalError, boundary
from minilmx.eval.comparison import Comparison, compare
from minilmx.eval.datasets.search import SearchTexts
from minilmx.eval.evaluation import Evaluation, RunnerResult, SampleSize
from minilmx.eval.golden import GOLDEN_SCHEMA_VERSION, Golden, GoldenRecord
from minilmx.eval.header import digest_of
from minilmx.eval.inputs import Inputs
from minilmx.eval.invariance import BatchInvariance, measure_invariance
from minilmx.eval.limits import LimitRules
from minilmx.eval.metrics.correlation import Scores, pair_similarities, score_pairs
from minilmx.eval.metrics.drift import CorpusRows, Drift, measure_drift, profile_drift
from minilmx.eval.metrics.relevance import (
    QueryScores,
    RelevanceDifference,
    compare_relevance,
    score_queries,
)
from minilmx.eval.metrics.retrieval import (
    FoundNeighbours,
    Neighbours,
    compare_neighbours,
    find_nearest,
    find_neighbours,
)
from minilmx.eval.metrics.sampling import SampleEstimates, estimate_sample
from minilmx.eval.results import Result, check_limits
from minilmx.eval.saved import read_run
from minilmx.eval.setup import CONVERTED, INPUTS, LENGTH, PROMPT, TRUNCATED, find_facts
from minilmx.models.artifact import SearchPrompts
from minilmx.models.manifest import COSINE
from minilmx.models.tokenizer import TokenizedTexts, open_tokenizer
from minilmx.progress import SILENT, Progress
from minilmx.runners.base import Details, chip_latencies
from minilmx.runners.provenance import record_provenance
from minilmx.wording import counted

_NO_RECORD = "no record"
Rows = NDArray[np.float32]
# A file of embeddings, an array, an embedder that can be opened, or one that is open.
Source = Any


@dataclass(frozen=True, slots=True, kw_only=True)
class _Side:
    """One side of a comparison: embeddings, float32 [N, D], and what is known of how they were made.

    `total` is how many embeddings there are, and `is_finite` whether all of their numbers are finite: both
    count those of a file that are not compared.
    """

    name: str
    values: Rows
    total: int
    is_finite: bool
    is_live: bool = False
    ids: Sequence[str] | None = None
    record: RunRecord | None = None
    details: Details
    versions: Mapping[str, str]
    timing: Timing | None = None
    invariance: BatchInvariance | None = None
    token_counts: NDArray[np.int64] | None = None
    texts_per_row: int = 1


def is_saved(source: Source) -> bool:
    """Whether a source is embeddings that exist, and not an embedder."""
    return isinstance(source, Path | np.ndarray | Golden)


def compare_sides(
    sources: Sequence[Source],
    inputs: Inputs | None,
    rules: LimitRules,
    preset: str | None = None,
    progress: Progress = SILENT,
    *,
    keep_text: bool = False,
) -> Result:
    """Compare embeddings with those of the first source; embedders embed the texts of `inputs`.

    The result has none of these texts unless they are pairs, or `keep_text` keeps those that changed most.

    A file's record FILE.run.json states where it comes from; without it the result says "no record". Rows are
    joined by id if the texts, or without texts the first file that has ids, and the other file have them, and
    otherwise by their order. Raises EvalError for fewer than two sources, other shapes or other inputs, and
    what embedding raises.
    """
    if len(sources) < 2:
        raise EvalError(f"a comparison: found {len(sources)}; expected at least two")
    if inputs is not None and not inputs.texts:
        raise EvalError(f"{inputs.name}: no text; expected at least one")
    if inputs is None and not all(map(is_saved, sources)):
        raise EvalError(
            "texts to embed: none; expected the texts of the saved embeddings", "Name their file."
        )
    saved = {
        number: _load(source, number, inputs) for number, source in enumerate(sources, 1) if is_saved(source)
    }
    saved = _join(saved, inputs)
    sides = []
    for number, source in enumerate(sources, 1):
        if number in saved:
            sides.append(saved[number])
        elif inputs is not None:
            sides.append(_embed(source, number, inputs, progress))
        _require_same(sides[0], sides[-1], inputs)
    sides = [_with_setup(sides[0], side, inputs) for side in sides]
    return check_limits([_evaluation(sides, inputs, keep_text)], rules, preset)


def embed_golden(
    source: Source, texts: Sequence[str], preset: str | None, progress: Progress = SILENT
) -> tuple[GoldenRecord, Rows]:
    """The record and the embeddings of a golden file, float32 [N, D]. Raises what embedding raises."""
    side = _embed(source, 1, Inputs("texts", texts), progress)
    record = GoldenRecord(
        schema_version=GOLDEN_SCHEMA_VERSION,
        texts=tuple(texts),
        preset=preset,
        embedder=side.name.removeprefix("1: "),
        details=side.details,
        versions=side.versions,
        provenance=record_provenance(),
    )
    return record, side.values


def _load(source: Source, number: int, inputs: Inputs | None) -> _Side:
    selection = None
    if inputs is not None and inputs.sample is not None:
        selection = Selection(inputs.sample.rows, None if inputs.ids is None else frozenset(inputs.ids))
    if isinstance(source, np.ndarray):
        name, record = f"array {number}", None
        with boundary(EvalError, f"{name} cannot be compared"):
            vectors = take_vectors([(source, None)], selection)
    elif isinstance(source, Golden):
        made = source.record
        return _Side(
            name=f"{number}: {source.name}",
            values=source.values,
            total=len(source.values),
            is_finite=True,
            is_live=True,  # its texts are those that the others embed
            details={"runner": _NO_RECORD, **made.details, "embedder": made.embedder},
            versions=made.versions,
        )
    else:
        run = read_run(source, selection)
        name, record, vectors = f"{number}: {run.name}", run.record, run.vectors
    details: dict[str, Any] = {
        **(record.details if record else {}),
        "runner": record.runner if record else _NO_RECORD,
        "artifact_sha256": record.artifact_sha256 if record else _NO_RECORD,
    }
    if vectors.dtype != "float32":
        details[CONVERTED] = vectors.dtype
    return _Side(
        name=name,
        values=vectors.values,
        total=vectors.total,
        is_finite=vectors.is_finite,
        ids=vectors.ids,
        record=record,
        details=details,
        versions=record.versions if record else {},
        timing=record.timing if record else None,
    )


def _join(saved: dict[int, _Side], inputs: Inputs | None) -> dict[int, _Side]:
    """The saved rows in the order of the texts, or of the first file with ids. Raises EvalError."""
    ids = [side for side in saved.values() if side.ids is not None]
    wanted, of, total = None, "", None
    if inputs is not None:
        wanted, of, total = inputs.ids, inputs.name, inputs.total
    elif len(ids) > 1:
        wanted, of = ids[0].ids, ids[0].name
    if wanted is not None:
        _places(wanted, of)
    return {number: _in_order(side, wanted, of, total) for number, side in saved.items()}


def _places(ids: Sequence[str], of: str) -> dict[str, int]:
    places = {each: row for row, each in enumerate(ids)}
    if len(places) < len(ids):
        twice = next(each for row, each in enumerate(ids) if places[each] != row)
        raise EvalError(f"{of}: the id {twice!r:.80} twice; expected each once")
    return places


def _in_order(side: _Side, wanted: Sequence[str] | None, of: str, total: int | None) -> _Side:
    """The rows of the ids that are wanted, or else all rows, which must be one per text."""
    if side.ids is None or wanted is None:
        if total not in (None, side.total):
            raise EvalError(
                f"{side.name}: {counted(side.total, 'embedding')}; expected {total:,}, one per text of {of}"
            )
        return replace(side, ids=None)
    places = _places(side.ids, side.name)
    missing = [each for each in wanted if each not in places]
    if missing:
        raise EvalError(
            f"{side.name}: {counted(len(missing), 'missing id')}, the first is {missing[0]!r:.80}; expected "
            f"all {len(wanted):,} of {of}"
        )
    rows = [places[each] for each in wanted]
    return replace(side, values=side.values[rows], ids=wanted)


def _embed(source: Any, number: int, inputs: Inputs, progress: Progress) -> _Side:
    """Embed the texts, and close what was opened here."""
    if not isinstance(source, Spelled):
        embedder = source if isinstance(source, Embedder | TextEmbedder) else OtherEmbedder(source)
        own = embedder.artifact.name if isinstance(embedder, Embedder) else embedder.name
        return _embed_with(embedder, f"{number}: {own}", inputs, progress)
    with source.open(progress) as embedder:
        return _embed_with(embedder, f"{number}: {source.name}", inputs, progress)


def _embed_with(embedder: Embedder | TextEmbedder, name: str, inputs: Inputs, progress: Progress) -> _Side:
    texts, search = inputs.texts, inputs.search
    advance = progress.start(name, len(texts))
    if isinstance(embedder, Embedder):
        return _embed_tokens(embedder, name, inputs, advance)
    started = time.perf_counter()
    if search is None:
        values = embedder.encode(texts, advance)
    else:
        values = embedder.encode_search(search.queries, search.documents, advance)
    seconds = time.perf_counter() - started
    each = list(embedder.batch_seconds) or [seconds]
    timing = Timing(
        batches=len(each),
        seconds=seconds,
        latency_seconds=sum(each) / len(each),
        sentences_per_second=len(texts) / seconds,
    )
    return _Side(
        name=name,
        values=values,
        total=len(values),
        is_finite=bool(np.isfinite(values).all()),
        is_live=True,
        details={**embedder.details, **_prompts(embedder.search_prompts if search else None)},
        versions=embedder.versions,
        timing=timing,
    )


def _prompts(prompts: SearchPrompts | None) -> Details:
    """The prompts of a search, for the details."""
    if prompts is None:
        return {}
    return {PROMPT: f"{prompts.query or 'none'} for queries, {prompts.document or 'none'} for documents"}


def _tokenize(embedder: Embedder, inputs: Inputs) -> TokenizedTexts:
    """The tokens of the texts, with the prompts of a search if the texts are one and the model has any."""
    artifact, search = embedder.artifact, inputs.search
    if search is None or artifact.search_prompts is None:
        return embedder.tokenizer.encode(inputs.texts)
    names = artifact.search_prompts
    queries = open_tokenizer(artifact, artifact.prompt_text(names.query)).encode(search.queries)
    return queries.followed_by(
        open_tokenizer(artifact, artifact.prompt_text(names.document)).encode(search.documents)
    )


def _embed_tokens(embedder: Embedder, name: str, inputs: Inputs, advance: Any) -> _Side:
    """Through a runner: as in `evaluate`, tokens are made once, and numbers that are not finite are kept."""
    texts, tokenized = inputs.texts, _tokenize(embedder, inputs)
    found = embedder.encode_tokenized(tokenized, advance)
    invariance = measure_invariance(embedder, tokenized, found)
    artifact, runner = embedder.artifact, embedder.runner
    record = RunRecord(
        **artifact_fields(artifact),
        sentences=len(texts),
        truncated_sentences=int(tokenized.truncated.sum()),
        inputs_sha256=digest_of(tokenized),
        graph=artifact.graph_kind,
        runner=runner.name,
        details=dict(runner.details),
        versions=dict(runner.versions),
        timing=Timing(
            batches=found.batches,
            seconds=found.seconds,
            latency_seconds=float(found.batch_seconds.mean()),
            sentences_per_second=len(texts) / found.seconds,
        ),
    )
    return _Side(
        name=name,
        values=found.values,
        total=len(found.values),
        is_finite=bool(np.isfinite(found.values).all()),
        is_live=True,
        record=record,
        details={
            **record.details,
            **_prompts(artifact.search_prompts if inputs.search else None),
            "runner": runner.name,
            "artifact_sha256": artifact.digest,
        },
        versions=record.versions,
        timing=record.timing,
        invariance=invariance,
        token_counts=tokenized.token_counts,
        texts_per_row=artifact.texts_per_row,
    )


def _require_same(first: _Side, side: _Side, inputs: Inputs | None) -> None:
    """Refuse embeddings of other inputs, or of another shape."""
    mine, theirs = side.record, first.record
    # Another artifact's tokens may differ for the same texts, but without texts nothing shows that.
    is_stated = mine and theirs and (inputs is None or mine.artifact_sha256 == theirs.artifact_sha256)
    is_saved_run = not (first.is_live and side.is_live)
    if inputs is not None and inputs.sample is not None:  # the record of a saved run is of all texts
        is_saved_run = not (first.is_live or side.is_live)
    if mine and theirs and is_stated and is_saved_run and mine.inputs_sha256 != theirs.inputs_sha256:
        digests = f"{mine.inputs_sha256}; expected {theirs.inputs_sha256}"
        raise EvalError(f"{side.name}: other inputs than {first.name}: {digests}")
    if side.values.shape != first.values.shape:
        shapes = f"{list(side.values.shape)}; expected {list(first.values.shape)}"
        raise EvalError(f"{side.name}: embeddings of another shape than {first.name}: {shapes}")


def _with_setup(first: _Side, side: _Side, inputs: Inputs | None) -> _Side:
    """The side with what its embeddings and its record show of the set-up, in its details."""
    facts: dict[str, Any] = find_facts(side.values)
    if side.record:
        record = side.record
        facts |= {LENGTH: record.sequence_length, PROMPT: record.prompt}
        if side.is_live or inputs is None or inputs.sample is None:  # otherwise it is of all texts
            facts[TRUNCATED] = record.truncated_sentences
    if side is not first:
        facts[INPUTS] = _inputs(first, side)
    return replace(side, details={**facts, **side.details})


def _inputs(first: _Side, side: _Side) -> str:
    """In which sense the inputs are identical."""
    if first.record and side.record and first.record.inputs_sha256 == side.record.inputs_sha256:
        return "the same token batches"
    if first.is_live and side.is_live:
        return "the same texts"
    if side.ids is not None and (first.is_live or first.ids is side.ids):
        return "rows of the same ids"
    return "rows in the same order"


def _evaluation(sides: Sequence[_Side], inputs: Inputs | None, keep_text: bool) -> Evaluation:
    first, pairs = sides[0], inputs.pairs if inputs else None
    similarity = next((side.record.similarity for side in sides if side.record), COSINE)
    sample = inputs.sample if inputs else None
    search = inputs.search if inputs else None
    numbers = np.arange(len(first.values)) if sample is None else sample.rows
    rows = [f"row {number}" for number in numbers]
    if search is not None:
        rows = search.labels
    elif inputs and inputs.ids is not None:
        rows = [f"id {each}" for each in inputs.ids]
    texts = rows if inputs is None else list(inputs.texts)
    corpus = None
    if search is None:
        total = sample.total if sample else len(numbers)
        corpus = CorpusRows(numbers, total, inputs.languages if inputs else None)
    counts = next((side.token_counts for side in sides if side.token_counts is not None), None)

    def nearest(queries: _Side, documents: _Side, search: SearchTexts) -> Neighbours | None:
        half = len(search.queries)
        return find_nearest(queries.values[:half], documents.values[half:], similarity)

    found = [nearest(side, side, search) if search else None for side in sides]
    judged = [
        UNSET if near is None or search is None or search.judgements is None
        else score_queries(near, search.judgements)
        for near in found
    ]  # fmt: skip

    def compare_with_first(side: _Side) -> Comparison:
        if not (first.is_finite and side.is_finite):
            return Comparison(Drift(finite=False), None, None, None, None, None, None)
        if pairs is not None:
            return compare(first.values, side.values, pairs, counts, similarity)
        drift = measure_drift(first.values, side.values)
        profile = profile_drift(first.values, side.values, texts if keep_text else rows, counts, corpus)
        if search is None:
            neighbours = find_neighbours(first.values, side.values, texts, similarity)
            retrieval = None if neighbours is None else compare_neighbours(neighbours)
            estimates: SampleEstimates | UnsetType = UNSET
            if sample is not None and profile is not None:
                estimates = estimate_sample(first.values, side.values, neighbours)
            return Comparison(drift, profile, None, None, None, None, retrieval, sample=estimates)
        number = next(number for number, each in enumerate(sides) if each is side)
        near, mixed = found[number], nearest(side, first, search)
        if found[0] is None or near is None or mixed is None:
            return Comparison(drift, profile, None, None, None, None, None)
        retrieval = compare_neighbours(FoundNeighbours(found[0], near, mixed), search, keep_text=keep_text)
        before, after = judged[0], judged[number]
        relevance: RelevanceDifference | UnsetType = UNSET
        if isinstance(before, QueryScores) and isinstance(after, QueryScores):
            relevance = compare_relevance(before, after)
        return Comparison(drift, profile, None, None, None, None, retrieval, relevance)

    def result(side: _Side, scored: QueryScores | UnsetType) -> RunnerResult:
        scores, similarities = Scores(None, None), None
        if pairs is not None:
            each, half = pair_similarities(side.values, similarity), len(pairs)
            scores = score_pairs(side.values[:half], side.values[half:], pairs.gold, similarity)
            similarities = None if scores.spearman is None else tuple(each.tolist())
        return RunnerResult(
            runner=side.name,
            graph=side.record.graph if side.record else None,
            details=side.details,
            versions=side.versions,
            finite=side.is_finite,
            scores=scores,
            similarities=similarities,
            comparison=None if side is first else compare_with_first(side),
            invariance=side.invariance,
            timing=side.timing,
            **chip_latencies(side.details),
            relevance=scored.means if isinstance(scored, QueryScores) else UNSET,
        )

    return Evaluation(
        **_header(first, similarity),
        sentences=len(rows),
        sample=UNSET if sample is None else SampleSize(sample.total, sample.seed),
        dataset=inputs.name if inputs else "saved embeddings",
        dataset_revision=pairs.revision if pairs else None,
        language=pairs.language if pairs else None,
        split=pairs.split if pairs else None,
        pairs=len(pairs) if pairs else 0,
        texts_per_row=first.texts_per_row,
        gold=tuple(pairs.gold.tolist()) if pairs else (),
        runners=tuple(map(result, sides, judged)),
        noise=None,
        ladder=None,
        provenance=record_provenance(),
    )


def _header(first: _Side, similarity: str) -> dict[str, Any]:
    """The fields of a header that the reference's record states."""
    if first.record is None:
        texts = dict.fromkeys(("artifact", "artifact_sha256", "model", "inputs_sha256"), _NO_RECORD)
        unknown = dict.fromkeys(("model_revision", "batch_size", "sequence_length", "prompt"))
        return {**texts, **unknown, "similarity": similarity, "truncated_sentences": 0}
    others = ("sentences", "provenance")
    return {
        field.name: getattr(first.record, field.name) for field in fields(Header) if field.name not in others
    }
