"""An artifact to the hub: what is uploaded, and the metadata of its model card."""

from typing import TYPE_CHECKING, Any

from minilmx.errors import ArtifactError, EvalError, OutputError, boundary
from minilmx.eval.consumers.form import require_own_form
from minilmx.export.folder import model_card
from minilmx.files.documents import read_document
from minilmx.models.artifact import Artifact
from minilmx.models.external_data import is_cached_blob
from minilmx.models.hub_names import is_hub_id
from minilmx.models.manifest import CARD, MANIFEST_NAME
from minilmx.progress import Progress

if TYPE_CHECKING:
    from minilmx.eval.results import Result


def require_repository(repository: str) -> None:
    """Raise OutputError unless this is the name of a repository on the hub."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    try:
        is_valid = is_hub_id(repository)
        validate_repo_id(repository)
    except HFValidationError:
        is_valid = False
    if not is_valid:
        raise OutputError(f"the repository {repository!r:.200}; expected a hub id (org/name)")


def upload(artifact: Artifact, repository: str, result: "Result | None", progress: Progress) -> str:
    """Upload the listed files and the model card in one commit; returns hf://org/name@COMMIT.

    Raises ArtifactError, EvalError and OutputError; see `minilmx.push`.
    """
    import huggingface_hub as hub
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined] # its client's own

    from minilmx.models.hub import out_of_reach, refusal

    require_own_form(artifact)
    card = render_card(artifact, result)
    try:
        api = hub.HfApi()
        api.create_repo(repository, exist_ok=True)
        progress.message(f"uploading {len(artifact.manifest.files)} files to {repository}")
        additions = []
        for file in artifact.manifest.files:
            content = artifact.read(artifact.path / file.path)
            addition = hub.CommitOperationAdd(file.path, content)
            # Large files are uploaded here, and their bytes let go of.
            api.preupload_lfs_files(repository, [addition])
            additions.append(addition)
        document = read_document(artifact.path / MANIFEST_NAME)
        additions.append(hub.CommitOperationAdd(MANIFEST_NAME, document))
        if card is not None:
            additions.append(hub.CommitOperationAdd(CARD, card.encode()))
        commit = api.create_commit(
            repository, additions, commit_message=f"Artifact {artifact.digest[:12]} by minilmx"
        )
    except (OSError, ValueError, HTTPError) as error:
        what = f"{repository} was not changed"
        raise refusal(error, repository, None, OutputError) or out_of_reach(
            error, what, OutputError
        ) from error
    return f"hf://{repository}@{commit.oid}"


def render_card(artifact: Artifact, result: "Result | None") -> str | None:
    """The artifact's model card, with the correlations of a result in its metadata.

    None if the manifest lists the card, as in an artifact of an earlier version. Raises ArtifactError, and
    EvalError for a result of another artifact, one without scores, and one that such an artifact cannot have.
    """
    from huggingface_hub import ModelCard, ModelCardData

    file = artifact.path / CARD
    is_listed = any(each.path == CARD for each in artifact.manifest.files)
    if is_listed and result is not None:
        raise EvalError(
            f"{artifact.path}: the manifest lists {CARD}; expected an unlisted card, which can be changed",
            "Export the model again.",
        )
    if is_listed:
        return None
    if file.is_symlink() and not is_cached_blob(file):
        raise ArtifactError(f"{file} is a symbolic link; expected a regular file")
    with boundary(ArtifactError, f"{file} cannot be read"):
        card = ModelCard(read_document(file).decode() if file.exists() else model_card(artifact.manifest))
        if result is not None:
            found = _eval_results(artifact, result)
            stated: dict[str, Any] = card.data.to_dict()  # type: ignore[no-untyped-call]
            stated |= {"model_name": artifact.manifest.source.id, "eval_results": found}
            card.data = ModelCardData(**stated)
        return str(card)


def _eval_results(artifact: Artifact, result: "Result") -> list[object]:
    """The correlations of each runner with the gold scores, in the hub's form."""
    from huggingface_hub import EvalResult

    from minilmx.eval.datasets.pairs import BUNDLED
    from minilmx.eval.reports.mteb import TASKS

    found: list[object] = []
    for one in result.evaluations:
        if one.artifact_sha256 != artifact.digest:
            raise EvalError(
                f"the result belongs to artifact {one.artifact_sha256[:12]}; expected {artifact.digest[:12]}"
            )
        task = TASKS.get(one.dataset)
        found += [
            EvalResult(
                task_type="sentence-similarity",
                dataset_type=task.hub_id if task else "unknown",
                dataset_name="STSb, shipped with minilmx" if one.dataset == BUNDLED else one.dataset,
                dataset_config=one.language,
                dataset_split=one.split,
                dataset_revision=one.dataset_revision,
                metric_type=f"{name}_{artifact.similarity}",
                metric_name=f"{name}, {runner.runner}",
                metric_value=getattr(runner.scores, name),
            )
            for runner in one.runners
            for name in ("spearman", "pearson")
            if getattr(runner.scores, name) is not None
        ]
    if not found:
        raise EvalError("the result has no correlation with gold scores; expected one of graded pairs")
    return found
