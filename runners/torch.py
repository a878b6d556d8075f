"""The runner `torch`: the PyTorch model itself, as reference. Needs the extra `export`."""

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from minilmx.errors import RunnerFailed, RunnerUnavailable
from minilmx.files.digest import sha256_of_file
from minilmx.models.artifact import Artifact
from minilmx.models.source import ModelSource, resolve_model, weights_file
from minilmx.models.tokenizer import TokenBatch
from minilmx.runners.base import Batch, Details, Runner, RunnerEntry, RunnerOptions

if TYPE_CHECKING:
    from minilmx.models.pytorch import SentenceModel


class TorchRunner:
    """transformers' own forward pass, with the pooling that the model's files ask for."""

    name = "torch"

    def __init__(self, model: "SentenceModel", source: ModelSource, threads: int | None) -> None:
        import torch
        import transformers

        if threads is not None:
            torch.set_num_threads(threads)
        self._model = model
        self._details: Details = {
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "threads": torch.get_num_threads(),
            "weights": source.note,
        }

    @property
    def details(self) -> Details:
        """Versions, threads, and where the weights came from."""
        return self._details

    def run(self, batch: Batch) -> NDArray[np.float32]:
        """sentence_embedding, float32 [B, D]. Raises RunnerFailed."""
        try:
            return self._model.run(TokenBatch(**batch.feeds()))[1]
        except (RuntimeError, IndexError, ValueError) as error:
            raise RunnerFailed(f"PyTorch failed on a batch: {error}") from error

    def close(self) -> None:
        """Nothing is held that closing would free."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def _missing(options: RunnerOptions) -> str | None:
    absent = [name for name in ("torch", "transformers") if importlib.util.find_spec(name) is None]
    if not absent:
        return None
    return f"{' and '.join(absent)} not installed; pip install 'minilmx[export]'"


def _open(artifact: Artifact, options: RunnerOptions) -> Runner:
    """Find the weights that the artifact was made from, and no others."""
    from minilmx.models.pytorch import load_model

    if artifact.segments is not None:
        raise RunnerUnavailable("the torch runner runs the model itself, which has no packed graph")
    source = _find_weights(artifact, options.model)
    digest = sha256_of_file(weights_file(source))
    if digest != artifact.manifest.source.weights_sha256:
        raise RunnerFailed(
            f"the weights in {source.folder} are not those of the artifact: SHA-256 {digest}, "
            f"expected {artifact.manifest.source.weights_sha256}"
        )
    return TorchRunner(load_model(source), source, options.threads)


def _find_weights(artifact: Artifact, model: Path | None) -> ModelSource:
    if model is not None:
        return resolve_model(str(model))
    recorded = artifact.manifest.source
    if recorded.origin == "folder":
        raise RunnerFailed(
            f"the artifact was exported from a folder called {recorded.id}: give the torch runner "
            "that folder with --model"
        )
    return resolve_model(recorded.id, recorded.revision)


ENTRY = RunnerEntry(
    "torch", "the PyTorch model on the CPU, in float32: the reference", _missing, _open, dynamic=True
)
