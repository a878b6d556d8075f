"""The tokenizer of an artifact: the one that sentence-transformers makes of the model's files.

transformers' AutoTokenizer builds some tokenizers from the vocabulary of tokenizer.json and the settings in
tokenizer_config.json, and tokenizer.json alone can then give other token ids.
"""

import importlib.util
import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
from numpy.typing import NDArray

from minilmx.errors import ExportError, ModelError
from minilmx.export.model import ExportableModel
from minilmx.export.parity import MAX_ABS_EMBEDDING, find_scale, open_session, relative_difference
from minilmx.export.stated_tokenizer import load_stated, lower_texts
from minilmx.models.interface import SCORE
from minilmx.models.made_tokenizer import load_auto_tokenizer
from minilmx.models.model_folder import ModelSource
from minilmx.models.sample_texts import odd_texts, pair_up, sample_texts
from minilmx.models.tokenizer import TokenBatch, TokenizedTexts, Tokenizer

Inputs = Sequence[tuple[str, ...]]  # texts, one or a pair

_MOST_ADDED_TOKENS = 8
_SAVE_AGAIN = "Correct tokenizer_config.json, or save the tokenizer with transformers again."


@dataclass(frozen=True, slots=True)
class TextParity:
    """The largest absolute difference between the artifact's embeddings of texts and the model's.

    `reference` is the library, with its version, that turned the same `texts` texts into embeddings; with a
    cross-encoder, pairs of texts into scores.
    `overridden` says whether tokenizer_config.json changed what tokenizer.json alone gives.
    """

    reference: str
    texts: int
    max_abs: float
    overridden: bool


class AutoTokens:
    """What transformers' AutoTokenizer makes of a model folder. Needs transformers."""

    def __init__(self, source: ModelSource) -> None:
        """Load it. Raises ModelError, also if it replaces the model of tokenizer.json by another."""
        self.source = source
        self.library = f"transformers {metadata.version('transformers')}"
        self._stated = load_stated(source)
        self._auto = load_auto_tokenizer(source.encoder)
        for tokenizer in (self._stated, self._auto.backend_tokenizer):
            lower_texts(source, tokenizer)
        found, made = (type(each.model).__name__ for each in (self._stated, self._auto.backend_tokenizer))
        if found != made:
            raise ModelError(
                f"{source.encoder}: tokenizer.json contains a {found} model, but AutoTokenizer of "
                f"{self.library} makes a {made} model; expected the same",
                "Name the tokenizer_class in tokenizer_config.json, or choose a revision that does.",
            )

    def tokenizer(self, *, pairs: bool = False) -> tokenizers.Tokenizer:
        """A copy of the backend, with AutoTokenizer's padding token and side of truncation.

        If it is for `pairs`, and AutoTokenizer returns no token types, all of them are 0.
        """
        content = json.loads(self._auto.backend_tokenizer.to_str())
        if pairs and "token_type_ids" not in self._auto.model_input_names:
            _clear_types(content["post_processor"] or {})
        copy = tokenizers.Tokenizer.from_str(json.dumps(content))
        copy.enable_truncation(512, direction=self._auto.truncation_side)
        copy.no_padding()
        if self._auto.pad_token is not None:
            copy.enable_padding(
                pad_id=self._auto.pad_token_id,
                pad_token=self._auto.pad_token,
                pad_type_id=self._auto.pad_token_type_id,
            )
        return copy

    def check(
        self, tokenizer: Tokenizer, graph: Path, model: ExportableModel, dimension: int | None
    ) -> TextParity:
        """Compare the artifact's token ids with AutoTokenizer's, and its embeddings with the library's.

        With a `dimension`, the library's are truncated to so many numbers.
        The library is sentence-transformers if it is installed; otherwise the PyTorch model gets
        AutoTokenizer's tokens. Raises ExportError for other ids, or a difference above 1e-5 times the
        embedding's largest number, or the largest score, if that is above 1.
        """
        length = tokenizer.shape.sequence_length
        texts = self._texts(length)
        inputs: Inputs = [(text,) for text in texts]
        if model.output == SCORE:
            pairs = pair_up(texts)
            inputs, tokenized = pairs, tokenizer.encode_pairs(pairs)
        else:
            tokenized = tokenizer.encode(texts)
        tokens = self._check_ids(inputs, tokenized)
        session = open_session(graph)
        parts = [session.run([model.output], batch.feeds())[0] for batch in tokenized.batches()]
        found = np.concatenate(parts)[: len(texts)]
        reference, expected = self._run_library(inputs, tokens, model, length, dimension)
        self._check_outputs(inputs, found, expected, reference, model.output)
        stated = self._stated
        stated.no_padding()
        stated.enable_truncation(length, direction=(stated.truncation or {}).get("direction", "right"))
        overridden = any(
            encoding.ids != batch.input_ids[0].tolist()
            for encoding, batch in zip(stated.encode_batch(_texts(inputs)), tokens, strict=True)
        )
        return TextParity(reference, len(texts), float(np.abs(found - expected).max()), overridden)

    def check_ids(self, tokenizer: Tokenizer) -> None:
        """Compare the artifact's token ids of texts with AutoTokenizer's. Raises ExportError for others."""
        texts = self._texts(tokenizer.shape.sequence_length)
        self._check_ids([(text,) for text in texts], tokenizer.encode(texts))

    def _texts(self, length: int) -> list[str]:
        added = sorted(self._auto.get_added_vocab().items(), key=lambda item: -item[1])
        texts = odd_texts(length, [token for token, _ in added[:_MOST_ADDED_TOKENS]])
        return texts + sample_texts(length)[::8]

    def _check_ids(self, inputs: Inputs, tokenized: TokenizedTexts) -> list[TokenBatch]:
        """Compare token ids; returns AutoTokenizer's tokens of each input."""
        expected = [self._tokens(texts, tokenized.shape.sequence_length) for texts in inputs]
        for row, (texts, batch) in enumerate(zip(inputs, expected, strict=True)):
            ids = tokenized.tokens.input_ids[row][tokenized.tokens.attention_mask[row] == 1]
            if not np.array_equal(ids, batch.input_ids[0]):
                raise ExportError(
                    f"the tokenizer of {self.source.id}: token ids {_shown(ids)} for the {_quoted(texts)}; "
                    f"expected {_shown(batch.input_ids[0])}, as AutoTokenizer of {self.library} gives",
                    _SAVE_AGAIN,
                )
        return expected

    def _tokens(self, texts: tuple[str, ...], sequence_length: int) -> TokenBatch:
        """AutoTokenizer's tokens of a text or a pair, truncated but not padded: int64 [1, n]."""
        # As lists: AutoTokenizer takes an empty second text alone for none.
        columns = ([text] for text in texts)
        encoded = self._auto(*columns, truncation=True, max_length=sequence_length)
        encoded = {name: rows[0] for name, rows in encoded.items()}
        ids = encoded["input_ids"]
        # Models that get no token_type_ids take zeros.
        types = encoded.get("token_type_ids", [0] * len(ids))
        rows = (ids, encoded.get("attention_mask", [1] * len(ids)), types)
        return TokenBatch(*(np.array([row], dtype=np.int64) for row in rows))

    def _run_library(
        self,
        inputs: Inputs,
        tokens: list[TokenBatch],
        model: ExportableModel,
        length: int,
        dimension: int | None,
    ) -> tuple[str, NDArray[np.float32]]:
        """The library and its embeddings or scores, one at a time so that nothing is padded."""
        # sentence-transformers pools a folder without modules.json by the mean.
        is_other = self.source.is_plain and model.pooling != "mean" and model.output != SCORE
        if is_other or importlib.util.find_spec("sentence_transformers") is None:
            rows = [model.run(batch)[1] for batch in tokens]
            return f"{self.library} (AutoTokenizer and the PyTorch model)", np.concatenate(rows)
        import sentence_transformers

        library = f"sentence-transformers {sentence_transformers.__version__}"
        settings = {
            "device": "cpu",
            "local_files_only": True,
            "trust_remote_code": False,
            "model_kwargs": {"dtype": "float32", "use_safetensors": True},
        }
        folder = str(self.source.folder)
        try:
            if model.output == SCORE:
                scorer = sentence_transformers.CrossEncoder(folder, max_length=length, **settings)
                scores = scorer.predict(inputs, batch_size=1, show_progress_bar=False)
                sizes = [batch.input_ids.shape[1] for batch in tokens]
                chosen = [int(np.argmin(sizes)), int(np.argmax(sizes))]
                padded = scorer.predict([inputs[row] for row in chosen], show_progress_bar=False)
                self._require_padding(scores[chosen], padded, scores, library)
                return library, np.asarray(scores, dtype=np.float32)[:, None]
            reference = sentence_transformers.SentenceTransformer(folder, **settings)
            reference.max_seq_length = length
            if dimension is not None:
                reference.truncate_dim = None
            texts = [text for (text,) in inputs]
            values = reference.encode(texts, prompt="", batch_size=1, show_progress_bar=False)
        except ExportError:
            raise
        except Exception as error:
            raise ExportError(f"{self.source.id}: {library} cannot run it: {error}") from error
        if dimension is not None:
            values = values[:, :dimension]
            if model.normalized:
                values = values / np.linalg.norm(values, axis=1, keepdims=True)
        return library, np.asarray(values, dtype=np.float32)

    def _require_padding(
        self,
        alone: NDArray[np.float32],
        padded: NDArray[np.float32],
        scores: NDArray[np.float32],
        library: str,
    ) -> None:
        """Refuse a cross-encoder that scores two pairs, float32 [2], differently in one batch and alone."""
        difference = relative_difference(padded, alone, find_scale(scores))
        if difference <= MAX_ABS_EMBEDDING:
            return
        side = self._auto.padding_side
        hint = "Choose a cross-encoder whose scores do not depend on the batch."
        if side == "left":
            hint = (
                'If the model was trained with padding on the right, set padding_side to "right" in '
                "tokenizer_config.json, in a copy of the folder."
            )
        raise ExportError(
            f"{self.source.id}: {library} gives a pair one score alone and another in a batch padded on the "
            f"{side}: they differ by {difference:.3g}, relative to their size; expected at most "
            f"{MAX_ABS_EMBEDDING:g}",
            hint,
        )

    def _check_outputs(
        self,
        inputs: Inputs,
        found: NDArray[np.float32],
        expected: NDArray[np.float32],
        reference: str,
        output: str,
    ) -> None:
        what = "score" if output == SCORE else "embedding"
        if found.shape != expected.shape:
            raise ExportError(
                f"{self.source.id}: {what}s of {found.shape[1]} numbers; expected {expected.shape[1]}, as "
                f"{reference} gives"
            )
        scale = find_scale(expected) if output == SCORE else 1.0
        for texts, ours, theirs in zip(inputs, found, expected, strict=True):
            difference = relative_difference(ours, theirs, scale)
            if not difference <= MAX_ABS_EMBEDDING:  # also true for NaN
                raise ExportError(
                    f"{self.source.id}: the {what} of the {_quoted(texts)} differs by {difference:.3g}, "
                    f"relative to its size, from that of {reference}; expected at most {MAX_ABS_EMBEDDING:g}"
                )


def _clear_types(post_processor: dict[str, Any]) -> None:
    """Make the token types 0 in the templates of a post-processor of tokenizer.json, in place."""
    for step in post_processor.get("processors", [post_processor]):
        for piece in step.get("pair", ()) if step.get("type") == "TemplateProcessing" else ():
            for each in piece.values():
                each["type_id"] = 0


def _texts(inputs: Inputs) -> list[Any]:
    """What a tokenizer takes for a text, and for a pair of texts."""
    return [texts[0] if len(texts) == 1 else texts for texts in inputs]


def _quoted(texts: tuple[str, ...]) -> str:
    """A text or a pair of texts, shortened, for an error."""
    return ("text " if len(texts) == 1 else "pair ") + " and ".join(repr(text[:40]) for text in texts)


def _shown(ids: NDArray[np.int64]) -> str:
    return " ".join(map(str, ids[:8])) + (f" ... ({len(ids)})" if len(ids) > 8 else "")
