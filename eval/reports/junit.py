"""A result as JUnit XML, which CI systems show as tests."""

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from xml.etree import ElementTree as Xml

from minilmx.eval.evaluation import Evaluation
from minilmx.eval.limits import Check
from minilmx.eval.metrics.table import METRICS, Group
from minilmx.eval.reports.cells import check_line
from minilmx.eval.reports.notes import caution, explanations
from minilmx.eval.results import Result
from minilmx.eval.verdict import Answer, ComparisonVerdict, without_limits

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

    A runner with an embedding that is not finite always has a failing case. The verdict's sentence is
    the name of all suites, and the first line of each suite's output.
    """
    suites = Xml.Element("testsuites", {"name": _text(result.verdict.sentence)})
    for evaluation in result.evaluations:
        suites.append(_suite(evaluation, result))
    for name in ("tests", "failures"):
        total = sum(int(suite.get(name, "0")) for suite in suites)
        suites.set(name, str(total))
    Xml.indent(suites)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{Xml.tostring(suites, encoding="unicode")}\n'


def _suite(evaluation: Evaluation, result: Result) -> Xml.Element:
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
        *_invariance(evaluation),
    ):
        Xml.SubElement(properties, "property", {"name": name, "value": _text(value)})
    own = [check for check in result.checks if check.language == evaluation.language]
    verdicts = [each for each in result.verdict.comparisons if each.language == evaluation.language]
    cases = [*_limits(own), *_comparisons(without_limits(verdicts, own))]
    cases += _not_finite(evaluation, [case.runner for case in cases if case.kind != "limit"])
    for case in cases:
        element = Xml.SubElement(
            suite, "testcase", {"classname": _text(case.runner), "name": _text(case.name), "time": "0"}
        )
        if case.failure:
            Xml.SubElement(element, "failure", {"message": _text(case.failure), "type": case.kind})
    suite.set("tests", str(len(cases)))
    suite.set("failures", str(sum(case.failure is not None for case in cases)))
    suite.set("errors", "0")
    notes = [note for each in evaluation.runners for note in (*caution(each), *explanations(each))]
    Xml.SubElement(suite, "system-out").text = _text("\n".join([result.verdict.sentence, *notes]))
    return suite


def _invariance(evaluation: Evaluation) -> Iterator[tuple[str, str]]:
    """How far each runner's embeddings move in other batches, as properties."""
    for metric in METRICS:
        if metric.group is Group.BATCHES:
            for each in evaluation.runners:
                yield f"{each.runner}: {metric.label}", metric.cell(each, evaluation.runners[0])


def _limits(checks: list[Check]) -> Iterator[Case]:
    for check in checks:
        failure = None if check.passed else check_line(check)
        yield Case(check.runner, f"{check.limit} {check.allowed:g}", failure, "limit")


def _comparisons(verdicts: list[ComparisonVerdict]) -> Iterator[Case]:
    for each in verdicts:
        failure = None if each.answer is Answer.SAME else f"{each.answer}: {each.reason}"
        yield Case(each.runner, f"the same by the preset {each.preset}", failure)


def _not_finite(evaluation: Evaluation, named: Collection[str]) -> Iterator[Case]:
    """Failures that no comparison shows, such as the reference's."""
    for each in evaluation.runners:
        if not each.finite and each.runner not in named:
            yield Case(each.runner, "finite embeddings", f"embeddings of {each.runner} are not finite")


def _text(text: str) -> str:
    return _NO_XML.sub("\ufffd", text)
