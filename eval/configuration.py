"""How an embedder is set up, as far as its vectors and its record show it, and what differs."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from minilmx.wording import counted

if TYPE_CHECKING:
    from minilmx.eval.evaluation import RunnerResult

# Of details: what a report says of the set-up. Results of `mlx eval` have none of them.
INPUTS, LEAST_NORM, LARGEST_NORM = "inputs", "least_norm", "largest_norm"
NUMBERS, CONVERTED, PROMPT = "numbers", "converted_from", "prompt"
LENGTH, TRUNCATED = "sequence_length", "truncated_sentences"  # in tokens, and in texts

_UNIT = 0.01  # how far from 1 the norms of normalised embeddings may be, in the coarsest precision
_ANOTHER_MODEL = 0.5  # a mean cosine that no rounding causes; int8's is 0.97


def find_facts(values: NDArray[np.float32]) -> dict[str, str | float]:
    """What embeddings, float32 [N, D], show: the range of their norms, and a type of 16 bits."""
    if not values.size or not np.isfinite(values).all():
        return {}
    norms = np.linalg.norm(values.astype(np.float64), axis=1)
    facts: dict[str, str | float] = {LEAST_NORM: float(norms.min()), LARGEST_NORM: float(norms.max())}
    with np.errstate(over="ignore"):
        rounded = values.astype(np.float16).astype(np.float32)
    if np.array_equal(rounded, values):
        facts[NUMBERS] = "float16"
    elif not (values.view(np.uint32) & 0xFFFF).any():
        facts[NUMBERS] = "bfloat16"
    return facts


def describe_setup(details: Mapping[str, Any]) -> str:
    """The set-up in words; empty if the details do not state it."""
    words = [
        details.get(INPUTS),
        LEAST_NORM in details and _norms(details),
        NUMBERS in details and f"{details[NUMBERS]} numbers",
        CONVERTED in details and f"converted from {details[CONVERTED]}",
        LENGTH in details and _reads(details),
        details.get(PROMPT) and f"prompt {details[PROMPT]}",
    ]
    return ", ".join(str(each) for each in words if each)


def find_differences(reference: "RunnerResult", candidate: "RunnerResult") -> list[str]:
    """What may be the reason that embeddings differ, each as a clause."""
    before, after = reference.details, candidate.details
    differences = []
    if LEAST_NORM in before and LEAST_NORM in after and _is_normalized(before) != _is_normalized(after):
        differences.append(f"it is {_norms(after)}, and the reference is {_norms(before)}")
    if before.get(NUMBERS) != after.get(NUMBERS):
        differences.append(f"its numbers are {_type(after)}, and the reference's are {_type(before)}")
    if PROMPT in before and PROMPT in after and before[PROMPT] != after[PROMPT]:
        differences.append(f"it has {_prompt(after)}, and the reference has {_prompt(before)}")
    if _reads(before) != _reads(after) and (before.get(TRUNCATED) or after.get(TRUNCATED)):
        differences.append(f"it has {_reads(after)}, and the reference has {_reads(before)}")
    drift = candidate.comparison and candidate.comparison.drift
    if drift and drift.mean_cosine is not None and drift.mean_cosine < _ANOTHER_MODEL:
        differences.append(
            f"the mean cosine of the same texts is {drift.mean_cosine:.2f}, which suggests another model "
            "or other texts"
        )
    return differences


def _is_normalized(details: Mapping[str, Any]) -> bool:
    return bool(details[LEAST_NORM] >= 1 - _UNIT and details[LARGEST_NORM] <= 1 + _UNIT)


def _norms(details: Mapping[str, Any]) -> str:
    if _is_normalized(details):
        return "normalised"
    return f"not normalised (norms {details[LEAST_NORM]:.3g} to {details[LARGEST_NORM]:.3g})"


def _reads(details: Mapping[str, Any]) -> str:
    """What became of long texts, as far as it is known."""
    if LENGTH not in details:
        return "an unknown limit of tokens"
    if details[LENGTH] is None:
        return "no limit of tokens"
    if TRUNCATED not in details:
        return f"a limit of {details[LENGTH]} tokens"
    count = details[TRUNCATED]
    return f"{counted(count, 'text') if count else 'no text'} truncated to {details[LENGTH]} tokens"


def _type(details: Mapping[str, Any]) -> str:
    return str(details.get(NUMBERS, "float32"))


def _prompt(details: Mapping[str, Any]) -> str:
    return f"the prompt {details[PROMPT]}" if details[PROMPT] else "no prompt"
