"""What an embedder is, at the level of texts."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from minilmx.errors import RunnerFailed, boundary
from minilmx.models.artifact import SearchPrompts
from minilmx.progress import Advance
from minilmx.runners.base import Details

if TYPE_CHECKING:
    from typing import Self  # of Python 3.11


class TextEmbedder(ABC):
    """Turns texts into embeddings. Close it after use.

    `name` is what reports call it. `details` are facts worth recording, `versions` maps the libraries that
    compute to their versions, and `batch_seconds` is how long each batch or request took; all three are read
    after the last text. `search_prompts` are the prompts of `encode_search`, None without any.
    """

    name: str
    batch_seconds: Sequence[float] = ()
    search_prompts: SearchPrompts | None = None

    @property
    def details(self) -> Details:
        """Facts worth recording."""
        return {}

    @property
    def versions(self) -> Mapping[str, str]:
        """Versions of the libraries that compute."""
        return {}

    @abstractmethod
    def encode(self, texts: Sequence[str], advance: Advance | None = None) -> NDArray[np.float32]:
        """Embed N texts: float32 [N, D], in the order of the texts.

        `advance` is called with the number of texts that are done. Raises RunnerFailed.
        """

    def encode_search(
        self, queries: Sequence[str], documents: Sequence[str], advance: Advance | None = None
    ) -> NDArray[np.float32]:
        """Embed the queries, then the documents, each with its own prompt: float32 [Q + N, D]."""
        return self.encode([*queries, *documents], advance)

    def close(self) -> None:
        """Free what the embedder holds. Closing it again does nothing."""
        return

    def __enter__(self) -> "Self":
        return self

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        self.close()


class OtherEmbedder(TextEmbedder):
    """Any object with `encode(texts)`, such as a SentenceTransformer. It stays open.

    Raises TypeError for another object.
    """

    def __init__(self, embedder: Any) -> None:
        if not callable(getattr(embedder, "encode", None)):
            raise TypeError(
                f"embedder: {type(embedder).__name__}; expected an artifact, a path, an array or an object "
                "with encode(texts)"
            )
        self._embedder = embedder
        self.name = type(embedder).__name__

    def encode(self, texts: Sequence[str], advance: Advance | None = None) -> NDArray[np.float32]:
        """What the object returns, as float32 [N, D]. Raises RunnerFailed."""
        with boundary(RunnerFailed, f"{self.name} failed on the texts", named=True):
            values = np.asarray(self._embedder.encode(list(texts)))
        if values.ndim != 2 or len(values) != len(texts) or values.dtype.kind != "f":
            found = f"{values.dtype} {list(values.shape)}"
            raise RunnerFailed(f"{self.name} returned {found}; expected float32 [{len(texts)}, D]")
        return values.astype(np.float32, copy=False)
