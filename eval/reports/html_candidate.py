"""The part of the page that compares one runner with the reference."""

from html import escape

from minilmx.eval.comparison import Comparison
from minilmx.eval.evaluation import Evaluation, RunnerResult
from minilmx.eval.metrics.ranks import RankDrift
from minilmx.eval.metrics.retrieval import RetrievalDrift
from minilmx.eval.metrics.table import METRIC
from minilmx.eval.reports.cells import noise_multiple
from minilmx.eval.reports.figures import GOLD_CLASSES, Figure, draw_figures
from minilmx.eval.reports.markup import notes, number, row, sentence, table, tile
from minilmx.eval.reports.notes import caution, explanations

_NOT_COMPARABLE = (
    "Embeddings of this runner or of the reference are not finite or all zeros: nothing more can be compared."
)


def candidate_section(evaluation: Evaluation, result: RunnerResult) -> str:
    """Everything that is said of one runner against the first one, in numbers and drawings."""
    comparison = result.comparison
    if comparison is None:
        return ""
    reference = evaluation.runners[0]
    parts = [
        f"<h2>{escape(result.runner)} <small>against {escape(reference.runner)}</small></h2>",
        notes(
            [*caution(reference.runner, reference.details), *caution(result.runner, result.details)],
            "caution quiet",
        ),
        notes(explanations(result), "meaning"),
    ]
    if comparison.profile is None:
        parts.append(notes([_NOT_COMPARABLE], "broken"))
        return f'<section class="candidate">{"".join(parts)}</section>'
    parts.append(_tiles(evaluation, result, comparison))
    parts += ['<div class="figures">', *map(_figure, draw_figures(evaluation, result)), "</div>"]
    if comparison.retrieval:
        parts.append(_retrieval(comparison.retrieval))
    parts.append(_worst_sentences(comparison))
    if comparison.ranks:
        parts.append(_swaps(comparison.ranks, reference.runner, result.runner))
    return f'<section class="candidate">{"".join(parts)}</section>'


def _tiles(evaluation: Evaluation, result: RunnerResult, comparison: Comparison) -> str:
    noise = evaluation.noise.largest if evaluation.noise else None
    remark = "the reference repeats itself exactly"
    if noise != 0:
        remark = f"{noise_multiple(result, noise)} times the noise floor" if noise else "noise not measured"
    tiles = [
        tile("largest difference", METRIC["max_abs"].cell(result, evaluation.runners[0]), remark),
        tile(
            "smallest cosine",
            METRIC["min_cosine"].cell(result, evaluation.runners[0]),
            f"median {METRIC['median_cosine'].cell(result, evaluation.runners[0])}",
        ),
    ]
    if comparison.correlation:
        found = comparison.correlation.spearman
        tiles.append(
            tile(
                "Spearman difference",
                f"{100 * found.estimate:+.4f}",
                f"points; 95% {100 * found.low:+.4f} to {100 * found.high:+.4f}",
            )
        )
    if comparison.ranks:
        ranks = comparison.ranks
        tiles.append(tile("rank swaps", f"{ranks.swaps:,}", f"of {ranks.comparisons:,} comparisons"))
    if comparison.retrieval:
        found_10 = comparison.retrieval.recall_at_10
        tiles.append(tile("recall@10", f"{100 * found_10:.2f}%", f"{comparison.retrieval.queries:,} queries"))
    return f'<div class="tiles">{"".join(tiles)}</div>'


def _figure(figure: Figure) -> str:
    legend = ""
    if figure.gold:
        marks = "".join(f'<i class="gold{each}"></i>' for each in range(GOLD_CLASSES))
        legend = f'<span class="legend">gold score 0 {marks} 5</span>'
    unit = f'<p class="unit">{escape(figure.unit)}</p>'
    return (
        f"<figure><h3>{escape(figure.title)}</h3>{unit}{figure.drawing}"
        f"<figcaption>{number(figure.caption)} {legend}</figcaption></figure>"
    )


def _retrieval(found: RetrievalDrift) -> str:
    """What a search returns, and whether an index may stay."""
    verdict, style = ("may stay", "pass") if found.index_may_stay else ("embed again", "fail")
    changed = "All of them get the same first 10"
    if found.first_flipped_rank is not None:
        changed = (
            f"{found.changed_queries:,} of them get another first 10, or another order of it, which "
            f"changes at rank {found.first_flipped_rank} at the earliest and at rank "
            f"{found.median_flipped_rank:g} in the median"
        )
    rows = [
        row(name, f"{100 * at_1:.2f}%", f"{100 * at_10:.2f}%")
        for name, at_1, at_10 in (
            ("in its own index", found.recall_at_1, found.recall_at_10),
            ("in the reference's index", found.mixed_recall_at_1, found.mixed_recall_at_10),
        )
    ]
    return (
        f'<h3>Search <span class="chip {style}">existing index: {verdict}</span></h3>'
        f'<p class="lead">Each of {found.queries:,} different sentences asks for its neighbours among the '
        f"others. {changed}.</p>"
        + table(("the reference's neighbours that are found", "nearest 1", "nearest 10"), rows, "numbers")
    )


def _worst_sentences(comparison: Comparison) -> str:
    profile = comparison.profile
    rows = [
        f"<tr><td>{sentence(each.text)}</td><td>{each.tokens}</td>"
        f"<td>{number(f'{each.max_abs:.2e}')}</td><td>{each.cosine:.8f}</td></tr>"
        for each in (profile.worst if profile else ())
    ]
    head = ("sentence", "tokens", "difference", "cosine")
    return "<h3>The sentences that moved furthest</h3>" + table(head, rows, "texts")


def _swaps(ranks: RankDrift, reference: str, candidate: str) -> str:
    if not ranks.worst:
        none = "None: both runners put all pairs in the same order."
        return f'<h3>Pairs that changed places</h3><p class="lead">{none}</p>'
    items = [
        f'<li><p class="margin">{number(f"{swap.margin:.2e}")}</p>'
        f"<div>{_pair(swap.higher, swap.higher_texts)}</div>"
        f"<div>{_pair(swap.lower, swap.lower_texts)}</div></li>"
        for swap in ranks.worst
    ]
    return (
        "<h3>Pairs that changed places</h3>"
        f'<p class="lead">{escape(reference)} finds the first pair more alike than the second, '
        f"{escape(candidate)} the other way round. The widest margins come first.</p>"
        f'<ol class="swaps">{"".join(items)}</ol>'
    )


def _pair(index: int, texts: tuple[str, str]) -> str:
    return f'<p class="index">pair {index}</p>{sentence(texts[0])}{sentence(texts[1])}'
