"""JUnit XML: a case for each limit, or for each comparison."""

from xml.etree import ElementTree as Xml

from tests.eval.conftest import ResultOf

from minilmx.eval.limits import Limits
from minilmx.eval.reports.junit import render_junit
from minilmx.eval.results import Result


def test_junit_has_a_case_for_each_limit_and_a_message_for_each_failure(result_of: ResultOf) -> None:
    found = result_of(limits=Limits(max_abs=1e-12, min_cosine=0.5, min_spearman=99))
    suites = Xml.fromstring(render_junit(found))
    cases = suites.findall("testsuite/testcase")
    assert len(cases) == len(found.checks) == int(suites.get("tests", "0")) == 4
    failed = [case for case in cases if case.find("failure") is not None]
    assert len(failed) == int(suites.get("failures", "0")) == sum(not check.passed for check in found.checks)
    (case,) = (case for case in failed if case.get("name") == "max_abs 1e-12")
    assert case.get("classname") == "groq-emulator"
    message = case.find("failure").get("message", "")  # type: ignore[union-attr]
    assert message.startswith("FAIL  groq-emulator en  max_abs 1e-12: ")


def test_junit_without_limits_has_a_case_for_each_comparison(result: Result) -> None:
    (case,) = Xml.fromstring(render_junit(result)).findall("testsuite/testcase")
    assert (case.get("classname"), case.get("name")) == ("groq-emulator", "the same by the preset float16")
    assert case.find("failure") is None
