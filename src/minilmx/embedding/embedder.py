"""From texts to embeddings through any runner."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from minilmx.arguments import require_strings
from minilmx.embedding.mteb import make_meta, read_call
from minilmx.embedding.open_graph import OpenGraph
from minilmx.embedding.similarity import closeness, measure_similarity, unit_rows
from minilmx.models.artifact import Artifact
from minilmx.models.manifest import COSINE
from minilmx.models.tokenizer import TokenizedTexts, Tokenizer, open_tokenizer
from minilmx.progress import Advance


class Embedder(OpenGraph[str]):
    """A runner that is open on one graph of an artifact, and turns texts into embeddings.

    It also collects what `record` reports about everything that was embedded. `mteb.evaluate` takes it as a
    model.

    Example:
        >>> artifact = minilmx.open_artifact("out")
        >>> with minilmx.Embedder(artifact, "onnxruntime", threads=1) as embedder:
        ...     embedder.encode(["One sentence.", "Another one."]).shape
        (2, 384)
    """

    def encode(self, texts: Sequence[str], first_row: int = 0, **mteb: Any) -> NDArray[np.float32]:
        """Embed N texts: float32 [N, D], in the order of the texts.

        `first_row` is how many of the user's texts come before these, for error messages. `mteb` is what
        mteb passes beside a data loader, which it gives instead of texts: the task and the prompt type, which
        choose one of the model's prompts unless `load` has chosen one. Raises TypeError for anything but
        strings, ValueError for one that is not Unicode text, DatasetError for one that is too long to
        tokenize, and RunnerFailed, also if an embedding is not finite.
        """
        tokenizer = self.tokenizer
        if mteb:
            texts, prompt = read_call(self.artifact, texts, mteb)
            if prompt != self.artifact.prompt:
                tokenizer = open_tokenizer(self.artifact, prompt)
        require_strings("texts", texts)
        values = np.empty((len(texts), self.dimension), dtype=np.float32)
        row = 0
        for chunk, embeddings in self._stream(texts, first_row, None, tokenizer):
            values[row : row + len(chunk)] = embeddings
            row += len(chunk)
        return values

    def stream(
        self, texts: Iterable[str], first_row: int = 0, advance: Advance | None = None
    ) -> Iterator[tuple[list[str], NDArray[np.float32]]]:
        """The texts in order, in chunks of n, each chunk with its embeddings, float32 [n, D].

        Memory does not grow with the number of texts; while one chunk runs, the next is tokenized.
        `advance` is called with the number of texts of each batch. Raises RunnerFailed, also if an
        embedding is not finite.
        """
        return self._stream(texts, first_row, advance, self.tokenizer)

    def similarity(self, first: ArrayLike, second: ArrayLike) -> NDArray[Any]:
        """How similar each of N embeddings is to each of M, by the model's own measure: [N, M].

        Takes anything that numpy reads as [N, D] and [M, D]. Distances are negated, so that a larger
        number always means more similar.
        """
        left, right = (np.atleast_2d(np.asarray(rows, dtype=np.float32)) for rows in (first, second))
        if self.artifact.similarity == COSINE:
            left, right = unit_rows(left), unit_rows(right)
        return closeness(left, right, self.artifact.similarity)

    def similarity_pairwise(self, first: ArrayLike, second: ArrayLike) -> NDArray[np.float64]:
        """How similar each of N embeddings is to the one in the same row, as in `similarity`: float64 [N]."""
        left, right = (np.atleast_2d(np.asarray(rows, dtype=np.float32)) for rows in (first, second))
        return measure_similarity(left, right, self.artifact.similarity)

    @property
    def mteb_model_meta(self) -> Any:
        """What mteb records about the model, an `mteb.ModelMeta`. Raises ImportError without mteb.

        The revision is the artifact's SHA-256, and the experiment is the runner with its settings and the
        graph, so that mteb's cache keeps the scores of each apart.
        """
        return make_meta(self.artifact, self.runner.name, self.runner.details)

    def _require_fit(self, artifact: Artifact) -> None:
        artifact.require_embeddings()

    def _encode(self, tokenizer: Tokenizer, given: Sequence[str]) -> TokenizedTexts:
        return tokenizer.encode(given)
