"""The verdict: whether embeddings are still the same, in one sentence."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from msgspec import UnsetType

from minilmx.arguments import StrEnum
from minilmx.errors import EvalError
from minilmx.eval.configuration import find_differences
from minilmx.eval.evaluation import Evaluation, RunnerResult
from minilmx.eval.limits import Check
from minilmx.eval.metrics.table import LIMITED, Better, Group
from minilmx.eval.presets import PRESETS, Preset, choose_preset, require_preset, score_preset

_NO_SEARCH = "no search could be judged (fewer than 12 different texts, or embeddings that are zero)"


class Answer(StrEnum):
    """Are the embeddings still the same? From the best answer to the worst."""

    SAME = "SAME"
    DRIFTED = "DRIFTED"
    DIFFERENT = "DIFFERENT"


@dataclass(frozen=True, slots=True)
class ComparisonVerdict:
    """The answer for one runner in one language, the reason for it, and the preset it stands on.

    `chosen` says why this preset applies.
    """

    language: str | None
    runner: str
    answer: Answer
    reason: str
    preset: str
    chosen: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """The worst answer of all comparisons, None without any, and the sentence that every report
    begins with. It also says how many of the limits that were set are kept.

    `passed` is None if there is nothing to judge. Otherwise it is true if every limit is kept, every
    comparison without a limit of its own is SAME, and every number is finite. A limit on speed or on batch
    invariance does not count as a comparison's own.
    """

    answer: Answer | None
    sentence: str
    passed: bool | None
    comparisons: tuple[ComparisonVerdict, ...]


def judge(evaluations: Sequence[Evaluation], checks: Sequence[Check], preset: str | None = None) -> Verdict:
    """The verdict by a preset (None: by the precision of what is compared).

    Raises EvalError for a preset that does not exist, or without a comparison to use it for.
    """
    named = None if preset is None else require_preset(preset)
    comparisons = []
    for evaluation in evaluations:
        reference, *others = evaluation.runners
        for each in others:
            chosen, why = (named, "as requested") if named else choose_preset(reference, each)
            limits = score_preset(chosen) if evaluation.gives_scores else PRESETS[chosen]
            answer, reason = _compare(evaluation, reference, each, limits)
            comparisons.append(
                ComparisonVerdict(evaluation.language, each.runner, answer, reason, chosen, why)
            )
    if named and not comparisons:
        raise EvalError(f"the preset {named}: one runner; expected at least two", unused=True)
    broken = not_finite(evaluations)
    answers = [each.answer for each in comparisons]
    worst = max(answers, key=list(Answer).index) if answers else None
    return Verdict(
        worst,
        _sentence(worst, comparisons, checks, broken, _what(evaluations[0])),
        _passed(comparisons, checks, broken),
        tuple(comparisons),
    )


def not_finite(evaluations: Sequence[Evaluation]) -> list[str]:
    """The runners of which an embedding is not finite, with the language if there are several."""
    return [
        f"{each.runner} ({one.language})" if len(evaluations) > 1 else each.runner
        for one in evaluations
        for each in one.runners
        if not each.finite
    ]


def _compare(
    evaluation: Evaluation, reference: RunnerResult, candidate: RunnerResult, preset: Preset
) -> tuple[Answer, str]:
    """The answer for a candidate, and the number that it stands on."""
    broken = [each.runner for each in (reference, candidate) if not each.finite]
    if broken:
        return Answer.DIFFERENT, f"{_what(evaluation)} of {' and '.join(broken)} are not finite"
    # Without gold scores there is no correlation that could drop.
    limits = {k: v for k, v in preset.search.items() if evaluation.pairs or _is_search(k)}
    searched = bool(candidate.comparison and candidate.comparison.retrieval)
    same = {k: v for k, v in preset.same.items() if searched or k not in preset.search}
    moved = next(_broken(same, reference, candidate), None)
    changed = next(_broken(limits, reference, candidate), None)
    drawn = evaluation.sample
    sample = "" if isinstance(drawn, UnsetType) else f" on {evaluation.sentences:,} of {drawn.total:,} texts"
    who = f"{candidate.runner}, compared with {reference.runner}{sample},"
    if moved is None:
        shown = _number(*next(iter(preset.same.items())), reference, candidate)
        retrieval = candidate.comparison and candidate.comparison.retrieval
        again = ", but an existing index must be embedded again"
        rest = again if retrieval and not retrieval.index_may_stay else ""
        rest += "" if len(same) == len(preset.same) else f"; {_NO_SEARCH}"
        return Answer.SAME, f"{who} differs by no more than rounding: {shown}{rest}"
    why = "".join(f"; {each}" for each in find_differences(reference, candidate))
    if changed is None:
        kept = "the order is the same" if evaluation.gives_scores else "a search returns the same"
        return Answer.DRIFTED, f"{who} differs by more than rounding, but {kept}: {moved}{why}"
    if not (searched or evaluation.gives_scores):
        return Answer.DIFFERENT, f"{who} differs by more than rounding, and {_NO_SEARCH}: {moved}{why}"
    change = "put the pairs in the same order" if evaluation.gives_scores else "return the same"
    return Answer.DIFFERENT, f"{who} does not {change}: {changed}{why}"


def _what(evaluation: Evaluation) -> str:
    return "scores" if evaluation.gives_scores else "embeddings"


def _is_search(limit: str) -> bool:
    return LIMITED[limit].group is not Group.CORRELATION


def _broken(limits: Mapping[str, float], reference: RunnerResult, candidate: RunnerResult) -> Iterator[str]:
    for name, allowed in limits.items():
        if not LIMITED[name].keeps(LIMITED[name].value(candidate, reference), allowed):
            yield _number(name, allowed, reference, candidate)


def _number(limit: str, allowed: float, reference: RunnerResult, candidate: RunnerResult) -> str:
    metric = LIMITED[limit]
    most = "at most" if metric.better is Better.LOWER else "at least"
    return f"{metric.label} {metric.format(metric.value(candidate, reference))}, {most} {allowed:g}"


def _sentence(
    answer: Answer | None,
    comparisons: Sequence[ComparisonVerdict],
    checks: Sequence[Check],
    broken: Sequence[str],
    what: str,
) -> str:
    kept = sum(check.passed for check in checks)
    state = "PASS" if kept == len(checks) else "FAIL"
    limits = f"; limits: {state}, {kept} of {len(checks)} kept" if checks else ""
    if broken:
        start = "FAIL" if answer is None else answer
        return f"{start}: {what} of {', '.join(broken)} are not finite{limits}"
    if answer is None:
        return f"one runner: nothing to compare{limits}"
    worst = [each for each in comparisons if each.answer is answer]
    first = worst[-1]
    language = f"{first.language}: " if len({each.language for each in comparisons}) > 1 else ""
    share = f"; {len(worst)} of {len(comparisons)} comparisons are {answer}" if len(comparisons) > 1 else ""
    preset = f"(preset {first.preset}: {first.chosen})"
    return f"{answer}: {language}{first.reason} {preset}{share}{limits}"


def _passed(
    comparisons: Sequence[ComparisonVerdict], checks: Sequence[Check], broken: Sequence[str]
) -> bool | None:
    if broken:
        return False
    if not comparisons and not checks:
        return None
    judged = without_limits(comparisons, checks)
    return all(check.passed for check in checks) and all(each.answer is Answer.SAME for each in judged)


def without_limits(
    comparisons: Sequence[ComparisonVerdict], checks: Sequence[Check]
) -> list[ComparisonVerdict]:
    """The comparisons to which none of the limits applies: their answer decides."""
    limited = {
        (each.language, each.runner)
        for each in checks
        if LIMITED[each.limit].group not in (Group.BATCHES, Group.SPEED)
    }
    return [each for each in comparisons if (each.language, each.runner) not in limited]
