"""A model in sentence-transformers itself."""

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minilmx.embedders.base import TextEmbedder
from minilmx.errors import ModelError, RunnerFailed, RunnerUnavailable, boundary
from minilmx.models.artifact import SearchPrompts, find_search_prompts
from minilmx.models.model_folder import list_modules, weights_files
from minilmx.models.source import resolve_model
from minilmx.progress import Advance, Progress
from minilmx.runners.base import Details

_BATCH_TEXTS = 32


class ModelEmbedder(TextEmbedder):
    """sentence-transformers on the CPU, in float32, with the model's own settings."""

    def __init__(self, model: str, name: str, progress: Progress) -> None:
        """Load a folder, a known name or a hub id. Only safetensors are read, and no code of the model runs.

        Raises RunnerUnavailable without sentence-transformers, and ModelError.
        """
        if importlib.util.find_spec("sentence_transformers") is None:
            raise RunnerUnavailable(
                f"{name} needs sentence-transformers, which is not installed",
                "Run pip install sentence-transformers.",
            )
        source = resolve_model(model, progress=progress)
        weights_files(source)
        foreign = [kind for kind, _ in list_modules(source) if not kind.startswith("sentence_transformers.")]
        if foreign:
            raise ModelError(f"{model}: the module {foreign[0]}; expected those of sentence-transformers")
        import sentence_transformers
        import torch
        import transformers

        from minilmx.models.pytorch import follow_cpu_quota

        transformers.utils.logging.disable_progress_bar()
        follow_cpu_quota()
        self.name = name
        self._note = source.note
        self._versions = {
            "sentence-transformers": sentence_transformers.__version__,
            "torch": str(torch.__version__),
            "transformers": transformers.__version__,
        }
        with boundary(ModelError, f"{model}: sentence-transformers cannot load it"):
            self._model = sentence_transformers.SentenceTransformer(
                str(source.folder),
                device="cpu",
                local_files_only=True,
                trust_remote_code=False,
                model_kwargs={"dtype": "float32", "use_safetensors": True},
            )

    @property
    def details(self) -> Details:
        """Where the weights came from, the prompt, and how many tokens are read: None without a limit."""
        length = self._model.max_seq_length  # infinite for static embeddings
        return {
            "runner": "sentence-transformers",
            "weights": self._note,
            "prompt": self._model.default_prompt_name,
            "sequence_length": length if isinstance(length, int) else None,
        }

    @property
    def search_prompts(self) -> SearchPrompts | None:  # type: ignore[override] # read only here
        """The names of the prompts of `encode_search`, None if the model has no such prompts."""
        return find_search_prompts(self._model.prompts)

    @property
    def versions(self) -> Mapping[str, str]:
        return self._versions

    def encode(self, texts: Sequence[str], advance: Advance | None = None) -> NDArray[np.float32]:
        """What sentence-transformers returns: float32 [N, D]. Raises RunnerFailed."""
        return self._encode(self._model.encode, texts, advance)

    def encode_search(
        self, queries: Sequence[str], documents: Sequence[str], advance: Advance | None = None
    ) -> NDArray[np.float32]:
        """What `encode_query` and `encode_document` return: float32 [Q + N, D]. Raises RunnerFailed."""
        sides = ((self._model.encode_query, queries), (self._model.encode_document, documents))
        return np.concatenate([self._encode(encode, texts, advance) for encode, texts in sides])

    def _encode(
        self, encode: Callable[..., Any], texts: Sequence[str], advance: Advance | None
    ) -> NDArray[np.float32]:
        with boundary(RunnerFailed, f"{self.name} failed on the texts", named=True):
            values = encode(list(texts), batch_size=_BATCH_TEXTS, show_progress_bar=False)
        if advance is not None:
            advance(len(texts))
        return np.asarray(values, dtype=np.float32)
