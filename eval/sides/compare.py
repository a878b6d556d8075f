"""A comparison of anything with anything: artifacts, models, endpoints and saved embeddings."""

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

from msgspec import UNSET

from minilmx.embedding.record import Header
from minilmx.errors import EvalError
from minilmx.eval.configuration import INPUTS, LENGTH, PROMPT, TRUNCATED, find_facts
from minilmx.eval.evaluation import Evaluation, SampleSize
from minilmx.eval.inputs import Inputs
from minilmx.eval.limits import LimitRules
from minilmx.eval.results import Result, check_limits
from minilmx.eval.sides.live import embed_live
from minilmx.eval.sides.measure import pair_results, search_results, text_results
from minilmx.eval.sides.saved import join_rows, load_saved
from minilmx.eval.sides.side import NO_RECORD, ComparedSide, Source, is_saved
from minilmx.models.manifest import COSINE
from minilmx.progress import Progress
from minilmx.runners.provenance import record_provenance


def compare_sides(
    sources: Sequence[Source],
    inputs: Inputs | None,
    rules: LimitRules,
    preset: str | None,
    progress: Progress,
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
        number: load_saved(source, number, inputs)
        for number, source in enumerate(sources, 1)
        if is_saved(source)
    }
    saved = join_rows(saved, inputs)
    sides = []
    for number, source in enumerate(sources, 1):
        if number in saved:
            sides.append(saved[number])
        elif inputs is not None:
            sides.append(embed_live(source, number, inputs, progress))
        _require_same(sides[0], sides[-1], inputs)
    sides = [_with_setup(sides[0], side, inputs) for side in sides]
    return check_limits([_evaluation(sides, inputs, keep_text)], rules, preset)


def _require_same(first: ComparedSide, side: ComparedSide, inputs: Inputs | None) -> None:
    """Refuse embeddings of other inputs, or of another shape."""
    mine, theirs = side.record, first.record
    # Another artifact's tokens may differ for the same texts, but without texts nothing shows that.
    is_stated = mine and theirs and (inputs is None or mine.artifact_sha256 == theirs.artifact_sha256)
    is_saved_run = not (first.is_live and side.is_live)
    if inputs is not None and inputs.sample is not None:  # the record of a saved run is of all texts
        is_saved_run = not (first.is_live or side.is_live)
    if mine and theirs and is_stated and is_saved_run and mine.inputs_sha256 != theirs.inputs_sha256:
        digests = f"{mine.inputs_sha256}; expected {theirs.inputs_sha256}"
        raise EvalError(f"{side.name}: different inputs from {first.name}: {digests}")
    if side.values.shape != first.values.shape:
        shapes = f"{list(side.values.shape)}; expected {list(first.values.shape)}"
        raise EvalError(f"{side.name}: embeddings with a different shape from {first.name}: {shapes}")


def _with_setup(first: ComparedSide, side: ComparedSide, inputs: Inputs | None) -> ComparedSide:
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


def _inputs(first: ComparedSide, side: ComparedSide) -> str:
    """In which sense the inputs are identical."""
    if first.record and side.record and first.record.inputs_sha256 == side.record.inputs_sha256:
        return "the same token batches"
    if first.is_live and side.is_live:
        return "the same texts"
    if side.ids is not None and (first.is_live or first.ids is side.ids):
        return "rows of the same ids"
    return "rows in the same order"


def _evaluation(sides: Sequence[ComparedSide], inputs: Inputs | None, keep_text: bool) -> Evaluation:
    first, pairs = sides[0], inputs.pairs if inputs else None
    sample, search = (inputs.sample, inputs.search) if inputs else (None, None)
    similarity = next((side.record.similarity for side in sides if side.record), COSINE)
    if pairs is not None:
        results = pair_results(sides, pairs, similarity)
    elif search is not None:
        results = search_results(sides, search, similarity, keep_text)
    else:
        results = text_results(sides, inputs, similarity, keep_text)
    return Evaluation(
        **_header(first, similarity),
        sentences=len(first.values),
        sample=UNSET if sample is None else SampleSize(sample.total, sample.seed),
        dataset=inputs.name if inputs else "saved embeddings",
        dataset_revision=pairs.revision if pairs else None,
        language=pairs.language if pairs else None,
        split=pairs.split if pairs else None,
        pairs=len(pairs) if pairs else 0,
        texts_per_row=first.texts_per_row,
        gold=tuple(pairs.gold.tolist()) if pairs else (),
        runners=tuple(results),
        noise=None,
        ladder=None,
        provenance=record_provenance(),
    )


def _header(first: ComparedSide, similarity: str) -> dict[str, Any]:
    """The fields of a header that the reference's record states."""
    if first.record is None:
        texts = dict.fromkeys(("artifact", "artifact_sha256", "model", "inputs_sha256"), NO_RECORD)
        unknown = dict.fromkeys(("model_revision", "batch_size", "sequence_length", "prompt"))
        return {**texts, **unknown, "similarity": similarity, "truncated_sentences": 0}
    others = ("sentences", "provenance")
    return {
        field.name: getattr(first.record, field.name) for field in fields(Header) if field.name not in others
    }
