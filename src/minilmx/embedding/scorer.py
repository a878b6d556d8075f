"""From pairs of texts to a cross-encoder's scores through any runner."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from minilmx.arguments import require_pairs
from minilmx.embedding.embedder import Embedder
from minilmx.embedding.open_graph import OpenGraph
from minilmx.errors import ArtifactError
from minilmx.models.artifact import Artifact
from minilmx.models.tokenizer import Pair, TokenizedTexts, Tokenizer
from minilmx.progress import Advance


class Scorer(OpenGraph[Pair]):
    """A runner that is open on the artifact of a cross-encoder, and scores pairs of texts.

    A score is that of sentence-transformers' CrossEncoder, with the model's own activation: higher means more
    alike, or that a passage answers a query. It also collects what `record` reports about
    everything that was scored.

    Example:
        >>> with minilmx.Scorer(minilmx.open_artifact("reranker"), "onnxruntime", threads=1) as scorer:
        ...     scorer.score([("One sentence.", "Another one.")]).shape
        (1,)
    """

    def score(self, pairs: Sequence[Pair], first_row: int = 0) -> NDArray[np.float32]:
        """Score N pairs of texts: float32 [N], in the order of the pairs.

        `first_row` is how many of the user's pairs come before these, for error messages. Raises TypeError
        for anything but pairs of strings, ValueError for one that is not Unicode text, DatasetError for a
        pair that is too long to tokenize, and RunnerFailed, also if a score is not finite.
        """
        require_pairs("pairs", pairs)
        scores = [scores for _, scores in self.stream([(one, other) for one, other in pairs], first_row)]
        return np.concatenate(scores) if scores else np.empty(0, np.float32)

    def stream(
        self, pairs: Iterable[Pair], first_row: int = 0, advance: Advance | None = None
    ) -> Iterator[tuple[list[Pair], NDArray[np.float32]]]:
        """The pairs in order, in chunks of n, each chunk with its scores, float32 [n].

        Memory does not grow with the number of pairs. `advance` is called with the number of pairs of each
        batch. Raises RunnerFailed, also if a score is not finite.
        """
        for chunk, values in self._stream(pairs, first_row, advance, self.tokenizer):
            yield chunk, values[:, 0]

    def _require_fit(self, artifact: Artifact) -> None:
        if not artifact.gives_scores:
            raise ArtifactError(
                f"{artifact.path} embeds single texts; expected the artifact of a cross-encoder",
                "Compare the embeddings of the texts.",
            )

    def _encode(self, tokenizer: Tokenizer, given: Sequence[Pair]) -> TokenizedTexts:
        return tokenizer.encode_pairs(given)


def opener(artifact: Artifact) -> type[Embedder] | type[Scorer]:
    """What opens a runner on an artifact: Scorer for a cross-encoder's, otherwise Embedder."""
    return Scorer if artifact.gives_scores else Embedder
