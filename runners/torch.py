"""The runner `torch`: the PyTorch model itself, as reference. Needs the extra `export`."""

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from minilmx.errors import RunnerFailed
from minilmx.models.artifact import Artifact
from minilmx.models.manifest import GraphKind, Normalize
from minilmx.models.model_folder import ModelSource, weights_digest
from minilmx.models.modules import read_modules
from minilmx.models.source import resolve_model
from minilmx.models.tokenizer import TokenBatch
from minilmx.progress import Progress
from minilmx.runners.base import Batch, Details, Runner, RunnerEntry, ThreadOptions

if TYPE_CHECKING:
    from minilmx.models.pytorch import SentenceModel


@dataclass(frozen=True, slots=True)
class TorchOptions(ThreadOptions):
    """Also `model`: the folder with the PyTorch weights (None: the source that the manifest names)."""

    model: Path | None = None


class TorchRunner(Runner):
    """transformers' own forward pass, with the pooling that the model's files ask for."""

    name = "torch"

    def __init__(self, model: "SentenceModel", source: ModelSource, threads: int | None) -> None:
        import torch
        import transformers

        if threads is not None:  # otherwise loading the model has followed a CPU quota
            torch.set_num_threads(threads)
        self._model = model
        self._versions = {"torch": str(torch.__version__), "transformers": transformers.__version__}
        self._details: Details = {"threads": torch.get_num_threads(), "weights": source.note}

    @property
    def details(self) -> Details:
        return self._details

    @property
    def versions(self) -> Mapping[str, str]:
        return self._versions

    def run(self, batch: Batch) -> NDArray[np.float32]:
        """sentence_embedding, float32 [B, D], or a cross-encoder's score, [B, 1]. Raises RunnerFailed."""
        try:
            return self._model.run(TokenBatch(**batch.feeds()))[1]
        except (RuntimeError, IndexError, ValueError) as error:
            raise RunnerFailed(f"PyTorch failed on a batch: {error}") from error


def _missing(options: TorchOptions) -> str | None:
    absent = [name for name in ("torch", "transformers") if importlib.util.find_spec(name) is None]
    if not absent:
        return None
    return f"{' and '.join(absent)} not installed; pip install 'minilmx[export]'"


def _open(artifact: Artifact, options: TorchOptions, progress: Progress) -> Runner:
    """Find the weights and modules that the artifact was made from, and no others."""
    from minilmx.models.pytorch import SentenceModel

    source = _find_weights(artifact, options.model)
    digest = weights_digest(source)
    if digest != artifact.manifest.source.weights_sha256:
        raise RunnerFailed(
            f"the SHA-256 of the weights in {source.folder}: {digest}; expected "
            f"{artifact.manifest.source.weights_sha256}, from which the artifact was exported"
        )
    _require_modules(artifact, source)
    truncation = artifact.manifest.truncation
    chosen = artifact.manifest.embedding_dimension if truncation and truncation.renormalized else None
    return TorchRunner(SentenceModel.load(source, chosen), source, options.threads)


def _require_modules(artifact: Artifact, source: ModelSource) -> None:
    """Raise RunnerFailed unless the model's folder has the pooling and all that follows of the artifact."""
    found, made = read_modules(source), artifact.manifest
    here = (found.pooling, *found.head, *[Normalize()] * found.normalized)
    stated = (made.pooling, *(made.head or ()), *[Normalize()] * made.normalized)
    if here != stated:
        raise RunnerFailed(
            f"the modules in {source.folder}: {' + '.join(map(str, here))}; expected "
            f"{' + '.join(map(str, stated))}, from which the artifact was exported",
            "Export the model again.",
        )


def _find_weights(artifact: Artifact, model: Path | None) -> ModelSource:
    pooling = None if artifact.gives_scores else artifact.manifest.pooling
    if model is not None:
        return resolve_model(str(model), pooling=pooling)
    recorded = artifact.manifest.source
    if recorded.origin == "folder":
        raise RunnerFailed(
            f"the source of the artifact: a folder called {recorded.id}, whose path is not recorded",
            "Give the torch runner that folder as its option model.",
        )
    return resolve_model(recorded.id, recorded.revision, pooling=pooling)


ENTRY = RunnerEntry(
    "torch",
    "the PyTorch model on the CPU, in float32: the reference",
    _missing,
    _open,
    TorchOptions,
    frozenset({GraphKind.FIXED, GraphKind.DYNAMIC}),
    versions=lambda options: {name: metadata.version(name) for name in ("torch", "transformers")},
)
