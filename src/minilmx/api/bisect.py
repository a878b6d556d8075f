"""The step of a graph that causes the drift."""

from pathlib import Path

from minilmx.api.artifact import ArtifactLike, resolve_artifact
from minilmx.arguments import require_count
from minilmx.errors import EvalError
from minilmx.eval.bisect import bisect as bisection
from minilmx.eval.bisect.bisect import Bisection
from minilmx.eval.datasets.pairs import PairColumns, load_pairs, require_limit
from minilmx.files.formats import BY_NAME, TextFormat
from minilmx.progress import SILENT, Progress
from minilmx.runners.registry import AUTO


def bisect(
    artifact: ArtifactLike,
    reference: str = "onnxruntime",
    candidate: str | None = None,
    *,
    candidate_artifact: ArtifactLike | None = None,
    dataset: Path | str = "bundled",
    language: str | None = None,
    split: str | None = None,
    limit: int | None = None,
    text_format: TextFormat = BY_NAME,
    text_columns: tuple[str, str] | None = None,
    score_column: str | None = None,
    threshold: float = 0.01,
    graph: str = AUTO,
    threads: int | None = None,
    progress: Progress = SILENT,
) -> Bisection:
    """Find the step of an artifact's graph that causes the drift between two runners or artifacts.

    Compares the tensors at the boundaries of the model's layers over the first `limit` pairs (64 by
    default) of a data set, chosen as in `evaluate`. Its `verdict` says whether the sentence embeddings
    are still the same. `candidate` or `candidate_artifact` is required; `candidate` defaults to the
    reference's runner. Raises EvalError, RunnerError, ArtifactError and DatasetError.

    Example:
        >>> minilmx.bisect("out", candidate="groq-emulator", limit=8).largest_share
        'layer 4 MLP'
    """
    if candidate is None and candidate_artifact is None:
        raise EvalError("nothing to compare with", "Name a candidate runner or artifact.", unused=True)
    if candidate == reference and candidate_artifact is None:
        raise EvalError(
            f"the candidate: {candidate}, which is the reference; expected another runner or artifact",
            unused=True,
        )
    require_count("limit", limit)
    pairs = load_pairs(
        str(dataset), language, split, limit or 64, text_format, PairColumns(text_columns, score_column)
    )
    require_limit(pairs, limit)
    return bisection.bisect(
        resolve_artifact(artifact),
        reference,
        candidate or reference,
        pairs,
        candidate_artifact=None if candidate_artifact is None else resolve_artifact(candidate_artifact),
        threshold=threshold,
        graph=graph,
        threads=threads,
        progress=progress,
    )
