"""An artifact in sentence-transformers 6, which opens no ONNX file without optimum.

    >>> from minilmx.sentence_transformers import SentenceTransformer
    >>> SentenceTransformer("out").encode(["One sentence."]).shape
    (1, 384)

sentence-transformers imports a class that modules.json names only if it is one of its own, or with
trust_remote_code. An artifact names none of ours, so that it stays data; the class is imported here instead.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import sentence_transformers
import torch
from sentence_transformers.base.modules import InputModule

from minilmx.api.artifact import ArtifactLike
from minilmx.api.load import load
from minilmx.errors import OutputError
from minilmx.models.artifact import Artifact, open_artifact
from minilmx.models.tokenizer import TokenBatch, open_tokenizer
from minilmx.runners.registry import AUTO


class Module(InputModule):  # type: ignore[misc] # it has no types here
    """All of an artifact, from texts to embeddings, as one module on the CPU."""

    def __init__(
        self,
        artifact: ArtifactLike,
        runner: str = "onnxruntime",
        graph: str = AUTO,
        **options: Any,
    ) -> None:
        """Open a runner, as `minilmx.load` does. Raises ArtifactError and RunnerError."""
        super().__init__()
        self.embedder = load(artifact, runner, graph, **options)
        # Without the default prompt: sentence-transformers prepends prompts itself.
        self._tokenizer = open_tokenizer(self.artifact, "")
        self._template = self._tokenizer.encode([""])

    @property
    def artifact(self) -> Artifact:
        """The artifact, with the graph that runs."""
        return self.embedder.artifact

    @property
    def max_seq_length(self) -> int:
        """The most tokens that are read of a text."""
        return self.artifact.shape.sequence_length

    def get_embedding_dimension(self) -> int:
        """The numbers in an embedding."""
        return self.embedder.dimension

    def preprocess(
        self, inputs: Sequence[str], prompt: str | None = None, **_: Any
    ) -> dict[str, torch.Tensor]:
        """The tokens of N texts, each int64 [N, S]."""
        tokens = self._tokenizer.encode([(prompt or "") + text for text in inputs]).tokens
        return {name: torch.from_numpy(np.array(array)) for name, array in tokens.feeds().items()}

    def forward(self, features: dict[str, torch.Tensor], **_: Any) -> dict[str, torch.Tensor]:
        """Add `sentence_embedding`, float32 [N, D], to the tokens of N texts. Raises RunnerFailed."""
        arrays = {name: features[name].cpu().numpy() for name in self._template.tokens.feeds()}
        count = len(arrays["input_ids"])
        texts = replace(self._template, tokens=TokenBatch(**arrays), truncated=np.zeros(count, bool))
        values = self.embedder.encode_tokenized(texts).values
        return features | {"sentence_embedding": torch.from_numpy(values).to(features["input_ids"].device)}

    def save(self, output_path: str, *_: Any, **__: Any) -> None:
        """Raise OutputError: a saved model would name this class, and need trust_remote_code."""
        raise OutputError(
            f"{output_path}: sentence-transformers cannot save an artifact; expected a model of its own",
            f"Copy the folder {self.artifact.path}.",
        )


class SentenceTransformer(sentence_transformers.SentenceTransformer):  # type: ignore[misc] # as above
    """sentence-transformers' own class on an artifact, a folder or hf://ID[@REVISION].

    Prompts and similarity are the artifact's. `runner`, `graph` and `options` are those of `minilmx.load`.
    Raises ArtifactError and RunnerError.

    Example:
        >>> SentenceTransformer("out").encode(["One sentence."]).shape
        (1, 384)
    """

    def __init__(
        self, artifact: ArtifactLike, runner: str = "onnxruntime", graph: str = AUTO, **options: Any
    ) -> None:
        opened = artifact if isinstance(artifact, Artifact) else open_artifact(artifact)
        manifest = opened.manifest
        super().__init__(
            modules=[Module(opened, runner, graph, **options)],
            prompts=dict(manifest.prompts or {}) or None,
            default_prompt_name=manifest.default_prompt or None,
            similarity_fn_name=opened.similarity,
            device="cpu",
        )
