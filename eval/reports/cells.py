"""The cells that the tables of all reports share, as text: numbers are rounded only here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from msgspec import UnsetType

from minilmx.eval.evaluation import Evaluation, RunnerResult
from minilmx.eval.limits import Check
from minilmx.eval.metrics.table import LIMITED, METRIC, METRICS, Group, Metric
from minilmx.eval.reports.notes import caution
from minilmx.eval.results import Result
from minilmx.eval.verdict import ComparisonVerdict, not_finite
from minilmx.models.interface import SCORE
from minilmx.models.manifest import COSINE
from minilmx.wording import counted

REFERENCE = "reference"
MAX_CHARACTERS = 400
# The metrics that tables of several results have room for.
KEY_METRICS = tuple(
    METRIC[name]
    for name in ("spearman", "max_abs", "min_cosine", "recall_at_10", "swaps", "batch_min_cosine")
)
LANGUAGE_COLUMNS = ("language", "runner", "pairs", *(metric.label for metric in KEY_METRICS))
VERDICT_COLUMNS = ("", "runner", "reason", "preset")
CHECK_COLUMNS = ("", "runner", "limit", "allowed", "found")


@dataclass(frozen=True, slots=True)
class RowGroup:
    """Rows under one heading; each has its name and a cell for each runner."""

    heading: str
    rows: tuple[tuple[str, ...], ...]


def runner_rows(evaluation: Evaluation) -> list[RowGroup]:
    """The table of runners: every metric that one of them has a number for."""
    reference = evaluation.runners[0]
    groups = []
    for group in Group:
        rows = [
            (metric.label, *(metric.cell(each, reference) for each in evaluation.runners))
            for metric in METRICS
            if metric.group is group and _is_shown(metric, evaluation)
        ]
        heading = f"{group} {reference.runner}" if group is Group.DRIFT else str(group)
        if group is Group.BATCHES and reference.invariance:
            heading += f", {counted(reference.invariance.sentences, 'sentence')}"
        if group is Group.DRIFT and rows:
            noise = evaluation.noise.largest if evaluation.noise else None
            multiples = (noise_multiple(each, noise) for each in evaluation.runners)
            rows.append(("max abs / noise floor", *multiples))
        if rows:
            groups.append(RowGroup(heading, tuple(rows)))
    return groups


def _is_shown(metric: Metric, evaluation: Evaluation) -> bool:
    """Whether a metric has a row, which may say that a number is not defined."""
    if not metric.absolute and len(evaluation.runners) == 1:
        return False
    is_expected = metric.group is Group.BATCHES or (evaluation.pairs and not metric.optional)
    if is_expected and not evaluation.gives_scores:
        return True
    reference = evaluation.runners[0]
    return any(metric.value(each, reference) is not None for each in evaluation.runners)


def language_rows(evaluations: Sequence[Evaluation]) -> list[tuple[str, ...]]:
    """A row for each language and runner; see LANGUAGE_COLUMNS."""
    return [
        (
            evaluation.language or "",
            result.runner,
            f"{evaluation.pairs:,}",
            *key_cells(result, evaluation.runners[0]),
        )
        for evaluation in evaluations
        for result in evaluation.runners
    ]


def key_cells(result: RunnerResult, reference: RunnerResult) -> list[str]:
    """The cells of KEY_METRICS; "reference" stands in place of the reference's largest difference."""
    return [
        metric.cell(result, reference) or (REFERENCE if metric.name == "max_abs" else "")
        for metric in KEY_METRICS
    ]


def in_words(facts: Mapping[str, object]) -> str:
    """Versions or settings in words; empty if there are none."""
    return ", ".join(f"{name} {value}" for name, value in facts.items())


def first_lines(results: Sequence[Result]) -> list[str]:
    """What a report says first: the sentence of the one result, or of the newest of several, and of every
    other one with embeddings that are not finite."""
    if len(results) == 1:
        return [results[0].verdict.sentence]
    *older, newest = sorted(results, key=_created)
    said = [newest, *(each for each in older if not_finite(each.evaluations))]
    return [f"{each.verdict.sentence} (result of {_created(each)})" for each in said]


def _created(result: Result) -> str:
    return result.evaluations[0].provenance.created


def verdict_cells(verdict: ComparisonVerdict) -> tuple[str, ...]:
    """The verdict of one comparison as cells; see VERDICT_COLUMNS."""
    runner = f"{verdict.runner} {verdict.language}" if verdict.language else verdict.runner
    return verdict.answer, runner, verdict.reason, f"{verdict.preset}: {verdict.chosen}"


def check_cells(check: Check) -> tuple[str, ...]:
    """One limit as cells; see CHECK_COLUMNS."""
    runner = f"{check.runner} {check.language}" if check.language else check.runner
    shown = LIMITED[check.limit].absent if check.found is None else f"{check.found:.6g}"
    return "PASS" if check.passed else "FAIL", runner, check.limit, f"{check.allowed:g}", shown


def cautions(evaluations: Sequence[Evaluation]) -> list[str]:
    """The cautions that belong to the numbers, each once."""
    results = (each for one in evaluations for each in one.runners)
    return list(dict.fromkeys(note for each in results for note in caution(each)))


def describe_data(evaluation: Evaluation) -> str:
    """The data set in words: name, language, split, pairs and how many sentences were truncated.

    With the prompts and the similarity, if they are not what most models have: none, and cosine.
    """
    special = describe_settings(evaluation)
    if not isinstance(evaluation.sample, UnsetType):
        drawn = f"{evaluation.sentences:,} of {evaluation.sample.total:,} texts"
        return f"{evaluation.dataset}: {drawn}, drawn with the seed {evaluation.sample.seed}{special}"
    if not evaluation.pairs:
        return f"{evaluation.dataset}: {counted(evaluation.sentences, 'embedding')}{special}"
    parts = (evaluation.dataset, evaluation.language, evaluation.split)
    rows = "" if evaluation.gives_scores else f" of {2 * evaluation.pairs:,} sentences"
    return (
        f"{' '.join(part for part in parts if part)}: {counted(evaluation.pairs, 'pair')}, "
        f"{evaluation.truncated_sentences:,}{rows} truncated{special}"
    )


def describe_settings(evaluation: Evaluation) -> str:
    """The prompts and the similarity in words, each after a comma; empty for most models."""
    search = evaluation.search_prompts
    settings = [
        evaluation.prompt and f"prompt {evaluation.prompt}",
        not isinstance(search, UnsetType)
        and f"search: queries with {_prompt(search.query)}, documents with {_prompt(search.document)}",
        evaluation.similarity not in (COSINE, SCORE) and f"{evaluation.similarity} similarity",
        evaluation.gives_scores and "a cross-encoder's scores",
    ]
    return "".join(f", {each}" for each in settings if each)


def _prompt(name: str | None) -> str:
    return f"the prompt {name}" if name else "no prompt"


def check_line(check: Check) -> str:
    """One limit as a line: PASS or FAIL, the runner, the limit, and the number that was found."""
    state, runner, limit, allowed, shown = check_cells(check)
    return f"{state}  {runner}  {limit} {allowed}: {shown}"


def noise_multiple(result: RunnerResult, noise: float | None) -> str:
    """The largest difference as a multiple of the noise floor; empty for the reference."""
    if result.comparison is None:
        return ""
    largest = result.comparison.drift.max_abs
    if noise is None or largest is None:
        return "undefined"
    return f"{largest / noise:,.0f}" if noise else "noise is 0"


def describe_shape(evaluation: Evaluation) -> str:
    """The fixed graph's shape in words, and which graph each runner ran."""
    if evaluation.batch_size is None:
        return "shape not recorded"
    by_graph: dict[str, list[str]] = {}
    for each in evaluation.runners:
        if each.graph is not None:
            by_graph.setdefault(each.graph, []).append(each.runner)
    graphs = "".join(f"; {graph} graph: {', '.join(names)}" for graph, names in by_graph.items())
    packed = f", packed {evaluation.texts_per_row} per row" if evaluation.texts_per_row > 1 else ""
    return f"batch size {evaluation.batch_size}, sequence length {evaluation.sequence_length}{packed}{graphs}"


def clip(text: str, size: int = MAX_CHARACTERS) -> str:
    """The text, or its beginning and its length if it is long."""
    return text if len(text) <= size else f"{text[:size]}… ({len(text):,} characters)"
