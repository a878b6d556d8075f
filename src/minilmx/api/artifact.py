"""The artifact that a function is given: open, or where it is."""

from pathlib import Path

from minilmx.models.artifact import Artifact, open_artifact, open_unverified
from minilmx.runners.base import RunnerEntry
from minilmx.runners.registry import find_runner

ArtifactLike = Artifact | Path | str


def resolve_artifact(
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
        is_verified_later = runner is not None and find_runner(runner).verifies
        artifact = open_unverified(artifact) if is_verified_later else open_artifact(artifact)
    if not scores:
        artifact.require_embeddings()
    return artifact if prompt is None else artifact.with_prompt(prompt)
