"""What is embedded: short texts and long ones, both of STSb in English."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from minilmx.eval.datasets.pairs import load_pairs
from minilmx.models.manifest import Shape
from minilmx.models.tokenizer import Tokenizer

STSB = Path(__file__).parents[2] / "shared" / "stsb"
MAX_TOKENS = 128

_LONG_TEXTS = 500
_CALIBRATION_SENTENCES = 1000
_SENTENCES_A_LONG_TEXT = 8


@dataclass(frozen=True, slots=True)
class Workload:
    """N texts to embed, truncated at MAX_TOKENS.

    `gold` is float64 [N / 2] where text i and text N / 2 + i are a pair with a score, else None.
    """

    name: str
    about: str
    texts: list[str]
    gold: NDArray[np.float64] | None


def read_workloads() -> dict[str, Workload]:
    """Both workloads by name."""
    return {"short": _short(), "long": _long()}


def count_tokens(texts: list[str], tokenizer_file: Path) -> NDArray[np.int64]:
    """Tokens of each text, special ones included, no padding: int64 [N]."""
    return Tokenizer(tokenizer_file, Shape(1, MAX_TOKENS)).encode(texts).token_counts


def read_calibration() -> list[str]:
    """Sentences that static int8 may be calibrated on: the train split's first ones."""
    return load_pairs(str(STSB / "stsb-en-train.csv")).sentences1[:_CALIBRATION_SENTENCES]


def _short() -> Workload:
    """Every sentence of the test split: all first ones, then all second ones."""
    pairs = load_pairs(str(STSB / "stsb-en-test.csv"))
    return Workload("short", "every sentence of STSb-en test", pairs.texts, pairs.gold)


def _long() -> Workload:
    """Eight sentences in a row of the train split: from its first, then from its fifth on."""
    pairs = load_pairs(str(STSB / "stsb-en-train.csv"))
    sentences = [text for pair in zip(pairs.sentences1, pairs.sentences2, strict=True) for text in pair]
    step = _SENTENCES_A_LONG_TEXT
    starts = [start for offset in (0, step // 2) for start in range(offset, len(sentences) - step + 1, step)]
    texts = [" ".join(sentences[start : start + step]) for start in starts[:_LONG_TEXTS]]
    return Workload("long", f"{_LONG_TEXTS:,} texts of {step} sentences of STSb-en train", texts, None)
