"""Results and benchmarks as one HTML page each, which loads nothing and runs no script.

The templates escape all text.
"""

import re
from collections.abc import Sequence
from functools import cache
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from minilmx.eval.comparison import Comparison
from minilmx.eval.evaluation import Evaluation, RunnerResult
from minilmx.eval.metrics.table import METRIC
from minilmx.eval.reports import svg
from minilmx.eval.reports.cells import (
    CHECK_COLUMNS,
    LANGUAGE_COLUMNS,
    VERDICT_COLUMNS,
    cautions,
    check_cells,
    clip,
    describe_data,
    describe_shape,
    in_words,
    language_rows,
    noise_multiple,
    runner_rows,
    verdict_cells,
)
from minilmx.eval.reports.figures import GOLD_CLASSES, draw_figures, time_axis
from minilmx.eval.reports.history import HISTORY_COLUMNS, History, history_rows, history_trends, trace_history
from minilmx.eval.reports.notes import caution, explanations
from minilmx.eval.reports.svg import MINUS, TIMES
from minilmx.eval.results import Result

_HYPHEN = re.compile(r"(?<![\w.])-(?=\d)")
_EXPONENT = re.compile(r"(?<![\w.])(\d(?:\.\d+)?)e([+-])0*(\d+)\b")


def render_html(results: Sequence[Result]) -> str:
    """One result as a page; several as their history, with the newest in full below."""
    newest = max(results, key=lambda result: result.evaluations[0].provenance.created)
    history = trace_history(results) if len(results) > 1 else None
    first = newest.evaluations[0]
    name = first.model.rsplit("/", 1)[-1]
    start, _, rest = newest.verdict.sentence.partition(": ")
    return render_page(
        "result.html.j2",
        title=f"{name} on {first.dataset}",
        version=first.provenance.minilmx,
        name=name,
        dataset=f"{first.dataset}{f', {first.split}' if first.split else ''}",
        pairs=sum(each.pairs for each in newest.evaluations),
        runners=[each.runner for each in first.runners],
        date=first.provenance.created[:10],
        result=newest,
        start=start,
        rest=rest,
        verdicts=[verdict_cells(each) for each in newest.verdict.comparisons],
        verdict_columns=VERDICT_COLUMNS,
        checks=[check_cells(check) for check in sorted(newest.checks, key=lambda each: each.passed)],
        check_columns=CHECK_COLUMNS,
        cautions=cautions(newest.evaluations),
        meaning=_meaning(newest),
        history=history,
        history_columns=HISTORY_COLUMNS,
        history_rows=history_rows(history) if history else [],
        trends=_trends(history) if history else [],
        language_columns=LANGUAGE_COLUMNS,
        language_rows=language_rows(newest.evaluations),
        views=[_view(each) for each in newest.evaluations],
        gold_classes=GOLD_CLASSES,
    )


def render_page(template: str, **values: Any) -> str:
    """A page in the style of report.css; `title`, and `version`, the minilmx that made the numbers."""
    style = Markup((resources.files(__package__) / "report.css").read_text(encoding="utf-8"))
    return _environment().get_template(template).render(style=style, **values).lstrip() + "\n"


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("minilmx.eval.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = _number
    environment.filters["clip"] = clip
    return environment


def _number(text: str) -> Markup:
    """Text with numbers in mathematical notation: 5.26e-04 becomes 5.26 x 10 to the -4."""
    signed = _HYPHEN.sub(MINUS, str(escape(text)))
    return Markup(_EXPONENT.sub(_power, signed))  # escaped above


def _power(match: re.Match[str]) -> str:
    sign = MINUS if match[2] == "-" else ""
    return f"{match[1]} {TIMES} 10<sup>{sign}{match[3]}</sup>"


def _meaning(result: Result) -> list[str]:
    """The explanations of one evaluation, or how often each verdict occurs in several."""
    if len(result.evaluations) == 1:
        return [note for each in result.evaluations[0].runners for note in explanations(each)]
    compared = [each.comparison for one in result.evaluations for each in one.runners if each.comparison]
    differ = [each.correlation.spearman.excludes_zero for each in compared if each.correlation]
    stay = [each.retrieval.index_may_stay for each in compared if each.retrieval]
    return [
        f"The Spearman correlations differ beyond chance in {sum(differ)} of {len(differ)} comparisons.",
        f"An existing index can be kept in {sum(stay)} of {len(stay)} comparisons.",
    ]


def _trends(history: History) -> list[tuple[str, str, Markup]]:
    """Each number over time that has values: title, unit and drawing."""
    x = time_axis(len(history.dates))
    drawn = []
    for trend in history_trends(history):
        values = [value for each in trend.lines for value in each.y]
        if values:
            middle, reach = (max(values) + min(values)) / 2, max(max(values) - min(values), trend.span) * 0.6
            y = svg.linear_axis(middle - reach, middle + reach, trend.unit)
            drawing = Markup(svg.lines(trend.lines, x, y, trend.name))  # svg escapes
            drawn.append((trend.name, y.title, drawing))
    return drawn


def _view(evaluation: Evaluation) -> dict[str, Any]:
    """What the template shows of one language."""
    return {
        "evaluation": evaluation,
        "data": describe_data(evaluation),
        "runners": [each.runner for each in evaluation.runners],
        "groups": runner_rows(evaluation),
        "cautions": cautions([evaluation]),
        "candidates": [
            _candidate(evaluation, each, each.comparison) for each in evaluation.runners if each.comparison
        ],
        "facts": _facts(evaluation),
    }


def _candidate(evaluation: Evaluation, result: RunnerResult, comparison: Comparison) -> dict[str, Any]:
    """What the template shows of one runner against the reference."""
    reference = evaluation.runners[0]
    return {
        "runner": result.runner,
        "reference": reference.runner,
        "comparison": comparison,
        "is_comparable": comparison.profile is not None
        or (evaluation.gives_scores and comparison.drift.finite),
        "cautions": [*caution(reference), *caution(result)],
        "meaning": explanations(result),
        "tiles": _tiles(evaluation, result, comparison),
        "figures": draw_figures(evaluation, result),
    }


def _tiles(
    evaluation: Evaluation, result: RunnerResult, comparison: Comparison
) -> list[tuple[str, str, str]]:
    """The numbers that matter most: label, value and remark."""

    def tile(name: str, remark: str) -> tuple[str, str, str]:
        return METRIC[name].label, cell(name), remark

    def cell(name: str) -> str:
        return METRIC[name].cell(result, evaluation.runners[0])

    noise = evaluation.noise.largest if evaluation.noise else None
    remark = "the reference repeats itself exactly"
    if noise != 0:
        remark = f"{noise_multiple(result, noise)} times the noise floor" if noise else "noise not measured"
    tiles = [tile("max_abs", remark)]
    if not evaluation.gives_scores:
        tiles.append(tile("min_cosine", f"median {cell('median_cosine')}"))
    if comparison.correlation:
        interval = comparison.correlation.spearman
        low, high = 100 * interval.low, 100 * interval.high
        difference = f"{100 * interval.estimate:+.4f}"
        tiles.append(("Spearman difference", difference, f"points; 95% {low:+.4f} to {high:+.4f}"))
    if comparison.ranks:
        tiles.append(tile("swaps", f"of {comparison.ranks.comparisons:,} comparisons"))
    if comparison.retrieval:
        tiles.append(tile("recall_at_10", f"{comparison.retrieval.queries:,} queries"))
    return tiles


def _facts(evaluation: Evaluation) -> list[tuple[str, str]]:
    made = evaluation.provenance
    return [
        ("artifact", evaluation.artifact),
        ("artifact SHA-256", evaluation.artifact_sha256),
        ("inputs SHA-256", evaluation.inputs_sha256),
        ("model", evaluation.model),
        ("model revision", evaluation.model_revision or "not known"),
        ("shape", describe_shape(evaluation)),
        ("data set revision", evaluation.dataset_revision or "not known"),
        ("created", made.created),
        ("machine", f"{made.processor}, {made.cpus} CPUs, {made.system}"),
        ("software", f"minilmx {made.minilmx}, Python {made.python}"),
        *((each.runner, in_words(each.versions)) for each in evaluation.runners if each.versions),
    ]
