"""Opening an artifact."""

from pathlib import Path

from minilmx.models import artifact as artifacts
from minilmx.models.artifact import Artifact
from minilmx.runners.base import RunnerEntry
from minilmx.runners.registry import find_runner

ArtifactLike = Artifact | Path | str


def open_artifact(path: Path | str) -> Artifact:
    """Open an artifact, a folder or hf://ID[@REVISION] on the hub, and verify every byte of it.

    Raises ArtifactError if it does not exist, is damaged, or is of an unknown schema.

    Example:
        >>> artifact = minilmx.open_artifact("out")
        >>> artifact.manifest.embedding_dimension
        384
    """
    return artifacts.open_artifact(Path(path))


def opened_artifact(
    artifact: ArtifactLike,
    prompt: str | None = None,
    runner: str | RunnerEntry | None = None,
    *,
    scores: bool = False,
) -> Artifact:
    """The artifact, verified here unless it is for a runner that verifies what it reads.

    Raises ArtifactError for a cross-encoder's, unless it is for `scores`.
    """
    if not isinstance(artifact, Artifact):
        verify = runner is None or not find_runner(runner).verifies
        artifact = artifacts.open_artifact(Path(artifact), verify=verify)
    if not scores:
        artifact.require_embeddings()
    return artifact if prompt is None else artifact.with_prompt(prompt)
