"""The presets: how far the embeddings of one model move in each precision, and which one applies.

docs/evaluation.md, "Presets", states the measurement behind every number.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from minilmx.arguments import StrEnum
from minilmx.errors import EvalError
from minilmx.eval.limits import Limits

if TYPE_CHECKING:
    from minilmx.eval.evaluation import RunnerResult


class Precision(StrEnum):
    """The precisions that have a preset, from the finest to the coarsest."""

    FLOAT32 = "float32"
    FLOAT16 = "float16"
    BFLOAT16 = "bfloat16"
    INT8 = "int8"


@dataclass(frozen=True, slots=True)
class Preset:
    """Two sets of limits: within `same`, embeddings differ by no more than rounding; within `search`,
    they differ by more, but a search returns the same."""

    same: Limits
    search: Limits


# The largest that was measured in float32 is 0.0617 points, which near-ties make; here 4 times as much.
_SEARCH = Limits(
    max_spearman_drop=4 * 0.0617,
    min_recall_at_1=0.99,
    min_recall_at_10=0.99,
    min_recall_at_1_in_old_index=0.99,
    min_recall_at_10_in_old_index=0.99,
)

# A margin times the largest that was measured. In int8 rounding also changes what a search returns.
PRESETS: Mapping[Precision, Preset] = MappingProxyType(
    {
        Precision.FLOAT32: Preset(Limits(max_relative=10 * 2.82e-6), _SEARCH),
        Precision.FLOAT16: Preset(Limits(max_relative=3 * 3.81e-3), _SEARCH),
        Precision.BFLOAT16: Preset(Limits(max_relative=3 * 2.17e-2), _SEARCH),
        Precision.INT8: Preset(
            Limits(
                max_relative=1.5 * 0.259,
                min_recall_at_10=1 - 1.5 * (1 - 0.9296),
                min_recall_at_10_in_old_index=1 - 1.5 * (1 - 0.9447),
            ),
            _SEARCH,
        ),
    }
)

# Of a cross-encoder's scores: at least 99% of the comparisons of two pairs keep their order.
_SCORES = Limits(max_spearman_drop=_SEARCH["max_spearman_drop"], min_kendall_tau=0.98)

# The precision of runners whose details do not state one, and how other details write a precision.
_OF_RUNNER = {"groq": Precision.FLOAT16, "groq-emulator": Precision.FLOAT16}
_SPELLINGS = {
    **{each.value: each for each in Precision},
    "f32": Precision.FLOAT32,
    "f16": Precision.FLOAT16,
    "bf16": Precision.BFLOAT16,
}


def require_preset(name: str) -> Precision:
    """The preset of this name. Raises EvalError."""
    try:
        return Precision(name)
    except ValueError:
        raise EvalError(f"unknown preset {name!r}; expected one of {', '.join(Precision)}") from None


def score_preset(name: Precision) -> Preset:
    """The preset for a cross-encoder's scores, which no search returns: its order counts instead."""
    return Preset(Limits(max_relative=PRESETS[name].same["max_relative"]), _SCORES)


def choose_preset(reference: "RunnerResult", candidate: "RunnerResult") -> tuple[Precision, str]:
    """The preset of the coarser precision that two runners compute in, and why it was chosen.

    A runner states its precision in its details; of the runners without one, groq and groq-emulator
    compute in float16. All others count as float32.
    """
    coarsest = max((candidate, reference), key=lambda each: list(Precision).index(_precision(each)))
    precision = _precision(coarsest)
    if precision is Precision.FLOAT32:
        return precision, "nothing states a lower precision"
    return precision, f"{coarsest.runner} computes in {precision}"


def _precision(result: "RunnerResult") -> Precision:
    details = result.details
    name = details.get("runner", result.runner)  # of saved embeddings, the details name the runner
    return _SPELLINGS.get(str(details.get("precision")), _OF_RUNNER.get(str(name), Precision.FLOAT32))
