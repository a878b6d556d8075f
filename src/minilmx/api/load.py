"""Opening a runner on an artifact."""

from typing import Any

from minilmx.api.artifact import ArtifactLike, resolve_artifact
from minilmx.embedding.embedder import Embedder
from minilmx.progress import SILENT, Progress
from minilmx.runners.base import RunnerEntry
from minilmx.runners.registry import AUTO


def load(
    artifact: ArtifactLike,
    runner: str | RunnerEntry = "onnxruntime",
    graph: str = AUTO,
    *,
    prompt: str | None = None,
    progress: Progress = SILENT,
    **options: Any,
) -> Embedder:
    """Open a runner on an artifact, to embed texts with `encode`.

    `graph` is "auto" (the first of the dynamic-shape, the packed and the fixed graph that the artifact has
    and the runner takes), "dynamic", "fixed" or "packed". `prompt` names one of the model's prompts, which is
    prepended to every text instead of the model's default prompt, if it has one. `options` are the runner's
    own, such as `threads`. Raises ArtifactError, and RunnerError for a runner or option that does not exist
    or cannot run here.

    Example:
        >>> with minilmx.load("out") as model:
        ...     vectors = model.encode(["One sentence.", "Another one."])
        >>> vectors.shape, vectors.dtype
        ((2, 384), dtype('float32'))
    """
    opened = resolve_artifact(artifact, prompt, runner)
    return Embedder(opened, runner, graph, progress, **options)
