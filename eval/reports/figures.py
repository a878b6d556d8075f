"""The figures of one comparison, with titles and captions."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from msgspec import UnsetType

from minilmx.eval.evaluation import Evaluation, RunnerResult
from minilmx.eval.metrics.profile import DriftProfile, GroupDrift
from minilmx.eval.reports import svg
from minilmx.eval.reports.svg import MINUS, Axis, Series
from minilmx.wording import counted

MAX_POINTS = 3000
GOLD_CLASSES = 5
_MOST_COLUMNS, _MOST_LETTERS = 12, 8


@dataclass(frozen=True, slots=True)
class Figure:
    """A drawing with its title and caption in plain text; `unit` is that of the vertical axis."""

    title: str
    unit: str
    drawing: str
    caption: str
    gold: tuple[float, float] | None = None


def draw_figures(evaluation: Evaluation, result: RunnerResult) -> list[Figure]:
    """All figures that the comparison has numbers for; none if it is not finite."""
    comparison = result.comparison
    if comparison is None or (comparison.profile is None and not evaluation.gives_scores):
        return []
    figures = [] if comparison.profile is None else _draw_profile(evaluation, comparison.profile)
    reference = evaluation.runners[0]
    if reference.similarities and result.similarities:
        figures += _pair_scores(evaluation, reference, result)
    return figures


def _draw_profile(evaluation: Evaluation, profile: DriftProfile) -> list[Figure]:
    """Where the drift of embeddings is."""
    figures = [_by_size(profile), _by_cosine(profile)]
    if profile.by_length:
        labels = [f"{each.shortest}\N{EN DASH}{each.longest}" for each in profile.by_length]
        figures.append(_by_group("length", labels, profile.by_length, "tokens"))
    if profile.by_position:
        sample = evaluation.sample
        total = evaluation.sentences if isinstance(sample, UnsetType) else sample.total
        labels = [f"{100 * each.first / total:.0f}%" for each in profile.by_position]
        figures.append(_by_group("position", labels, profile.by_position, "tenths of the corpus"))
    if profile.by_language:
        shown = profile.by_language[:_MOST_COLUMNS]
        names = [each.language or "none" for each in shown]
        labels = [name[:_MOST_LETTERS] for name in names]
        left = len(profile.by_language) - len(shown)
        note = f" {counted(left, 'language')} with fewer sentences are left out." if left else ""
        note += f" Names are cut to {_MOST_LETTERS} characters." if labels != names else ""
        figures.append(_by_group("language", labels, shown, "as the corpus names it", note))
    return [*figures, _by_dimension(profile)]


def _by_size(profile: DriftProfile) -> Figure:
    histogram = profile.log10_max_abs
    x = svg.decade_axis(histogram.edges[0], histogram.edges[-1], "largest difference in the embedding")
    y = svg.linear_axis(0, max(histogram.counts) * 1.06, "")
    title = "Largest difference per sentence"
    worst = profile.worst[0]
    return Figure(
        title,
        "sentences",
        svg.histogram(histogram.edges, histogram.counts, x, y, title),
        f"Largest absolute difference of each of {sum(histogram.counts):,} sentences, on a logarithmic "
        f"scale. The worst is {worst.max_abs:.2e}.",
    )


def _by_cosine(profile: DriftProfile) -> Figure:
    edges = [1 - edge for edge in profile.cosine.edges]
    x = svg.linear_axis(min(*edges, 0.0), max(edges), f"1 {MINUS} cosine with the reference")
    y = svg.linear_axis(0, max(profile.cosine.counts) * 1.06, "")
    title = f"1 {MINUS} cosine"
    return Figure(
        title,
        "sentences",
        svg.histogram(edges, profile.cosine.counts, x, y, title),
        "1 minus each sentence's cosine with the reference; 0 is the same direction.",
    )


def _by_group(
    by: str, labels: Sequence[str], groups: Sequence[GroupDrift], below: str, note: str = ""
) -> Figure:
    """Columns of groups of sentences; `below` is the title of their labels, and `note` ends the caption."""
    y = svg.linear_axis(0, max(each.max_abs for each in groups) * 1.06, "difference")
    title = f"Difference by {by}"
    tall, low = [each.max_abs for each in groups], [each.mean_abs for each in groups]
    sentences = ", ".join(f"{each.sentences:,}" for each in groups)
    return Figure(
        title,
        y.title,
        svg.columns(labels, tall, low, y, title, below),
        f"Largest (pale) and mean difference by {by} ({below}); {sentences} sentences.{note}",
    )


def _by_dimension(profile: DriftProfile) -> Figure:
    tall, low = profile.dimension_max_abs, profile.dimension_mean_abs
    x = svg.linear_axis(0, len(tall), "dimension of the embedding")
    y = svg.linear_axis(0, max(tall) * 1.06, "difference")
    title = "Difference by dimension"
    order = np.argsort(-np.array(tall), kind="stable")[:3]
    named = ", ".join(f"{index} ({tall[index]:.2e})" for index in order)
    return Figure(
        title,
        y.title,
        svg.skyline(tall, low, x, y, title),
        f"Largest (pale) and mean difference of each of {len(tall)} dimensions, counted from 0. "
        f"The largest: {named}.",
    )


def _pair_scores(evaluation: Evaluation, reference: RunnerResult, result: RunnerResult) -> list[Figure]:
    """Both runners' similarities of the pairs, and the change, coloured by the gold score."""
    before, after = np.array(reference.similarities), np.array(result.similarities)
    gold = np.array(evaluation.gold)
    scale = float(gold.min()), float(gold.max())
    keep = np.arange(len(gold))
    if len(keep) > MAX_POINTS:
        keep = np.sort(np.random.default_rng(0).choice(len(keep), MAX_POINTS, replace=False))
    before, after, gold = before[keep], after[keep], gold[keep]
    delta = after - before
    low, high = float(min(before.min(), after.min())), float(max(before.max(), after.max()))
    x = svg.linear_axis(low, high, f"similarity, {_short(reference.runner)}")
    scores = svg.linear_axis(low, high, f"similarity, {_short(result.runner)}")
    reach = float(np.abs(delta).max()) * 1.08
    change = svg.linear_axis(-reach, reach, "change")
    number = counted(len(keep), "pair") + (
        f" of {evaluation.pairs:,}" if len(keep) < evaluation.pairs else ""
    )
    same, moved = "Similarity of each pair", "Change in similarity"
    return [
        Figure(
            same,
            scores.title,
            svg.scatter(_by_gold(before, after, gold, scale), x, scores, same, "diagonal"),
            f"{number}. A point off the line is a pair on which the runners disagree.",
            gold=scale,
        ),
        Figure(
            moved,
            change.title,
            svg.scatter(_by_gold(before, delta, gold, scale), x, change, moved, "zero"),
            "The change in similarity of each pair. A cloud around the line is noise; a slope is a bias.",
            gold=scale,
        ),
    ]


def _by_gold(x: svg.Floats, y: svg.Floats, gold: svg.Floats, scale: tuple[float, float]) -> list[Series]:
    low, high = scale
    shares = (gold - low) / ((high - low) or 1.0)
    classes = np.clip(shares * GOLD_CLASSES, 0, GOLD_CLASSES - 1).astype(int)
    return [
        Series(f"gold{each}", x[classes == each].tolist(), y[classes == each].tolist())
        for each in range(GOLD_CLASSES)
    ]


def _short(text: str) -> str:
    return text if len(text) <= 24 else f"{text[:23]}…"


def time_axis(count: int) -> Axis:
    """Results from first to last, numbered from 1."""
    every = max(1, count // 8)
    ticks = tuple((float(i), str(i + 1)) for i in range(0, count, every))
    return Axis(-0.4, max(count - 1, 0) + 0.4, "result, oldest first", ticks)
