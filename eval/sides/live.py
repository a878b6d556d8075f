"""Embedders as sides: they embed the texts."""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from minilmx.embedders.base import OtherEmbedder, TextEmbedder
from minilmx.embedders.spelling import Spelled
from minilmx.embedding.embedder import Embedder
from minilmx.embedding.record import RunRecord, artifact_fields, timing_of
from minilmx.eval.configuration import PROMPT
from minilmx.eval.golden import GOLDEN_SCHEMA_VERSION, GoldenRecord
from minilmx.eval.header import digest_of
from minilmx.eval.inputs import Inputs
from minilmx.eval.invariance import measure_invariance
from minilmx.eval.sides.side import ComparedSide, Rows, Source
from minilmx.models.artifact import SearchPrompts
from minilmx.models.tokenizer import TokenizedTexts, open_tokenizer
from minilmx.progress import Progress
from minilmx.runners.base import Details, facts_of
from minilmx.runners.provenance import record_provenance


def embed_live(source: Any, number: int, inputs: Inputs, progress: Progress) -> ComparedSide:
    """Embed the texts, and close what was opened here."""
    if not isinstance(source, Spelled):
        embedder = source if isinstance(source, Embedder | TextEmbedder) else OtherEmbedder(source)
        own = embedder.artifact.name if isinstance(embedder, Embedder) else embedder.name
        return _embed_with(embedder, f"{number}: {own}", inputs, progress)
    with source.open(progress) as embedder:
        return _embed_with(embedder, f"{number}: {source.name}", inputs, progress)


def embed_golden(
    source: Source, texts: Sequence[str], preset: str | None, progress: Progress
) -> tuple[GoldenRecord, Rows]:
    """The record and the embeddings of a golden file, float32 [N, D]. Raises what embedding raises."""
    side = embed_live(source, 1, Inputs("texts", texts), progress)
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


def _embed_with(
    embedder: Embedder | TextEmbedder, name: str, inputs: Inputs, progress: Progress
) -> ComparedSide:
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
    return ComparedSide(
        name=name,
        values=values,
        total=len(values),
        is_finite=bool(np.isfinite(values).all()),
        is_live=True,
        details={**embedder.details, **_prompts(embedder.search_prompts if search else None)},
        versions=embedder.versions,
        timing=timing_of(len(texts), seconds, list(embedder.batch_seconds) or [seconds]),
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


def _embed_tokens(embedder: Embedder, name: str, inputs: Inputs, advance: Any) -> ComparedSide:
    """Through a runner: as in `evaluate`, tokens are made once, and numbers that are not finite are kept."""
    texts, tokenized = inputs.texts, _tokenize(embedder, inputs)
    embeddings = embedder.encode_tokenized(tokenized, advance)
    invariance = measure_invariance(embedder, tokenized, embeddings)
    artifact, runner = embedder.artifact, embedder.runner
    details, versions = facts_of(runner)
    record = RunRecord(
        **artifact_fields(artifact),
        sentences=len(texts),
        truncated_sentences=int(tokenized.truncated.sum()),
        inputs_sha256=digest_of(tokenized),
        graph=artifact.graph_kind,
        runner=runner.name,
        details=details,
        versions=versions,
        timing=timing_of(len(texts), embeddings.seconds, embeddings.batch_seconds),
    )
    return ComparedSide(
        name=name,
        values=embeddings.values,
        total=len(embeddings.values),
        is_finite=bool(np.isfinite(embeddings.values).all()),
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
