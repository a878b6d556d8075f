"""A result as JUnit XML, which CI systems show as tests."""

import re
from collections.abc import Iterator
from xml.etree import ElementTree as Xml

from minilmx.eval.evaluation import Evaluation
from minilmx.eval.limits import Check
from minilmx.eval.reports.cells import check_line
from minilmx.eval.reports.notes import caution, explanations
from minilmx.eval.results import Result

# Characters that XML 1.0 cannot hold, not even escaped.
_NO_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def render_junit(result: Result) -> str:
    """A suite for each language, a case for each limit.

    Where a language has no limits: a case for each runner against the reference, which fails
    where the embeddings are not finite.
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
            "time": f"{sum(each.seconds or 0.0 for each in evaluation.runners):.3f}",
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
    cases = list(_limits(own) if own else _comparisons(evaluation))
    for runner, name, failure in cases:
        case = Xml.SubElement(
            suite, "testcase", {"classname": _text(runner), "name": _text(name), "time": "0"}
        )
        if failure:
            Xml.SubElement(
                case, "failure", {"message": _text(failure), "type": "limit" if own else "embeddings"}
            )
    suite.set("tests", str(len(cases)))
    suite.set("failures", str(sum(failure is not None for _, _, failure in cases)))
    suite.set("errors", "0")
    notes = (
        note
        for each in evaluation.runners
        for note in (*caution(each.runner, each.details), *explanations(each))
    )
    Xml.SubElement(suite, "system-out").text = _text("\n".join(notes))
    return suite


def _limits(checks: list[Check]) -> Iterator[tuple[str, str, str | None]]:
    for check in checks:
        yield check.runner, f"{check.limit} {check.allowed:g}", None if check.passed else check_line(check)


def _comparisons(evaluation: Evaluation) -> Iterator[tuple[str, str, str | None]]:
    reference = evaluation.runners[0].runner
    for each in evaluation.runners[1:]:
        finite = each.comparison is not None and each.comparison.drift.finite
        broken = f"embeddings of {each.runner} or of {reference} are not finite"
        yield each.runner, f"compared with {reference}", None if finite else broken


def _text(text: str) -> str:
    return _NO_XML.sub("\ufffd", text)
