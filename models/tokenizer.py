"""Turns texts into token batches at an artifact's fixed shape."""

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import astuple, dataclass, replace
from functools import cached_property
from itertools import chain
from operator import itemgetter
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import tokenizers
from numpy.typing import NDArray
from tokenizers import models, normalizers, pre_tokenizers

from minilmx.errors import ArtifactError, DatasetError, boundary
from minilmx.models.artifact import Artifact
from minilmx.models.interface import INPUT_NAMES
from minilmx.models.manifest import INT64, Shape

# A tokenizer takes some 180 bytes per character, so this many at a time, and one text of at most so many.
_GROUP_CHARACTERS = 2**19
MAX_CHARACTERS = 2**20
_CHARACTERS_PER_TOKEN = 16  # nearly always enough; otherwise a longer start of the text is taken
_END_OF_WORD = re.compile(r"\S(?=[ \t\n\r])")


Pair = tuple[str, str]
Given = TypeVar("Given", str, Pair)  # a text, or a pair of texts
_Row = tuple[list[int], list[int], bool]  # token ids, token type ids, and whether tokens were lost


@dataclass(frozen=True, slots=True)
class TokenBatch:
    """Model inputs, each int64 [B, S]. In `attention_mask` 1 is a token and 0 is padding; it may be bool."""

    input_ids: NDArray[np.int64]
    attention_mask: NDArray[Any]
    token_type_ids: NDArray[np.int64]

    def feeds(self) -> dict[str, NDArray[Any]]:
        """The arrays by graph input name; names, unlike positions, cannot be swapped."""
        return {name: getattr(self, name) for name in INPUT_NAMES}


@dataclass(frozen=True, slots=True)
class TokenizedTexts:
    """N texts at one sequence length S.

    `tokens` holds the inputs, int64 [N, S]. `truncated` is bool [N]: whether a text had more than
    S tokens and lost its end, or its start if the tokenizer truncates on the left. `shape` is the
    artifact's. `empty` is a text without words, int64 [1, S], and `pad_id` is the token id of padding.
    `mask` is the dtype of the mask in a batch for the fixed graph.
    """

    tokens: TokenBatch
    truncated: NDArray[np.bool_]
    shape: Shape
    empty: TokenBatch
    pad_id: int
    mask: str = INT64

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

    def followed_by(self, others: "TokenizedTexts") -> "TokenizedTexts":
        """These texts, then the others, which are of the same artifact."""
        mine, theirs = self.tokens.feeds(), others.tokens.feeds()
        tokens = TokenBatch(**{name: np.concatenate([mine[name], theirs[name]]) for name in mine})
        return replace(self, tokens=tokens, truncated=np.concatenate([self.truncated, others.truncated]))

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
            arrays["attention_mask"] = arrays["attention_mask"].astype(self.mask, copy=False)
            yield TokenBatch(**arrays)

    def update_digest(self, digest: "hashlib._Hash") -> None:
        """Feed the token arrays to a hash row by row, so that parts in order give the same digest."""
        rows = np.stack(list(self.tokens.feeds().values()), axis=1)
        digest.update(np.ascontiguousarray(rows, dtype="<i8").tobytes())


class Tokenizer:
    """A Hugging Face tokenizer that pads and truncates to a fixed shape."""

    def __init__(
        self,
        file: Path,
        shape: Shape,
        prompt: str = "",
        document: bytes | None = None,
        mask: str = INT64,
    ) -> None:
        """Load tokenizer.json; `prompt` is prepended to every text. Raises ArtifactError for another file.

        `document` is the content of the file if it was read already; `mask` is the dtype of the fixed
        graph's attention_mask.
        """
        self.shape = shape
        self._mask = mask
        self._file = file
        self._prompt = prompt
        self._tokenizer = load_tokenizer(file, document)
        with _boundary(file):
            padding = self._tokenizer.padding or {}
            self._direction = (self._tokenizer.truncation or {}).get("direction", "right")
            self._tokenizer.enable_truncation(shape.sequence_length, direction=self._direction)
            # Padding is added to the arrays: the tokenizer's own is slow for short texts.
            self._tokenizer.no_padding()
            self._pad_id = int(padding.get("pad_id", 0))
            self._pad_type_id = int(padding.get("pad_type_id", 0))
            self._can_cut = self._direction == "right" and _takes_words_alone(self._tokenizer)
            self._empty = self._arrays([""])[0]

    def encode(self, texts: Sequence[str]) -> TokenizedTexts:
        """Tokenize N texts, padded and truncated to the sequence length.

        Of a long text, only the start is tokenized if that provably gives the same tokens. Raises
        DatasetError for another of more than MAX_CHARACTERS, and ArtifactError.
        """
        with boundary(ArtifactError, f"{self._file} cannot tokenize a text"):
            arrays = self._arrays([self._prompt + text for text in texts] if self._prompt else texts)
        return TokenizedTexts(*arrays, self.shape, self._empty, self._pad_id, self._mask)

    def encode_pairs(self, pairs: Sequence[Pair]) -> TokenizedTexts:
        """Tokenize N pairs of texts, each as one row: padded, and truncated to the sequence length.

        Of a pair that is too long, the longer text loses tokens until both are equally long, as in
        transformers. Raises DatasetError for a pair of more than MAX_CHARACTERS, and ArtifactError.
        """
        for one, other in pairs:
            if len(one) + len(other) > MAX_CHARACTERS:
                raise DatasetError(
                    f"the pair of {one[:40]!r} and {other[:40]!r} has {len(one) + len(other):,} characters; "
                    f"expected at most {MAX_CHARACTERS:,}",
                    "Shorten it.",
                )
        with boundary(ArtifactError, f"{self._file} cannot tokenize a pair of texts"):
            *tokens, truncated = self._rows(pairs, self._pair_rows)
        return TokenizedTexts(
            TokenBatch(*tokens), truncated, self.shape, self._empty, self._pad_id, self._mask
        )

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

    def _arrays(self, texts: Sequence[str], characters: int = 0) -> tuple[TokenBatch, NDArray[np.bool_]]:
        """The tokens of all texts, of long ones from a start of at least so many characters."""
        characters = characters or _CHARACTERS_PER_TOKEN * self.shape.sequence_length
        starts = [self._start(text, characters) for text in texts]
        *tokens, truncated = self._rows(starts, self._text_rows)
        cut = np.array([len(start) < len(text) for start, text in zip(starts, texts, strict=True)], np.bool_)
        short = np.flatnonzero(cut & ~truncated)  # the start may have fewer tokens than the text
        if len(short):
            longer, truncated[short] = self._arrays([texts[int(row)] for row in short], 4 * characters)
            for array, rows in zip(tokens, astuple(longer), strict=True):
                array[short] = rows
        return TokenBatch(*tokens), truncated

    def _rows(
        self, given: Sequence[Given], encode: Callable[[list[Given]], list[_Row]]
    ) -> list[NDArray[Any]]:
        """The arrays of all texts, or of all pairs; see _padded."""
        parts = [self._padded(encode(group)) for group in _groups(given)]
        return [np.concatenate(part) for part in zip(*parts, strict=True)]

    def _text_rows(self, texts: list[str]) -> list[_Row]:
        encodings = self._tokenizer.encode_batch_fast(texts)
        return [(each.ids, each.type_ids, bool(each.overflowing)) for each in encodings]

    def _pair_rows(self, pairs: list[Pair]) -> list[_Row]:
        length, direction = self.shape.sequence_length, self._direction
        return [_truncate_pair(each, length, direction) for each in self._whole.encode_batch_fast(pairs)]

    @cached_property
    def _whole(self) -> tokenizers.Tokenizer:
        """The tokenizer without truncation.

        The library keeps what it cuts off, and of two texts every combination of their parts: gigabytes for
        two long ones.
        """
        whole = tokenizers.Tokenizer.from_str(self._tokenizer.to_str())
        whole.no_truncation()
        return whole

    def _start(self, text: str, characters: int) -> str:
        """What is tokenized of a text: its start up to the end of a word, or all of it."""
        if len(text) <= characters:
            return text
        if self._can_cut and (found := _END_OF_WORD.search(text, characters - 1, MAX_CHARACTERS)):
            return text[: found.end()]
        if len(text) > MAX_CHARACTERS:
            raise DatasetError(
                f"the text {text[:80]!r} has {len(text):,} characters, and its start does not determine its "
                f"first {self.shape.sequence_length} tokens; expected at most {MAX_CHARACTERS:,}",
                "Shorten it.",
            )
        return text

    def _padded(self, rows: Sequence[_Row]) -> tuple[NDArray[Any], ...]:
        """The arrays of a TokenBatch, and whether each text or pair was truncated."""
        counts = np.fromiter((len(ids) for ids, _, _ in rows), np.int64, len(rows))
        given = np.arange(self.shape.sequence_length) < counts[:, None]

        def pad(values: Iterable[list[int]], value: int) -> NDArray[np.int64]:
            padded = np.full(given.shape, value, dtype=np.int64)
            padded[given] = np.fromiter(chain.from_iterable(values), np.int64, counts.sum())
            return padded

        return (
            pad((ids for ids, _, _ in rows), self._pad_id),
            given.astype(np.int64),
            pad((type_ids for _, type_ids, _ in rows), self._pad_type_id),
            np.array([truncated for _, _, truncated in rows], dtype=np.bool_),
        )


def _truncate_pair(encoding: tokenizers.Encoding, length: int, direction: str) -> _Row:
    """The tokens of a pair, of which the longer text has lost tokens until both are equally long."""
    if len(encoding) <= length:
        return encoding.ids, encoding.type_ids, False
    ids, type_ids = np.array(encoding.ids), np.array(encoding.type_ids)
    texts = np.array([-1 if text is None else text for text in encoding.sequence_ids])  # -1: special
    one, other = np.flatnonzero(texts == 0), np.flatnonzero(texts == 1)
    room = length - int((texts < 0).sum())
    shorter = min(len(one), len(other), room // 2)
    kept = (room - shorter, shorter) if len(one) > len(other) else (shorter, room - shorter)
    keep = texts < 0
    for tokens, count in zip((one, other), kept, strict=True):
        keep[tokens[:count] if direction == "right" else tokens[len(tokens) - count :]] = True
    return ids[keep].tolist(), type_ids[keep].tolist(), True


def _groups(given: Sequence[Given]) -> Iterator[list[Given]]:
    """The texts or pairs in order, of limited size together; one empty group if there are none."""
    group: list[Given] = []
    characters = 0
    for each in given:
        size = count_characters(each)
        if group and characters + size > _GROUP_CHARACTERS:
            yield group
            group, characters = [], 0
        group.append(each)
        characters += size
    yield group


def count_characters(text: str | Pair) -> int:
    """The characters of a text, or of both texts of a pair."""
    return len(text) if isinstance(text, str) else len(text[0]) + len(text[1])


def _takes_words_alone(tokenizer: tokenizers.Tokenizer) -> bool:
    """Whether the tokens of a text begin with those of each start that ends before white space.

    So it is if nothing depends on both sides of such a place: no added token has white space in it; BERT's
    normalizer treats each character alone, except accents, which never combine with white space; BERT's
    pre-tokenizer and GPT-2's pattern divide there; and a model without dropout is given each word alone.
    """
    normalizer, words = tokenizer.normalizer, tokenizer.pre_tokenizer
    is_local = normalizer is None or isinstance(normalizer, normalizers.BertNormalizer)
    divides = isinstance(words, pre_tokenizers.BertPreTokenizer) or (
        isinstance(words, pre_tokenizers.ByteLevel) and words.use_regex
    )
    added = [token.content for token in tokenizer.get_added_tokens_decoder().values()]
    is_plain = not any(re.search(r"\s", content) for content in added)
    is_fixed = not (isinstance(tokenizer.model, models.BPE) and tokenizer.model.dropout)
    return is_local and divides and is_plain and is_fixed


def open_tokenizer(artifact: Artifact, prompt: str = "") -> Tokenizer:
    """The artifact's tokenizer, at its sequence length. Raises ArtifactError as Artifact.read does."""
    file = artifact.tokenizer_file
    return Tokenizer(file, artifact.shape, prompt, artifact.read(file), artifact.manifest.mask)


def load_tokenizer(file: Path, document: bytes | None = None) -> tokenizers.Tokenizer:
    """Load a tokenizer.json, whose content may have been read already. Raises ArtifactError."""
    with _boundary(file):
        tokenizer = tokenizers.Tokenizer.from_buffer(file.read_bytes() if document is None else document)
        if tokenizer.post_processor is not None:
            _require_each_text_once(json.loads(tokenizer.post_processor.__getstate__()))
        return tokenizer


def _require_each_text_once(processor: dict[str, Any]) -> None:
    """Raise ValueError for a template that repeats a text: tokenizers can abort the process over it."""
    for part in processor.get("processors", ()):
        _require_each_text_once(part)
    for template in ("single", "pair"):
        texts = [piece["Sequence"]["id"] for piece in processor.get(template, ()) if "Sequence" in piece]
        if len(set(texts)) < len(texts):
            raise ValueError(f"its template {template} repeats a text; expected each once")


def _boundary(file: Path) -> AbstractContextManager[None]:
    return boundary(ArtifactError, f"{file} is not a tokenizer file")
