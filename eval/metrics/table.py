"""The table of metrics: every number that a report shows or a limit checks, and how it is shown.

Tables, tiles, histories, limits and the limit options of the command line are made from it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from minilmx.arguments import StrEnum

if TYPE_CHECKING:
    from minilmx.eval.evaluation import RunnerResult

Value = Callable[["RunnerResult", "RunnerResult"], float | None]


class Better(StrEnum):
    """The direction in which a metric is better."""

    LOWER = "lower"
    HIGHER = "higher"


class Group(StrEnum):
    """The heading under which a metric is shown; a drift is from the reference, which is named."""

    CORRELATION = "Correlation with the gold scores"
    DRIFT = "Drift from"
    RELEVANCE = "Search with relevance judgements"
    ORDER = "Order and search"
    BATCHES = "In other batches"
    SPEED = "Speed, end to end"


@dataclass(frozen=True, slots=True)
class Metric:
    """One number of a runner's result, in `unit`, formatted with `digits`.

    `value(result, reference)` is None if the number is not defined. An `absolute` metric is
    defined for the reference, too; all others compare a runner with the reference. `limit` is
    the name of the limit on it and `about` its help text. An `optional` metric is shown only if a
    runner has a number for it. A limit `of_cards` is for the runners that have the number; if none
    has it, the limit is broken. `absent` is shown in place of a number that is missing.
    """

    name: str
    label: str
    unit: str
    digits: str
    better: Better
    group: Group
    value: Value
    limit: str
    about: str
    absolute: bool = False
    optional: bool = False
    of_cards: bool = False
    absent: str = "undefined"

    def format(self, value: float | None) -> str:
        """A value as every report shows it."""
        return self.absent if value is None else format(value, self.digits)

    def cell(self, result: "RunnerResult", reference: "RunnerResult") -> str:
        """The value of a runner as a cell.

        It is empty if it would compare the reference with itself, or if an optional number is absent.
        """
        if not self.absolute and result.comparison is None:
            return ""
        drift = result.comparison.drift if result.comparison else None
        if self.group is Group.DRIFT and drift and not drift.finite:
            return "not finite"
        if self.group is Group.BATCHES and not result.finite:
            return "not finite"
        value = self.value(result, reference)
        return "" if self.optional and value is None else self.format(value)

    def keeps(self, value: float | None, allowed: float) -> bool:
        """Whether a value keeps a limit. A value that is not defined does not."""
        if value is None:
            return False
        return value <= allowed if self.better is Better.LOWER else value >= allowed


def _at(path: str, scale: float = 1) -> Value:
    """The number at a path of attributes of the result, times `scale`; None if a part of it is missing."""

    def find(result: "RunnerResult", reference: "RunnerResult") -> float | None:
        value: Any = result
        for name in path.split("."):
            value = getattr(value, name, None)
        return None if value is None else float(scale * value)

    return find


def _drop(name: str) -> Value:
    score = _at(f"scores.{name}", 100)

    def find(result: "RunnerResult", reference: "RunnerResult") -> float | None:
        before, after = score(reference, reference), score(result, reference)
        return None if before is None or after is None else before - after

    return find


def _drift(name: str, label: str, digits: str, better: Better, limit: str, about: str) -> Metric:
    value = _at(f"comparison.drift.{name}")
    return Metric(name, label, "", digits, better, Group.DRIFT, value, limit, about)


def _of(part: str, name: str, label: str, digits: str, better: Better, limit: str, about: str) -> Metric:
    value = _at(f"comparison.{part}.{name}")
    return Metric(name, label, "", digits, better, Group.ORDER, value, limit, about)


def _batches(name: str, label: str, digits: str, better: Better, limit: str, about: str) -> Metric:
    return Metric(f"batch_{name}", label, "", digits, better, Group.BATCHES, _at(f"invariance.{name}"),
                  limit, about, True, absent="not measured")  # fmt: skip


def _speed(
    name: str, label: str, unit: str, digits: str, better: Better, value: Value, limit: str, about: str
) -> Metric:
    return Metric(name, label, unit, digits, better, Group.SPEED, value, limit, about, True, True)


def _of_cards(name: str, label: str, limit: str, about: str) -> Metric:
    value = _at(name.removesuffix("ms") + "seconds", 1000)
    return Metric(name, label, "ms", ",.4f", Better.LOWER, Group.SPEED, value, limit, about, True, True, True)


_LOWER, _HIGHER = Better.LOWER, Better.HIGHER

METRICS: tuple[Metric, ...] = (
    Metric("spearman", "Spearman x100", "x100", ".4f", _HIGHER, Group.CORRELATION,
           _at("scores.spearman", 100), "min_spearman",
           "Smallest Spearman x100 of any runner.", absolute=True),
    Metric("pearson", "Pearson x100", "x100", ".4f", _HIGHER, Group.CORRELATION,
           _at("scores.pearson", 100), "min_pearson",
           "Smallest Pearson x100 of any runner.", absolute=True),
    Metric("spearman_drop", "Spearman drop", "points", "+.4f", _LOWER, Group.CORRELATION, _drop("spearman"),
           "max_spearman_drop", "Points of Spearman x100 that a runner may be below the reference."),
    Metric("pearson_drop", "Pearson drop", "points", "+.4f", _LOWER, Group.CORRELATION, _drop("pearson"),
           "max_pearson_drop", "Points of Pearson x100 that a runner may be below the reference."),
    Metric("ndcg_at_10", "nDCG@10", "", ".4f", _HIGHER, Group.RELEVANCE, _at("relevance.ndcg_at_10"),
           "min_ndcg_at_10", "Smallest nDCG@10, 0 to 1, of any runner.", absolute=True, optional=True),
    Metric("mrr_at_10", "MRR@10", "", ".4f", _HIGHER, Group.RELEVANCE, _at("relevance.mrr_at_10"),
           "min_mrr_at_10", "Smallest MRR@10, 0 to 1, of any runner.", absolute=True, optional=True),
    _drift("max_relative", "max relative difference", ".2e", _LOWER, "max_relative",
           "Largest L2 distance of an embedding from the reference's, relative to its norm."),
    _drift("max_abs", "max abs", ".2e", _LOWER, "max_abs",
           "Largest absolute difference of an embedding from the reference's."),
    _drift("mean_abs", "mean abs", ".2e", _LOWER, "max_mean_abs", "Largest mean absolute difference."),
    _drift("rms_abs", "RMS", ".2e", _LOWER, "max_rms_abs", "Largest root mean square of the differences."),
    _drift("p50_abs", "median abs", ".2e", _LOWER, "max_median_abs",
           "Largest median of the absolute differences."),
    _drift("p99_abs", "p99 abs", ".2e", _LOWER, "max_p99_abs",
           "Largest 99th percentile of the absolute differences."),
    _drift("p99_9_abs", "p99.9 abs", ".2e", _LOWER, "max_p99_9_abs",
           "Largest 99.9th percentile of the absolute differences."),
    _drift("max_ulps", "max float16 ulps", ".1f", _LOWER, "max_ulps",
           "Largest difference in float16 units in the last place."),
    _drift("mean_ulps", "mean float16 ulps", ".2f", _LOWER, "max_mean_ulps",
           "Largest mean difference in float16 units in the last place."),
    _drift("min_cosine", "min cosine", ".8f", _HIGHER, "min_cosine",
           "Smallest cosine of a sentence's embedding with the reference's."),
    _drift("p1_cosine", "p1 cosine", ".8f", _HIGHER, "min_p1_cosine",
           "Smallest 1st percentile of the sentences' cosines with the reference."),
    _drift("median_cosine", "median cosine", ".8f", _HIGHER, "min_median_cosine",
           "Smallest median of the sentences' cosines with the reference."),
    _drift("mean_cosine", "mean cosine", ".8f", _HIGHER, "min_mean_cosine",
           "Smallest mean of the sentences' cosines with the reference."),
    Metric("max_delta_cosine", "max change in similarity", "", ".2e", _LOWER, Group.ORDER,
           _at("comparison.max_delta_cosine"), "max_similarity_change",
           "Largest change in the similarity of a sentence pair."),
    Metric("mean_delta_cosine", "mean change in similarity", "", ".2e", _LOWER, Group.ORDER,
           _at("comparison.mean_delta_cosine"), "max_mean_similarity_change",
           "Largest mean change in the similarity of a sentence pair."),
    _of("ranks", "swaps", "rank swaps", ",.0f", _LOWER, "max_rank_swaps",
        "Most swaps in the order of two sentence pairs."),
    _of("ranks", "max_rank_shift", "most places a pair moved", ",.1f", _LOWER, "max_rank_shift",
        "Most places that a sentence pair may move."),
    _of("ranks", "kendall_tau", "Kendall tau", ".6f", _HIGHER, "min_kendall_tau",
        "Smallest Kendall tau of the order of the sentence pairs, -1 to 1."),
    _of("retrieval", "recall_at_1", "recall@1", ".4f", _HIGHER, "min_recall_at_1",
        "Smallest share, 0 to 1, of the reference's nearest neighbours that the runner finds."),
    _of("retrieval", "recall_at_10", "recall@10", ".4f", _HIGHER, "min_recall_at_10",
        "Smallest share, 0 to 1, of the reference's 10 nearest neighbours that the runner finds."),
    _of("retrieval", "mixed_recall_at_1", "recall@1 in the old index", ".4f", _HIGHER,
        "min_recall_at_1_in_old_index", "Like min_recall_at_1, but in the reference's index."),
    _of("retrieval", "mixed_recall_at_10", "recall@10 in the old index", ".4f", _HIGHER,
        "min_recall_at_10_in_old_index", "Like min_recall_at_10, but in the reference's index."),
    _of("retrieval", "changed_queries", "queries whose first 10 changed", ",.0f", _LOWER,
        "max_changed_queries", "Most queries whose first 10 neighbours change."),
    _batches("min_cosine", "min cosine in other batches", ".8f", _HIGHER, "min_batch_cosine",
             "Smallest cosine between a runner's embeddings of a text alone and in other batches."),
    _batches("max_abs", "max abs in other batches", ".2e", _LOWER, "max_batch_abs",
             "Largest difference between a runner's embeddings of a text alone and in other batches."),
    _speed("sentences_per_second", "sentences/s", "sentences/s", ",.1f", _HIGHER,
           _at("timing.sentences_per_second"),
           "min_sentences_per_second", "Fewest sentences per second of any runner."),
    _speed("latency_ms", "latency ms (measured)", "ms", ",.2f", _LOWER,
           _at("timing.latency_seconds", 1000),
           "max_latency_ms", "Longest mean time of one batch of any runner, in milliseconds."),
    _speed("inferences_per_second", "inferences/s (measured)", "1/s", ",.1f", _HIGHER,
           lambda result, _: result.timing.batches / result.timing.seconds if result.timing else None,
           "min_inferences_per_second", "Fewest batches per second of any runner."),
    _of_cards("on_chip_compute_ms", "on-chip compute ms (cycles)", "max_on_chip_compute_ms",
              "Longest compute time of one batch on the chip, from the compiler's cycles, in milliseconds."),
    _of_cards("with_pcie_ms", "with PCIe ms (GroqFlow's estimate)", "max_with_pcie_ms",
              "Longest time of one batch including PCIe, GroqFlow's estimate, in milliseconds."),
    _of_cards("sdk_call_ms", "inside the SDK call ms (measured)", "max_sdk_call_ms",
              "Longest mean time of one batch inside the SDK call, in milliseconds."),
)  # fmt: skip

METRIC = {metric.name: metric for metric in METRICS}
LIMITED = {metric.limit: metric for metric in METRICS}
# What the command line offers: the name of each limit and its help text.
LIMIT_OPTIONS = tuple((name, metric.about) for name, metric in LIMITED.items())
