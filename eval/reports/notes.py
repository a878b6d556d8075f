"""The cautions and explanations that belong to a runner's numbers, in plain sentences."""

from msgspec import UnsetType

from minilmx.eval.configuration import describe_setup
from minilmx.eval.evaluation import RunnerResult
from minilmx.eval.metrics.retrieval import ChangedQuery
from minilmx.runners.base import FLOAT16_MAX


def caution(result: RunnerResult) -> list[str]:
    """Says that numbers come from an emulation or a stand-in, and how far float16's limit is."""
    name, details = result.runner, result.details
    if "caution" in details:
        return [f"{name}: {details['caution']}."]
    if "emulation" not in details:
        return []
    largest = details["largest_magnitude"]
    return [
        f"{name} is an emulation ({details['emulation']}).",
        f"Its largest intermediate magnitude was {largest:,.0f}, {FLOAT16_MAX / largest:.2f} times "
        f"below float16's limit of {FLOAT16_MAX:,.0f}."
        if isinstance(largest, float) and 0 < largest <= FLOAT16_MAX
        else f"An intermediate value is past float16's limit of {FLOAT16_MAX:,.0f}: it is infinite "
        "on hardware that computes in float16.",
    ]


def explanations(result: RunnerResult) -> list[str]:
    """How it is set up, if that is recorded, whether an embedding depends on its batch, and what the
    comparison with the reference means, for correlation and for a search."""
    setup = describe_setup(result.details)
    notes = [f"{result.runner}: {setup}."] if setup else []
    if result.invariance and not result.invariance.kept:
        notes.append(f"{result.runner}: {result.invariance.meaning}")
    comparison = result.comparison
    if comparison is None:
        return notes
    if comparison.correlation:
        notes.append(f"{result.runner}: {comparison.correlation.meaning}")
    if not isinstance(comparison.relevance, UnsetType):
        notes.append(f"{result.runner}: {comparison.relevance.meaning}")
    if comparison.retrieval:
        notes.append(f"{result.runner}: {comparison.retrieval.meaning}")
        if changed := comparison.retrieval.most_changed:
            shown = ", ".join(map(_describe_query, changed))
            notes.append(f"{result.runner}: the queries that changed most: {shown}.")
    if not isinstance(comparison.sample, UnsetType):
        notes.append(f"{result.runner}: {comparison.sample.meaning}")
    return notes


def _describe_query(query: ChangedQuery) -> str:
    text = "" if isinstance(query.text, UnsetType) else f": {query.text:.160}"
    return f"{query.query} ({query.lost} of 10 lost){text}"
