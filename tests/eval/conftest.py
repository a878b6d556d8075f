"""Small real evaluations to render, of plain and of hostile sentences."""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from minilmx.eval.datasets.pairs import SentencePairs, load_pairs
from minilmx.eval.evaluation import evaluate
from minilmx.eval.limits import LimitRules, Limits
from minilmx.eval.metrics.ranks import Swap
from minilmx.eval.results import Result, check_limits
from minilmx.models.artifact import Artifact

ResultOf = Callable[..., Result]
HOSTILE = (
    "<script>window.hit = 1; alert(1)</script>",
    "<img src=x onerror='window.hit = 1'>",
    '"><svg onload="window.hit = 1">',
    "</style></details></main><h1>gone</h1>",
    "&lt;b&gt; is not a tag, and ]]> does not end",
    "שלום עולם, 12 < 34",
    "\u202emirrored\u2066 and unclosed",
    "x" * 10_000,
    "a | b \\| c `d` *e* [f](http://g) @h :i: $j$ ~~k~~",
    "one\nline\r\nand\ttab",
    "null \x00 bell \x07 and escape \x1b[31m",
    "🐈‍⬛" * 200,
    "plain words",
    "and others",
)


@pytest.fixture(scope="session")
def result_of(tiny_original: Artifact) -> ResultOf:
    """Evaluate the tiny artifact: `result_of(pairs, runners, limits)`."""

    def make(
        pairs: SentencePairs | None = None,
        runners: tuple[str, ...] = ("onnxruntime", "groq-emulator"),
        limits: Limits | None = None,
    ) -> Result:
        found = evaluate(tiny_original, runners, pairs or load_pairs("bundled", limit=30))
        rules = LimitRules({(None, None): limits or Limits()})
        return check_limits([found], rules, None)

    return make


@pytest.fixture(scope="session")
def result(result_of: ResultOf) -> Result:
    """30 bundled pairs on onnxruntime and the emulator, without limits."""
    return result_of()


@pytest.fixture(scope="session")
def hostile_result(result_of: ResultOf) -> Result:
    """Sentences that would break a page, a table or a document that does not escape them."""
    first, second = list(HOSTILE), [*HOSTILE[1:], HOSTILE[0]]
    gold = np.linspace(0, 5, len(first))
    pairs = SentencePairs(
        name="<b>|data\x07.csv",
        revision=None,
        language=None,
        split=None,
        sentences1=first,
        sentences2=second,
        gold=gold,
    )
    found = result_of(pairs, limits=Limits(max_abs=1e-12, min_cosine=0.5))
    (evaluation,) = found.evaluations
    reference, emulator = evaluation.runners
    comparison = emulator.comparison
    assert comparison and comparison.profile and comparison.ranks
    # The tiny model does not choose them all as the worst; a report must show any.
    worst = tuple(
        replace(comparison.profile.worst[0], index=index, text=text) for index, text in enumerate(HOSTILE)
    )
    swaps = tuple(
        Swap(index, 0, pair, (HOSTILE[0], HOSTILE[7]), 0.1) for index, pair in enumerate(pairwise(HOSTILE))
    )
    comparison = replace(
        comparison,
        profile=replace(comparison.profile, worst=worst),
        ranks=replace(comparison.ranks, worst=swaps),
    )
    runners = (reference, replace(emulator, comparison=comparison))
    return replace(found, evaluations=(replace(evaluation, runners=runners),))
