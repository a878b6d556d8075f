"""A result, or several over time, as GitHub-flavoured Markdown: for a CI step summary or a comment."""

import re
from collections.abc import Iterable, Sequence

from minilmx.eval.evaluation import Evaluation
from minilmx.eval.reports.cells import (
    CHECK_COLUMNS,
    LANGUAGE_COLUMNS,
    VERDICT_COLUMNS,
    cautions,
    check_cells,
    clip,
    describe_data,
    describe_settings,
    language_rows,
    runner_rows,
    verdict_cells,
)
from minilmx.eval.reports.history import HISTORY_COLUMNS, history_rows, trace_history
from minilmx.eval.reports.notes import explanations
from minilmx.eval.results import Result

_WORST = 5
_CHARACTERS = 160
# HTML and mathematics; addresses, emoji, and @, which would notify somebody.
_ENTITIES = re.compile(r"[&<>$]|:(?=[A-Za-z/+])|@(?=[A-Za-z])")
_SIGNS = re.compile(r"[\\`*_\[\]#|~]")
# Columns of text; all others hold numbers.
_TEXTS = {"", "runner", "limit", "language", "sentence", "date", "artifact", "versions"}
_TEXTS |= {"reason", "preset", "answer", "limits"}


def render_markdown(results: Sequence[Result]) -> str:
    """One result: verdict, limits, runners, worst sentences. Several: their history."""
    parts = _history(results) if len(results) > 1 else _result(results[0])
    return "\n\n".join(part for part in parts if part) + "\n"


def escape(text: str) -> str:
    """Text that Markdown shows unchanged, on one line."""
    return _in_html(_SIGNS.sub(lambda match: f"\\{match[0]}", text))


def _in_html(text: str) -> str:
    """Text inside HTML, where the signs of Markdown mean nothing up to an empty line."""
    return _ENTITIES.sub(lambda match: f"&#{ord(match[0])};", " ".join(text.split()))


def _result(result: Result) -> list[str]:
    first = result.evaluations[0]
    several = len(result.evaluations) > 1
    made, comparisons = first.provenance, result.verdict.comparisons
    return [
        f"## {escape(result.verdict.sentence)}",
        escape(f"{first.model} on {first.dataset}{describe_settings(first) if several else ''}"),
        _cautions(cautions(result.evaluations)),
        _table(VERDICT_COLUMNS, map(verdict_cells, comparisons)) if len(comparisons) > 1 else "",
        _table(CHECK_COLUMNS, map(check_cells, sorted(result.checks, key=lambda each: each.passed))),
        *(_meaning(each, several) for each in result.evaluations),
        _table(LANGUAGE_COLUMNS, language_rows(result.evaluations)) if several else _runners(first),
        *([] if several else map(_worst, [first])),
        f"artifact {escape(first.artifact)} {escape(first.artifact_sha256[:12])}, {escape(made.created)}, "
        f"minilmx {escape(made.minilmx)}, {escape(made.processor)}",
    ]


def _runners(evaluation: Evaluation) -> str:
    names = [each.runner for each in evaluation.runners]
    rows = [row for group in runner_rows(evaluation) for row in group.rows]
    return f"{escape(describe_data(evaluation))}\n\n{_table(('', *names), rows)}"


def _meaning(evaluation: Evaluation, several: bool) -> str:
    language = f"{evaluation.language}: " if several else ""
    notes = (note for each in evaluation.runners for note in explanations(each))
    return "\n".join(f"- {escape(language + note)}" for note in notes)


def _worst(evaluation: Evaluation) -> str:
    """The sentences with the largest differences, folded."""
    parts = []
    for result in evaluation.runners:
        profile = result.comparison.profile if result.comparison else None
        if profile:
            rows = [
                (
                    f"{each.max_abs:.2e}",
                    f"{each.cosine:.8f}",
                    str(each.tokens or ""),
                    clip(each.text, _CHARACTERS),
                )
                for each in profile.worst[:_WORST]
            ]
            title = f"{_in_html(result.runner)}: largest difference per sentence"
            worst = _table(("difference", "cosine", "tokens", "sentence"), rows)
            parts.append(f"<details><summary>{title}</summary>\n\n{worst}\n\n</details>")
    return "\n\n".join(parts)


def _history(results: Sequence[Result]) -> list[str]:
    history = trace_history(results)
    return [
        f"## {escape(history.first_lines[0])}",
        f"History: {escape(history.model)} on {escape(history.dataset)}",
        _cautions((*history.first_lines[1:], *history.cautions)),
        f"{len(history.dates)} results, drift from {escape(history.reference)}",
        _table(HISTORY_COLUMNS, history_rows(history)),
    ]


def _cautions(texts: Sequence[str]) -> str:
    return "\n".join(
        f"> {'**Caution:** ' if index == 0 else ''}{escape(text)}  " for index, text in enumerate(texts)
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table with numbers aligned to the right; empty without rows."""
    lines = [f"| {' | '.join(map(escape, row))} |" for row in rows]
    if not lines:
        return ""
    ruler = "|".join("---" if name in _TEXTS else "---:" for name in head)
    return "\n".join((f"| {' | '.join(map(escape, head))} |", f"|{ruler}|", *lines))
