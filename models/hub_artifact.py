"""Artifacts on the hub: hf://ORG/NAME or hf://ORG/NAME@REVISION, in huggingface_hub's cache."""

import re
from glob import escape
from pathlib import Path

from minilmx.errors import ArtifactError, boundary
from minilmx.files.documents import MAX_BYTES, read_document
from minilmx.models.manifest import MANIFEST_NAME, Manifest
from minilmx.models.read_manifest import parse_manifest

# A path made from it has one slash less.
_SPELLING = re.compile(r"hf:/{1,2}(?P<id>[^/@]+/[^/@]+?)/?(?:@(?P<revision>.+))?\Z")


def is_hub_artifact(name: str) -> bool:
    """Whether a name begins as that of an artifact on the hub."""
    return name.startswith("hf:/")


def fetch_artifact(name: str) -> Path:
    """The folder in the hub's cache with the files that the manifest of an artifact lists, not yet verified.

    They are downloaded if the cache does not have them. The hub is asked which commit a branch or a tag is
    at; if it cannot be reached, the one in the cache is taken. Raises ArtifactError.
    """
    import huggingface_hub as hub
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined] # its client's own

    from minilmx.models.hub import cached_snapshot, is_commit, out_of_reach, refusal

    spelling = _SPELLING.match(name)
    if spelling is None:
        raise ArtifactError(f"the artifact {name:.200}; expected hf://ORG/NAME or hf://ORG/NAME@REVISION")
    hub_id, revision = spelling["id"], spelling["revision"]
    with boundary(ArtifactError, f"the artifact {name:.200}"):
        cached = cached_snapshot(hub_id, revision)
        if cached is not None and not _is_complete(cached):
            cached = None
    if cached is not None and (is_commit(revision) or hub.is_offline_mode()):
        return cached
    try:
        return _download(hub_id, revision)
    except (OSError, ValueError, HTTPError) as error:
        refused = refusal(error, hub_id, revision, ArtifactError)
        if refused is None and cached is not None:
            return cached
        what = f"{hub_id}{f' at {revision}' if revision else ''} is not in the hub cache"
        raise refused or out_of_reach(error, what, ArtifactError) from error


def _download(hub_id: str, revision: str | None) -> Path:
    """Download the manifest, and then the files that it lists, if they have the sizes that it states."""
    import huggingface_hub as hub

    from minilmx.models.hub import TIMEOUT_SECONDS

    # One request without retries, to fail at once if the hub cannot be reached.
    info = hub.HfApi().model_info(hub_id, revision=revision, files_metadata=True, timeout=TIMEOUT_SECONDS)
    sizes = {each.rfilename: each.size for each in info.siblings or ()}
    what = f"hf://{hub_id}@{info.sha}"
    if MANIFEST_NAME not in sizes:
        raise ArtifactError(f"{what} is not an artifact: it has no {MANIFEST_NAME}")
    if (sizes[MANIFEST_NAME] or 0) > MAX_BYTES:
        raise ArtifactError(f"{what}: {MANIFEST_NAME} has more than {MAX_BYTES // 1024**2} MiB")
    # The cache records which commit a branch is at.
    folder = Path(hub.hf_hub_download(hub_id, MANIFEST_NAME, revision=revision)).parent
    if folder.name != info.sha:
        raise ArtifactError(f"{what} changed during the download", "Repeat the command.")
    manifest = _read_manifest(folder)
    for file in manifest.files:
        if file.path not in sizes:
            raise ArtifactError(f"the artifact {what} is damaged: {file.path} is missing", "Upload it again.")
        if sizes[file.path] not in (None, file.size_bytes):
            raise ArtifactError(
                f"the artifact {what} is damaged: {file.path} has {sizes[file.path]} bytes; "
                f"expected {file.size_bytes}",
                "Upload it again.",
            )
    if not _is_complete(folder):
        patterns = [escape(file.path) for file in manifest.files]
        hub.snapshot_download(hub_id, revision=folder.name, allow_patterns=patterns)
    return folder


def _is_complete(folder: Path) -> bool:
    """Whether a snapshot has the files that its manifest lists."""
    if not (folder / MANIFEST_NAME).is_file():
        return False
    return all((folder / file.path).is_file() for file in _read_manifest(folder).files)


def _read_manifest(folder: Path) -> Manifest:
    file = folder / MANIFEST_NAME
    return parse_manifest(read_document(file), str(file))
