"""Turns texts into token batches at an artifact's fixed shape."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from operator import itemgetter
from pathlib import Path

import numpy as np
import tokenizers
from numpy.typing import NDArray

from minilmx.errors import ArtifactError
from minilmx.models.artifact import Artifact
from minilmx.models.interface import INPUT_NAMES
from minilmx.models.manifest import Shape


@dataclass(frozen=True, slots=True)
class TokenBatch:
    """Model inputs, each int64 [B, S]. In `attention_mask` 1 is a token and 0 is padding."""

    input_ids: NDArray[np.int64]
    attention_mask: NDArray[np.int64]
    token_type_ids: NDArray[np.int64]

    def feeds(self) -> dict[str, NDArray[np.int64]]:
        """The arrays by graph input name; names, unlike positions, cannot be swapped."""
        return {name: getattr(self, name) for name in INPUT_NAMES}


@dataclass(frozen=True, slots=True)
class TokenizedTexts:
    """N texts at one sequence length S.

    `tokens` holds the inputs, int64 [N, S]. `truncated` is bool [N]: whether a text had more than
    S tokens and lost its end, or its start if the tokenizer truncates on the left. `shape` is the
    artifact's. `empty` is a text without words, int64 [1, S], and `pad_id` is the token id of padding.
    """

    tokens: TokenBatch
    truncated: NDArray[np.bool_]
    shape: Shape
    empty: TokenBatch
    pad_id: int

    def __len__(self) -> int:
        return len(self.truncated)

    @property
    def token_counts(self) -> NDArray[np.int64]:
        """The number of tokens per text, with special tokens and after truncation: int64 [N]."""
        return np.asarray(self.tokens.attention_mask.sum(axis=1), dtype=np.int64)

    def take(self, rows: slice | NDArray[np.int64]) -> "TokenizedTexts":
        """The texts in `rows`, as a copy."""
        tokens = TokenBatch(**{name: array[rows].copy() for name, array in self.tokens.feeds().items()})
        return replace(self, tokens=tokens, truncated=self.truncated[rows])

    def batches(self) -> Iterator[TokenBatch]:
        """The texts in order, B at a time; empty texts fill the last batch.

        An empty text still has its special tokens, so every row has a token to pool.
        """
        size = self.shape.batch_size
        for start in range(0, len(self), size):
            rows = slice(start, start + size)
            missing = start + size - len(self)
            arrays = {}
            for name, array in self.tokens.feeds().items():
                part = array[rows]
                if missing > 0:
                    filler = np.repeat(self.empty.feeds()[name], missing, axis=0)
                    part = np.concatenate([part, filler])
                arrays[name] = np.ascontiguousarray(part)
            yield TokenBatch(**arrays)

    def update_digest(self, digest: "hashlib._Hash") -> None:
        """Feed the token arrays to a hash row by row, so that parts in order give the same digest."""
        rows = np.stack(list(self.tokens.feeds().values()), axis=1)
        digest.update(np.ascontiguousarray(rows, dtype="<i8").tobytes())


class Tokenizer:
    """A Hugging Face tokenizer that pads and truncates to a fixed shape."""

    def __init__(self, file: Path, shape: Shape, prompt: str = "", document: bytes | None = None) -> None:
        """Load tokenizer.json; `prompt` is prepended to every text. Raises ArtifactError for another file.

        `document` is the content of the file if it was read already.
        """
        self.shape = shape
        self._prompt = prompt
        self._tokenizer = load_tokenizer(file, document)
        padding = self._tokenizer.padding or {}
        direction = (self._tokenizer.truncation or {}).get("direction", "right")
        self._tokenizer.enable_truncation(shape.sequence_length, direction=direction)
        # Padding is added to the arrays: the tokenizer's own is slow for short texts.
        self._tokenizer.no_padding()
        self._pad_id = int(padding.get("pad_id", 0))
        self._pad_type_id = int(padding.get("pad_type_id", 0))
        self._empty = self._arrays([""])[0]

    def encode(self, texts: Sequence[str]) -> TokenizedTexts:
        """Tokenize N texts, padded and truncated to the sequence length."""
        tokens, truncated = self._arrays([self._prompt + text for text in texts] if self._prompt else texts)
        return TokenizedTexts(tokens, truncated, self.shape, self._empty, self._pad_id)

    def token_beyond(self, rows: int) -> str | None:
        """In words, the token with the highest id if it is not below `rows`; otherwise None.

        `rows` is how many token ids a graph has embeddings for. Another id makes some runners fail, and
        others return numbers without a meaning.
        """
        vocabulary = self._tokenizer.get_vocab(with_added_tokens=True)
        token, highest = max(vocabulary.items(), key=itemgetter(1), default=("", -1))
        if highest < rows:
            return None
        return f"the token {token!r} has the id {highest}, and the model has {rows} token embeddings"

    def _arrays(self, texts: Sequence[str]) -> tuple[TokenBatch, NDArray[np.bool_]]:
        encodings = self._tokenizer.encode_batch(list(texts))
        counts = np.fromiter((len(encoding) for encoding in encodings), np.int64, len(encodings))
        given = np.arange(self.shape.sequence_length) < counts[:, None]

        def pad(rows: Iterable[list[int]], value: int) -> NDArray[np.int64]:
            padded = np.full(given.shape, value, dtype=np.int64)
            padded[given] = np.fromiter(chain.from_iterable(rows), np.int64, counts.sum())
            return padded

        tokens = TokenBatch(
            pad((encoding.ids for encoding in encodings), self._pad_id),
            given.astype(np.int64),
            pad((encoding.type_ids for encoding in encodings), self._pad_type_id),
        )
        truncated = np.array([bool(encoding.overflowing) for encoding in encodings], dtype=np.bool_)
        return tokens, truncated


def open_tokenizer(artifact: Artifact, prompt: str = "") -> Tokenizer:
    """The artifact's tokenizer, at its sequence length. Raises ArtifactError as Artifact.read does."""
    return Tokenizer(artifact.tokenizer_file, artifact.shape, prompt, artifact.read(artifact.tokenizer_file))


def load_tokenizer(file: Path, document: bytes | None = None) -> tokenizers.Tokenizer:
    """Load a tokenizer.json, whose content may have been read already. Raises ArtifactError."""
    try:
        return tokenizers.Tokenizer.from_buffer(file.read_bytes() if document is None else document)
    except Exception as error:
        raise ArtifactError(f"{file} is not a tokenizer file: {error}") from error
