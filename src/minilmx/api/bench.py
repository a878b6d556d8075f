"""The speed of runners, side by side."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from minilmx.api.artifact import ArtifactLike, resolve_artifact
from minilmx.arguments import require_count, require_strings
from minilmx.errors import EvalError
from minilmx.eval.benchmark import Benchmark, choose_contenders, measure
from minilmx.eval.datasets.pairs import BUNDLED, load_pairs
from minilmx.files.texts import open_texts
from minilmx.progress import SILENT, Progress


def benchmark(
    artifact: ArtifactLike,
    texts: Path | str | None = None,
    *,
    column: str | None = None,
    runners: Sequence[str] = ("onnxruntime",),
    graphs: Sequence[str] = (),
    rounds: int = 5,
    progress: Progress = SILENT,
    **options: Any,
) -> Benchmark:
    """Measure runners of an artifact side by side on the same texts, in interleaved rounds.

    Every runner runs each of `graphs` ("dynamic", "fixed", "packed"; by default, all that it supports);
    the first combination is the baseline. `texts` is a file; by default, the bundled sentences are used.
    Raises RunnerError, ArtifactError, DatasetError and EvalError.

    Example:
        >>> benchmark = minilmx.benchmark("out", "sentences.txt", graphs=["dynamic", "fixed"], rounds=1)
        >>> [timing.contender.name for timing in benchmark.timings]
        ['onnxruntime dynamic', 'onnxruntime fixed']
    """
    require_strings("runners", runners)
    require_strings("graphs", graphs)
    require_count("rounds", rounds)
    if column is not None and texts is None:
        raise EvalError(f"the column {column!r}: no file of texts; expected one", unused=True)
    opened = resolve_artifact(artifact)
    contenders = choose_contenders(opened, runners, graphs, options)
    sentences = load_pairs(BUNDLED).texts if texts is None else list(open_texts(str(texts), column))
    name = BUNDLED if texts is None else Path(texts).name
    return measure(opened, contenders, sentences, name, options, rounds, progress)
