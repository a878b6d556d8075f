"""A result as JUnit XML, which CI systems show as tests."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from xml.etree import ElementTree as Xml

from minilmx.eval.evaluation import Evaluation
from minilmx.eval.limits import Check
from minilmx.eval.reports.cells import check_line
from minilmx.eval.reports.notes import caution, explanations
from minilmx.eval.results import Result

# Characters that XML 1.0 cannot contain, not even escaped.
_NO_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, slots=True)
class Case:
    """A test case of a runner; `failure` is None if it passed."""

    runner: str
    name: str
    failure: str | None
    kind: str = "embeddings"


def render_junit(result: Result) -> str:
    """A suite for each language, a case for each limit, or without limits for each comparison.

    A runner of which an embedding is not finite always has a case that fails.
    """
    suites = Xml.Element("testsuites", {"name": "minilmx"})
    for evaluation in result.evaluations:
        suites.append(_suite(evaluation, result.checks))
    for name in ("tests", "failures"):
        total = sum(int(suite.get(name, "0")) for suite in suites)
        suites.set(name, str(total))
    Xml.indent(suites)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{Xml.tostring(suites, encoding="unicode")}\n'


def _suite(evaluation: Evaluation, checks: tuple[Check, ...]) -> Xml.Element:
    parts = (evaluation.model, evaluation.dataset, evaluation.language, evaluation.split)
    suite = Xml.Element(
        "testsuite",
        {
            "name": _text(" ".join(part for part in parts if part)),
            "timestamp": _text(evaluation.provenance.created),
            "time": f"{sum(each.timing.seconds for each in evaluation.runners if each.timing):.3f}",
        },
    )
    properties = Xml.SubElement(suite, "properties")
    for name, value in (
        ("artifact", evaluation.artifact),
        ("artifact_sha256", evaluation.artifact_sha256),
        ("inputs_sha256", evaluation.inputs_sha256),
        ("minilmx", evaluation.provenance.minilmx),
    ):
        Xml.SubElement(properties, "property", {"name": name, "value": _text(value)})
    own = [check for check in checks if check.language == evaluation.language]
    cases = [*(_limits(own) if own else _comparisons(evaluation)), *_not_finite(evaluation, bool(own))]
    for case in cases:
        element = Xml.SubElement(
            suite, "testcase", {"classname": _text(case.runner), "name": _text(case.name), "time": "0"}
        )
        if case.failure:
            Xml.SubElement(element, "failure", {"message": _text(case.failure), "type": case.kind})
    suite.set("tests", str(len(cases)))
    suite.set("failures", str(sum(case.failure is not None for case in cases)))
    suite.set("errors", "0")
    notes = (
        note
        for each in evaluation.runners
        for note in (*caution(each.runner, each.details), *explanations(each))
    )
    Xml.SubElement(suite, "system-out").text = _text("\n".join(notes))
    return suite


def _limits(checks: list[Check]) -> Iterator[Case]:
    for check in checks:
        failure = None if check.passed else check_line(check)
        yield Case(check.runner, f"{check.limit} {check.allowed:g}", failure, "limit")


def _comparisons(evaluation: Evaluation) -> Iterator[Case]:
    reference, *others = evaluation.runners
    for each in others:
        finite = each.finite and reference.finite
        failure = None if finite else f"embeddings of {each.runner} or of {reference.runner} are not finite"
        yield Case(each.runner, f"compared with {reference.runner}", failure)


def _not_finite(evaluation: Evaluation, limited: bool) -> Iterator[Case]:
    """Failures that neither a comparison shows, as the reference has none, nor a limit."""
    for each in evaluation.runners if limited else evaluation.runners[:1]:
        if not each.finite:
            yield Case(each.runner, "finite embeddings", f"embeddings of {each.runner} are not finite")


def _text(text: str) -> str:
    return _NO_XML.sub("\ufffd", text)
