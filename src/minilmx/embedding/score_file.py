"""Scores in a file (.jsonl or .npy), with the record of the run beside it."""

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from minilmx.embedding.output_file import check_files, save_record
from minilmx.embedding.record import RunRecord
from minilmx.errors import OutputError
from minilmx.files.atomic import atomic_file, require_local
from minilmx.models.tokenizer import Pair

# Chunks of pairs with their scores, float32 [n].
Chunks = Iterable[tuple[Sequence[Pair], NDArray[np.float32]]]
_EXTENSIONS = (".jsonl", ".npy")


def check_score_output(output: Path, *, replace: bool) -> None:
    """Raise OutputError if scores cannot be saved to this path. Call this before long work."""
    require_local(output)
    if output.suffix.lower() not in _EXTENSIONS:
        raise OutputError(f"{output}: a file for scores; expected one of {', '.join(_EXTENSIONS)}")
    check_files(output, replace=replace)


def save_scores(output: Path, chunks: Chunks, record: Callable[[], RunRecord], *, replace: bool) -> RunRecord:
    """Write scores, then the record of the run: JSON lines with the texts, or a float32 [N] array.

    `record` is called once, after the last chunk; the record that was saved is returned. Raises OutputError
    and whatever iterating over the chunks raises.
    """
    with atomic_file(output, replace=replace) as temporary:
        if output.suffix.lower() == ".npy":
            scores = [scores for _, scores in chunks]
            with temporary.open("wb") as binary:
                np.save(binary, np.concatenate(scores))
        else:
            with temporary.open("w", encoding="utf-8") as stream:
                write_scores(stream.write, chunks)
        made = record()  # what it refuses leaves no output
    return save_record(output, made, replace=replace)


def write_scores(write: Callable[[str], object], chunks: Chunks) -> None:
    """Write one object per line, {"sentence1": ..., "sentence2": ..., "score": ...}, without rounding."""
    for pairs, scores in chunks:
        for (one, other), score in zip(pairs, scores.tolist(), strict=True):
            record = {"sentence1": one, "sentence2": other, "score": score}
            write(json.dumps(record, ensure_ascii=False) + "\n")
