"""Uploading an artifact to the hub."""

from pathlib import Path

from minilmx.api.artifact import ArtifactLike, resolve_artifact
from minilmx.eval.document import load_document
from minilmx.eval.results import Result
from minilmx.progress import SILENT, Progress
from minilmx.publishing import require_repository, upload


def push(
    artifact: ArtifactLike,
    repository: str,
    *,
    result: Result | Path | str | None = None,
    progress: Progress = SILENT,
) -> str:
    """Upload an artifact to `repository`, "org/name" on the hub; returns hf://org/name@COMMIT.

    The files that the manifest lists and the model card are uploaded, in one commit; a repository that does
    not exist is created. `result` is an evaluation of this artifact, whose correlations with gold scores the
    model card then states. The token is huggingface_hub's own. Raises ArtifactError for a damaged artifact
    or a file that the export does not write, EvalError for a result of another artifact or without scores,
    and OutputError if the hub refuses the upload or cannot be reached.

    Example:
        >>> try:
        ...     minilmx.push("out", "my-model")
        ... except minilmx.MinilmxError as error:
        ...     print(error)
        the repository 'my-model'; expected a hub id (org/name)
    """
    require_repository(repository)
    if isinstance(result, Path | str):
        result = load_document(Path(result), Result)
    return upload(resolve_artifact(artifact), repository, result, progress)
