"""Every report is made from the result alone, has the cautions, and survives any text."""

import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, get_args, get_type_hints
from xml.etree import ElementTree as Xml

import numpy as np
import pytest
from tests.eval.conftest import ResultOf

from minilmx.errors import EvalError
from minilmx.eval.comparison import Comparison, compare
from minilmx.eval.datasets.pairs import load_pairs
from minilmx.eval.document import SCHEMA_VERSION, load_document, save_document
from minilmx.eval.evaluation import Evaluation, evaluate
from minilmx.eval.limits import Check, Limits
from minilmx.eval.metrics.drift import measure_drift
from minilmx.eval.reports.figures import MAX_POINTS, draw_figures
from minilmx.eval.reports.html import render_html
from minilmx.eval.reports.junit import render_junit
from minilmx.eval.reports.markdown import escape, render_markdown
from minilmx.eval.reports.render import FORMATS, render
from minilmx.eval.results import Result
from minilmx.eval.verdict import judge
from minilmx.models.artifact import Artifact

CAUTION = (
    "groq-emulator is an emulation (float16 weights and node outputs, float32 sums; not from a GroqCard)"
)

RESULT_MD = Path(__file__).parents[3] / "docs" / "result.md"
TEXT_FORMATS = [form for form in FORMATS if form != "mteb"]


class WellFormed(HTMLParser):
    """Fails if a tag is not closed or closed in the wrong place; collects addresses and text."""

    VOID = frozenset(("meta", "link", "br", "img"))

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.texts: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "action")]
        assert not [name for name, _ in attrs if name.startswith("on")]
        if tag not in self.VOID and not (self.get_starttag_text() or "").endswith("/>"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not (self.get_starttag_text() or "").endswith("/>") or tag in self.open:
            assert self.open.pop() == tag, self.getpos()

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def judged(evaluations: tuple[Evaluation, ...], checks: tuple[Check, ...] = ()) -> Result:
    return Result(evaluations, checks, judge(evaluations, checks))


def only(result: Result) -> Evaluation:
    (evaluation,) = result.evaluations
    return evaluation


def with_second_runner(result: Result, **changes: object) -> Result:
    """The result with some fields of its second runner replaced."""
    one = only(result)
    first, second = one.runners
    return judged((replace(one, runners=(first, replace(second, **changes))),), result.checks)  # type: ignore[arg-type]


def not_finite(result: Result) -> Result:
    ones, nans = np.ones((4, 8), np.float32), np.full((4, 8), np.nan, np.float32)
    broken = Comparison(measure_drift(ones, nans), None, None, None, None, None, None)
    return with_second_runner(result, comparison=broken, similarities=None, finite=False)


def rows_of(markdown: str) -> list[list[str]]:
    """The cells of all table rows, split as GitHub splits them."""
    lines = [line for line in markdown.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


@pytest.mark.parametrize("form", TEXT_FORMATS)
def test_every_report_says_that_an_emulation_is_not_a_card(form: str, result: Result) -> None:
    assert CAUTION in " ".join(render(form, [result]).split())


@pytest.mark.parametrize("form", TEXT_FORMATS)
def test_every_report_says_that_a_stand_in_is_not_a_card(form: str, result: Result) -> None:
    standin = with_second_runner(result, details={"sdk": "standin", "caution": "a stand-in, no card"})
    assert "groq-emulator: a stand-in, no card." in " ".join(render(form, [standin]).split())


@pytest.mark.parametrize("form", TEXT_FORMATS)
def test_a_report_is_the_same_after_saving_and_loading(form: str, result: Result, tmp_path: Path) -> None:
    save_document(result, tmp_path / "r.json", replace=False)
    assert render(form, [load_document(tmp_path / "r.json", Result)]) == render(form, [result])


def test_the_page_is_well_formed_and_refers_to_nothing(result: Result, hostile_result: Result) -> None:
    for each in (result, hostile_result, not_finite(result)):
        page = WellFormed(render("html", [each]))
        assert page.addresses == ["data:,"]
        assert "script" not in page.tags
        assert not {"iframe", "object", "img", "form"} & set(page.tags)
    assert "default-src 'none'" in render("html", [result])


def test_hostile_text_is_shown_unchanged_and_clipped_if_long(hostile_result: Result) -> None:
    page = render("html", [hostile_result])
    assert "<script>" not in page
    shown = "".join(WellFormed(page).texts)
    profile = only(hostile_result).runners[1].comparison.profile  # type: ignore[union-attr]
    assert profile is not None
    for each in profile.worst:
        assert each.text[:400].replace("\r\n", "\n") in shown.replace("\r\n", "\n")
    assert "x" * 401 not in page
    assert "(10,000 characters)" in page


def test_half_a_surrogate_pair_can_be_written(result: Result, tmp_path: Path) -> None:
    one = replace(only(result), dataset="half \ud83d")
    for form in TEXT_FORMATS:
        render(form, [judged((one,))]).encode("utf-8")


def test_another_format_is_refused(result: Result) -> None:
    with pytest.raises(EvalError, match="the format 'pdf'; expected one of table, html, markdown, junit"):
        result.render("pdf")


def test_the_page_and_markdown_have_the_numbers_of_the_result(result: Result) -> None:
    page, markdown = render("html", [result]), render("markdown", [result])
    one = only(result)
    comparison = one.runners[1].comparison
    assert comparison and comparison.ranks and comparison.retrieval and comparison.drift.max_abs
    for runner in one.runners:
        score = f"{100 * (runner.scores.spearman or 0):.4f}"
        assert f"<td>{score}</td>" in page.replace("\N{MINUS SIGN}", "-")
        assert score in markdown
    mantissa, power = f"{comparison.drift.max_abs:.2e}".split("e")
    assert f"{mantissa} × 10<sup>\N{MINUS SIGN}{abs(int(power))}</sup>" in page  # noqa: RUF001
    assert f"{comparison.drift.max_abs:.2e}" in markdown
    for text in (page, markdown):
        assert f"{comparison.drift.min_cosine:.8f}" in text
        assert f"{comparison.ranks.swaps:,}" in text
    assert one.artifact_sha256 in page
    assert one.inputs_sha256 in page
    assert one.provenance.created in page


def test_the_verdict_comes_first_and_broken_limits_before_kept_ones(result_of: ResultOf) -> None:
    failed = result_of(limits=Limits(max_abs=1e-12, min_cosine=0.5))
    page = render("html", [failed])
    assert page.index("<strong>SAME</strong>") < page.index("limits: FAIL, 1 of 2 kept") < page.index("<h1>")
    assert page.index('chip fail">FAIL') < page.index('chip pass">PASS') < page.index("The runners")
    assert render("markdown", [failed]).startswith(f"## {escape(failed.verdict.sentence)}\n")
    kept = result_of(limits=Limits(min_cosine=0.5))
    assert "; limits: PASS, 1 of 1 kept</p>" in render("html", [kept])
    assert "; limits: PASS, 1 of 1 kept" in render("markdown", [kept]).splitlines()[0]


def test_without_limits_the_answer_is_by_preset(result: Result) -> None:
    page, markdown = render("html", [result]), render("markdown", [result])
    head = page[: page.index("The runners")]
    comparison = only(result).runners[1].comparison
    assert comparison and comparison.correlation
    assert head.index('<p class="verdict pass"><strong>SAME</strong>') < head.index("<h1>")
    assert "preset float16: groq-emulator computes in float16" in head
    assert comparison.correlation.meaning.split("(")[0] in head
    assert "PASS" not in page + markdown
    assert "FAIL" not in page + markdown


def test_a_thread_count_that_was_not_measured_is_not_a_zero(result: Result) -> None:
    one = only(result)
    assert one.noise
    unmeasured = replace(one, noise=replace(one.noise, threads=None))
    rows = re.findall(r'<th scope="row">one thread</th><td>([^<]*)', render_html([judged((unmeasured,))]))
    assert rows == ["not measured"]


ONE_BROKEN = "embeddings of onnxruntime are not finite"


def alone_and_not_finite(result: Result, checks: tuple[Check, ...] = ()) -> Result:
    """The reference alone, as if one of its embeddings were not finite."""
    one = only(result)
    broken = replace(one.runners[0], finite=False, similarities=None)
    return judged((replace(one, runners=(broken,), noise=None),), checks)


def test_a_single_runner_that_is_not_finite_fails_in_every_report(result: Result) -> None:
    broken = alone_and_not_finite(result)
    assert broken.passed is False
    assert render("table", [broken]).splitlines()[0] == f"FAIL: {ONE_BROKEN}"
    page = render("html", [broken])
    assert f"<strong>FAIL</strong> {ONE_BROKEN}</p>" in page
    assert "0 of 0" not in page
    assert render("markdown", [broken]).startswith(f"## FAIL: {ONE_BROKEN}\n")
    suites = Xml.fromstring(render_junit(broken))
    assert suites.get("failures") == "1"
    assert suites.find("testsuite/testcase/failure").get("message") == ONE_BROKEN  # type: ignore[union-attr]


def test_limits_that_are_kept_do_not_hide_embeddings_that_are_not_finite(result: Result) -> None:
    kept = (Check("en", "onnxruntime", "max_latency_ms", 1e9, 1.0, True),)
    broken = alone_and_not_finite(result, kept)
    assert f"<strong>FAIL</strong> {ONE_BROKEN}; limits: PASS, 1 of 1 kept</p>" in render("html", [broken])
    suites = Xml.fromstring(render_junit(broken))
    assert (suites.get("tests"), suites.get("failures")) == ("2", "1")


@pytest.mark.parametrize("form", ["table", "html", "markdown"])
def test_a_history_names_the_results_that_are_not_finite(form: str, result: Result) -> None:
    text = render(form, [not_finite(result), result])
    said = "<p>DIFFERENT: " if form == "html" else "DIFFERENT: "
    said += "embeddings of groq-emulator are not finite (result of 20"
    assert said in " ".join(text.split())


def test_every_report_says_that_embeddings_are_not_finite(result: Result) -> None:
    broken = not_finite(result)
    assert "nothing more can be compared" in render("html", [broken])
    assert "not finite" in render("markdown", [broken])
    suites = Xml.fromstring(render_junit(broken))
    assert suites.get("failures") == "1"


def test_a_drawing_has_every_sentence_dimension_and_pair(result: Result) -> None:
    one = only(result)
    size, cosine, length, dimension, scores, change = draw_figures(one, one.runners[1])
    for figure in (size, cosine):
        counts = [
            int(count.replace(",", "")) for count in re.findall(r"<title>([\d,]+)</title>", figure.drawing)
        ]
        assert sum(counts) == 2 * one.pairs
    assert length.drawing.count("<rect") == 2 * len(one.runners[1].comparison.profile.by_length)  # type: ignore[union-attr]
    assert dimension.drawing.count("V") == 2 * (8 + 1)
    for figure in (scores, change):
        assert figure.drawing.count("h0") == one.pairs


def test_thousands_of_points_are_thinned(result: Result) -> None:
    one = only(result)
    count = MAX_POINTS + 500
    values = tuple(np.random.default_rng(0).uniform(-1, 1, count).tolist())
    first, second = (replace(each, similarities=values) for each in one.runners)
    many = replace(one, gold=(2.0,) * count, pairs=count, runners=(first, second))
    scatter = draw_figures(many, second)[4]
    assert scatter.drawing.count("h0") == MAX_POINTS
    assert "3,000 pairs of 3,500" in scatter.caption


@pytest.mark.parametrize("scale", [0.0, 1e-12, 1.0, 1e30])
def test_drift_of_any_size_is_drawn_within_the_frame(scale: float, result: Result) -> None:
    random = np.random.default_rng(1)
    pairs = load_pairs("bundled", limit=30)
    base = random.normal(size=(60, 8)).astype(np.float32)
    moved = (base + scale * random.normal(size=base.shape)).astype(np.float32)
    drawn = with_second_runner(result, comparison=compare(base, moved, pairs, np.arange(60)))
    page = WellFormed(render_html([drawn]))
    assert page.tags.count("svg") == 6
    drawings = re.findall(r"<svg.*?</svg>", render_html([drawn]), re.S)
    for drawing in drawings:
        assert "nan" not in drawing
        assert "inf" not in drawing
        for height in re.findall(r'(?: y|height)="([\d.-]+)"', drawing):
            assert 0 <= float(height) <= 216


def test_junit_and_markdown_survive_hostile_text(hostile_result: Result) -> None:
    suites = Xml.fromstring(render_junit(hostile_result))
    assert "<b>|data\ufffd.csv" in (suites[0].get("name") or "")
    markdown = render_markdown([hostile_result])
    assert "<script" not in markdown
    assert "@h" not in markdown
    assert {len(row) for row in rows_of(markdown)} == {3, 4, 5}
    for line in markdown.splitlines():
        assert len(line) < 1000


def test_no_name_in_a_result_begins_a_paragraph_of_markdown(result: Result) -> None:
    """An image in it would be loaded from where its author wants."""
    image = "x\n\n![](http://h/t.png)\n\n`"
    first = only(result)
    runners = tuple(replace(each, runner=f"{number}{image}") for number, each in enumerate(first.runners))
    changed = replace(first, runners=runners, model=image, artifact=image, artifact_sha256=image)
    markdown = render_markdown([judged((changed,))])
    assert "<summary>1x ![](http&#58;//h/t.png) `: largest difference" in markdown
    assert not [line for line in markdown.splitlines() if line.startswith(("!", "`"))]
    assert "`" not in re.sub(r"\\`|<summary>.*</summary>", "", markdown)


def test_several_languages_have_a_row_each_and_details(result: Result) -> None:
    one = only(result)
    both = tuple(replace(one, language=language) for language in ("de", "fr"))
    checks = (Check("fr", "groq-emulator", "max_abs", 0.0, 0.1, False),)
    page = render_html([judged(both, checks)])
    assert page.count("<details>") == 2
    unjudged = render_html([judged(both)])
    assert "An existing index can be kept in 2 of 2 comparisons." in unjudged
    assert WellFormed(page).tags.count("svg") == 12
    assert "groq-emulator fr" in page
    rows = [row for row in rows_of(render_markdown([judged(both, checks)])) if row[0] in ("de", "fr")]
    assert [row[:2] for row in rows] == [
        [language, runner] for language in ("de", "fr") for runner in ("onnxruntime", "groq-emulator")
    ]
    suites = Xml.fromstring(render_junit(judged(both, checks)))
    assert [suite.get("failures") for suite in suites] == ["0", "1"]


@pytest.mark.slow
def test_the_page_of_a_real_model(packed: Artifact) -> None:
    runners = ("onnxruntime", "groq-emulator")
    found = evaluate(packed, runners, load_pairs("bundled"), "packed", ladder=True)
    text = render_html([judged((found,))])
    page = WellFormed(text)
    assert page.tags.count("svg") == 6
    assert "Drift by step" in text
    assert found.runners[1].comparison and found.runners[1].comparison.profile
    assert f"each of {len(found.runners[1].comparison.profile.dimension_max_abs)} dimensions" in text
    assert len(text) < 2_000_000


@pytest.mark.skipif(not RESULT_MD.is_file(), reason="needs docs/result.md of the checkout")
def test_the_document_of_the_schema_names_every_field() -> None:
    document = RESULT_MD.read_text("utf-8")
    named = set(re.findall(r"`([a-z0-9_]+)`", document))
    for kind in dataclasses_of(Result):
        for field in fields(kind):
            assert field.name in named, f"{kind.__name__}.{field.name}"
    assert f"schema version {SCHEMA_VERSION}\n" in document


def dataclasses_of(kind: Any) -> Iterator[type]:
    """The dataclass and all those that its fields hold."""
    for part in get_args(kind):
        yield from dataclasses_of(part)
    if is_dataclass(kind) and isinstance(kind, type):
        yield kind
        for hint in get_type_hints(kind).values():
            yield from dataclasses_of(hint)
