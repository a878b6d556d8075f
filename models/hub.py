"""Models on the hub: from huggingface_hub's cache on this machine, or downloaded."""

import re
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from minilmx.errors import MinilmxError, ModelError
from minilmx.models.external_data import named_data_files
from minilmx.models.model_folder import (
    INDEX,
    VOCABULARIES,
    WEIGHTS,
    ModelSource,
    all_weights,
    list_modules,
    list_shards,
)
from minilmx.models.support import check_model
from minilmx.progress import Progress

_ONNX = "onnx/model.onnx"  # its external data, if it has any, begins with this name
# What decides whether minilmx supports a model; these patterns match in every folder.
_SETTINGS = ["*config.json", "*modules.json", "*sentence_*_config.json", "*.safetensors.index.json"]
_TOKENIZER = ["*.json", "*.txt", "*.model", "README.md"]
TIMEOUT_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class HubRequest:
    """A model on the hub. `revision` None is the main branch; see resolve_model for the rest."""

    id: str
    revision: str | None
    onnx: bool
    pooling: str | None
    settings_only: bool

    def source(self, folder: Path) -> ModelSource:
        """A snapshot in the cache as a source."""
        commit = folder.name
        return ModelSource(folder, self.id, commit, "hub", f"hub {self.id} at {commit[:12]}", self.pooling)


def from_hub(request: HubRequest, progress: Progress) -> ModelSource:
    """A complete snapshot in the cache, or a new download. Raises ModelError.

    The hub is asked which commit a branch or a tag is at; if it cannot be reached, the one in the cache is
    taken.
    """
    import huggingface_hub as hub
    from huggingface_hub import errors as hub_errors
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined] # its client's own
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    hub_id, revision = request.id, request.revision
    try:
        validate_repo_id(hub_id)
    except hub_errors.HFValidationError as error:
        raise ModelError(f"unknown model {hub_id!r}; expected a folder or a hub id (org/name)") from error
    cached = cached_snapshot(hub_id, revision)
    is_complete = cached is not None and not _missing(request, cached)
    if cached and is_complete and (is_commit(revision) or hub.is_offline_mode()):
        return request.source(cached)
    try:
        # One request without retries, to fail at once if the hub cannot be reached.
        info = hub.HfApi().model_info(hub_id, revision=revision, timeout=TIMEOUT_SECONDS)
        return _download(request, [each.rfilename for each in info.siblings or ()], progress)
    except (OSError, ValueError, HTTPError) as error:
        refused = refusal(error, hub_id, revision, ModelError)
        if refused is None and cached and is_complete:
            return request.source(cached)
        raise refused or out_of_reach(error, _describe_cache(request, cached), ModelError) from error


def refusal(
    error: Exception, hub_id: str, revision: str | None, kind: type[MinilmxError]
) -> MinilmxError | None:
    """What the hub answered, as an error of this kind; None if it did not answer, or failed."""
    from huggingface_hub import errors as hub_errors

    status = error.response.status_code if isinstance(error, hub_errors.HfHubHTTPError) else None
    if isinstance(error, hub_errors.RevisionNotFoundError):
        return kind(f"the hub has no revision {revision!r} of {hub_id}")
    if isinstance(error, hub_errors.GatedRepoError):
        return kind(f"{hub_id} is gated", "Accept its terms on the hub and run `hf auth login`.")
    if isinstance(error, hub_errors.RepositoryNotFoundError):
        return kind(f"the hub has no model {hub_id}", "If it is private, run `hf auth login`.")
    if status in (401, 403):
        return kind(
            f"the hub refuses access to {hub_id} (status {status})",
            "Run `hf auth login` with a token that allows it.",
        )
    return None


def out_of_reach(error: Exception, what: str, kind: type[MinilmxError]) -> MinilmxError:
    """An error of this kind for a hub that did not answer, or failed."""
    from huggingface_hub.errors import OfflineModeIsEnabled

    if isinstance(error, OfflineModeIsEnabled):
        return kind(
            f"{what}, and HF_HUB_OFFLINE forbids a download", "Unset HF_HUB_OFFLINE, or name a folder."
        )
    lines = [line for line in str(error).splitlines() if line.strip()]
    return kind(
        f"{what}, and the hub cannot be reached ({(lines or [type(error).__name__])[0]})",
        "Check the connection, or name a folder.",
    )


def cached_main(request: HubRequest, progress: Progress) -> ModelSource | None:
    """The cached main branch in place of a known revision that is out of reach, with a message; or None."""
    folder = cached_snapshot(request.id, None)
    if request.revision is None or folder is None or _missing(request, folder):
        return None
    pinned, commit = request.revision[:12], folder.name[:12]
    progress.message(
        f"{request.id}: the known revision {pinned} is not in the hub cache and cannot be downloaded; "
        f"taking the cached main branch, {commit}"
    )
    source = request.source(folder)
    note = f"{source.note}, the main branch in the cache; the known revision {pinned} is not in the cache"
    return replace(source, note=note)


def _download(request: HubRequest, listing: list[str], progress: Progress) -> ModelSource:
    """Download the settings, check them, and then download the rest."""
    import huggingface_hub as hub
    from huggingface_hub.errors import EntryNotFoundError

    def snapshot(revision: str | None, patterns: list[str]) -> Path:
        return Path(hub.snapshot_download(request.id, revision=revision, allow_patterns=patterns))

    folder = snapshot(request.revision, _SETTINGS)  # the cache records which commit a branch is at
    commit = folder.name
    if "modules.json" not in listing:
        with suppress(EntryNotFoundError):  # the cache records that the model has none
            hub.hf_hub_download(request.id, "modules.json", revision=commit)
    source = replace(request.source(folder), listing=frozenset(listing))
    if request.settings_only:
        return source
    check_model(source, onnx=request.onnx)
    weights = (
        [f"{_ONNX}*"] if request.onnx else [str(file.relative_to(folder)) for file in all_weights(source)]
    )
    progress.message(f"downloading {request.id} at {commit} from the hub")
    return request.source(snapshot(commit, [*_TOKENIZER, *weights]))


def is_commit(revision: str | None) -> bool:
    """Whether a revision is a commit, which stays what it is, and no branch or tag."""
    return re.fullmatch(r"[0-9a-f]{40}", revision or "") is not None


def cached_snapshot(hub_id: str, revision: str | None) -> Path | None:
    """The snapshot of a revision in the cache, complete or not; None is the main branch."""
    repo, revision = _cache_folder(hub_id), revision or "main"
    ref = repo / "refs" / revision
    try:
        commit = ref.read_text("utf-8").strip() if ref.is_file() else revision
    except (OSError, ValueError):
        return None
    snapshot = repo / "snapshots" / commit
    return snapshot if "/" not in commit and commit.strip(".") and snapshot.is_dir() else None


def _missing(request: HubRequest, folder: Path) -> str | None:
    """What a snapshot lacks, as an interrupted download leaves it, or None if it is complete.

    Other libraries download only what they read: transformers leaves out modules.json. Without a
    mark that the hub has none, its absence says nothing.
    """
    source = request.source(folder)
    is_marked = (folder.parents[1] / ".no_exist" / folder.name / "modules.json").is_file()
    if source.is_plain and not is_marked and request.pooling is None:
        return "modules.json"
    try:
        encoder = source.encoder
        shards = list_shards(encoder) if (encoder / INDEX).is_file() else []
    except ModelError:
        return None  # the export says what is wrong with the file
    weights = [WEIGHTS] if (encoder / WEIGHTS).is_file() else shards or [WEIGHTS]
    needed = [encoder / "config.json"]
    if request.onnx:
        needed += [folder / _ONNX, *named_data_files(folder / _ONNX)]
    else:
        needed += [encoder / name for name in weights]
        needed += [folder / path / WEIGHTS for kind, path in list_modules(source) if kind.endswith(".Dense")]
    for file in needed:
        if not file.is_file():
            return file.relative_to(folder).as_posix()
    has_tokenizer = any((encoder / name).is_file() for name in ("tokenizer.json", *VOCABULARIES))
    return None if has_tokenizer else "a tokenizer"


def _describe_cache(request: HubRequest, cached: Path | None) -> str:
    """Why the cache does not have the wanted model, in words."""
    if cached is not None:
        return f"{request.id} at {cached.name[:12]} is in the hub cache without {_missing(request, cached)}"
    repo = _cache_folder(request.id)
    main = cached_snapshot(request.id, None)
    snapshots = sorted(path.name for path in (repo / "snapshots").glob("*"))
    if not snapshots:
        return f"{request.id} is not in the hub cache"
    held = ", ".join(f"{name} (main)" if main and name == main.name else name for name in snapshots)
    what = f"revision {request.revision!r}" if request.revision else "the main branch"
    return f"{what} of {request.id} is not in the hub cache (the cache holds {held})"


def _cache_folder(hub_id: str) -> Path:
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE, f"models--{hub_id.replace('/', '--')}")
