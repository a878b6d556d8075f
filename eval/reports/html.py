"""A result, or several over time, as one HTML page that needs no network and no script."""

from collections.abc import Sequence
from html import escape

from minilmx.eval.evaluation import Evaluation
from minilmx.eval.ladder import Ladder
from minilmx.eval.noise import NoiseFloor
from minilmx.eval.reports import svg
from minilmx.eval.reports.cells import (
    CHECK_COLUMNS,
    LANGUAGE_COLUMNS,
    cautions,
    check_cells,
    describe_data,
    language_rows,
    runner_rows,
)
from minilmx.eval.reports.figures import time_axis
from minilmx.eval.reports.history import HISTORY_COLUMNS, History, history_rows, history_trends, trace_history
from minilmx.eval.reports.html_candidate import candidate_section
from minilmx.eval.reports.markup import facts, heading_row, notes, number, row, table
from minilmx.eval.reports.notes import explanations
from minilmx.eval.reports.page import render_page
from minilmx.eval.reports.versions import versions_of
from minilmx.eval.results import Result


def render_html(results: Sequence[Result]) -> str:
    """One result as a page; several as their history, with the newest in full below."""
    newest = max(results, key=lambda result: result.evaluations[0].provenance.created)
    history = trace_history(results) if len(results) > 1 else None
    first = newest.evaluations[0]
    name = first.model.rsplit("/", 1)[-1]
    title = f"{name} on {first.dataset}"
    body = [_header(newest, name, history)]
    if history:
        body.append(_history(history))
    if len(newest.evaluations) == 1:
        body.append(_evaluation(first))
    else:
        body.append(_languages(newest.evaluations))
    return render_page(title, "\n".join(body), first.provenance.minilmx)


def _header(result: Result, name: str, history: History | None) -> str:
    """What was measured, the verdict, what it means, and what must be said beside it."""
    first = result.evaluations[0]
    what = f"{first.dataset}{f', {first.split}' if first.split else ''}"
    pairs = sum(each.pairs for each in result.evaluations)
    runners = ", ".join(each.runner for each in first.runners)
    checks = [
        f'<tr><td><span class="chip {"pass" if check.passed else "fail"}">{cells[0]}</span></td>'
        f"<td>{escape(cells[1])}</td><td>{escape(cells[2])}</td>"
        f"<td>{number(cells[3])}</td><td>{number(cells[4])}</td></tr>"
        for check in sorted(result.checks, key=lambda each: each.passed)
        for cells in [check_cells(check)]
    ]
    return (
        f'<header><p class="eyebrow">Embedding drift{" · the newest result" if history else ""}</p>'
        f"<h1>{escape(name)} <small>on {escape(what)}</small></h1>"
        f'<p class="runners">{pairs:,} pairs · {escape(runners)} · '
        f"{escape(first.provenance.created[:10])}</p>{_verdict(result)}"
        + notes(cautions(result.evaluations), "caution")
        + (table(CHECK_COLUMNS, checks, "checks") if checks else notes(_meaning(result), "meaning"))
        + "</header>"
    )


def _meaning(result: Result) -> list[str]:
    """The plain sentences of one evaluation, or how often each verdict was found in several."""
    if len(result.evaluations) == 1:
        return [note for each in result.evaluations[0].runners for note in explanations(each)]
    found = [each.comparison for one in result.evaluations for each in one.runners if each.comparison]
    differ = [each.correlation.spearman.excludes_zero for each in found if each.correlation]
    stay = [each.retrieval.index_may_stay for each in found if each.retrieval]
    return [
        f"The Spearman correlations differ beyond chance in {sum(differ)} of {len(differ)} comparisons.",
        f"An existing index may stay in {sum(stay)} of {len(stay)} comparisons.",
    ]


def _verdict(result: Result) -> str:
    if result.passed is None:
        return (
            '<p class="verdict"><strong>No limits were set</strong> The numbers are reported, not judged.</p>'
        )
    kept = sum(check.passed for check in result.checks)
    word, style = ("PASS", "pass") if result.passed else ("FAIL", "fail")
    return (
        f'<p class="verdict {style}"><strong>{word}</strong> {kept} of {len(result.checks)} limits kept</p>'
    )


def _evaluation(evaluation: Evaluation) -> str:
    """One language in full."""
    names = [each.runner for each in evaluation.runners]
    rows = [
        line
        for group in runner_rows(evaluation)
        for line in (
            heading_row(group.heading, len(names) + 1),
            *(row(*cells) for cells in group.rows),
        )
    ]
    return (
        f'<section><h2>The runners</h2><p class="lead">{escape(describe_data(evaluation))}.</p>'
        + table(("", *names), rows, "numbers")
        + notes(cautions([evaluation]), "caution quiet")
        + "</section>"
        + "".join(candidate_section(evaluation, each) for each in evaluation.runners[1:])
        + (_ladder(evaluation.ladder) if evaluation.ladder else "")
        + (_noise(evaluation.noise) if evaluation.noise else "")
        + _provenance(evaluation)
    )


def _languages(evaluations: Sequence[Evaluation]) -> str:
    """A row for each language and runner, then each language to unfold."""
    rows = [row(*cells) for cells in language_rows(evaluations)]
    details = "".join(
        f"<details><summary>{escape(each.language or each.dataset)} "
        f"<small>{escape(describe_data(each))}</small></summary>{_evaluation(each)}</details>"
        for each in evaluations
    )
    return (
        f"<section><h2>Languages</h2>{table(LANGUAGE_COLUMNS, rows, 'numbers languages')}"
        f"{notes(cautions(evaluations), 'caution quiet')}</section>{details}"
    )


def _ladder(ladder: Ladder) -> str:
    """Each step's share of the final drift, as a bar."""
    rows = []
    for index, step in enumerate(ladder.steps):
        cells = "<td></td><td></td><td></td><td></td>"
        if index:
            width = min(abs(step.share), 1.0)
            cells = (
                f"<td>{number(f'{step.max_abs:.2e}')}</td><td>{number(f'{step.rms_abs:.2e}')}</td>"
                f'<td>{_percent(step.share)}</td><td class="meter"><i style="width:{width:.2%}"></i></td>'
            )
        rows.append(f'<tr><th scope="row">{escape(step.name)}</th><td>{escape(step.runner)}</td>{cells}</tr>')
    missing = f" Not run here: {', '.join(ladder.missing)}." if ladder.missing else ""
    head = ("step", "runner", "max abs", "RMS", "share", "of the final drift")
    return (
        "<section><h2>Which step brings the drift</h2>"
        f'<p class="lead">From PyTorch to the last runner, one change at a time, over the first '
        f"{ladder.sentences:,} sentences. A negative share undoes what others did.{escape(missing)}</p>"
        + table(head, rows, "shares ladder")
        + "</section>"
    )


def _percent(share: float) -> str:
    return number(f"{share:.1%}") if abs(share) >= 0.0005 else "0.0%"


def _noise(noise: NoiseFloor) -> str:
    measured = (
        ("run again", noise.repeat),
        ("one thread", noise.threads),
        ("other places in the batch", noise.position),
    )
    rows = [row(name, f"{value:.2e}" if value else "0") for name, value in measured]
    return (
        f'<section><h2>Noise floor</h2><p class="lead">{escape(noise.runner)} against itself over '
        f"{noise.sentences:,} sentences: drift below this says nothing.</p>"
        + table(("", "largest difference"), rows, "numbers")
        + "</section>"
    )


def _provenance(evaluation: Evaluation) -> str:
    made = evaluation.provenance
    known = [
        ("artifact", evaluation.artifact),
        ("artifact SHA-256", evaluation.artifact_sha256),
        ("inputs SHA-256", evaluation.inputs_sha256),
        ("model", evaluation.model),
        ("model revision", evaluation.model_revision or "not known"),
        ("shape", _shape(evaluation)),
        ("data set revision", evaluation.dataset_revision or "not known"),
        ("created", made.created),
        ("machine", f"{made.processor}, {made.cpus} CPUs, {made.system}"),
        ("software", f"minilmx {made.minilmx}, Python {made.python}"),
        *((each.runner, versions_of(each) or "no versions recorded") for each in evaluation.runners),
    ]
    return f"<section><h2>Where the numbers come from</h2>{facts(known)}</section>"


def _shape(evaluation: Evaluation) -> str:
    packed = f", packed {evaluation.texts_per_row} to a row" if evaluation.texts_per_row > 1 else ""
    return f"batch size {evaluation.batch_size}, sequence length {evaluation.sequence_length}{packed}"


def _history(history: History) -> str:
    """Four numbers over time, a line for each runner, and all of them as a table."""
    figures = []
    x = time_axis(len(history.dates))
    for trend in history_trends(history):
        values = [value for each in trend.lines for value in each.y]
        if values:
            middle, reach = (max(values) + min(values)) / 2, max(max(values) - min(values), trend.span) * 0.6
            y = svg.linear_axis(middle - reach, middle + reach, trend.unit)
            figures.append(
                f'<figure><h3>{escape(trend.name)}</h3><p class="unit">{escape(y.title)}</p>'
                f"{svg.lines(trend.lines, x, y, trend.name)}</figure>"
            )
    legend = "".join(
        f'<span class="legend"><i class="run{index % 6}"></i> {escape(name)}</span>'
        for index, name in enumerate(history.lines)
    )
    rows = [row(*cells) for cells in history_rows(history)]
    return (
        f'<section><h2>History</h2><p class="lead">{len(history.dates)} results, drift from '
        f"{escape(history.reference)}. {legend}</p>"
        + f'<div class="figures pairs">{"".join(figures)}</div>'
        + table(HISTORY_COLUMNS, rows, "numbers history")
        + notes(history.cautions, "caution quiet")
        + "</section>"
    )
