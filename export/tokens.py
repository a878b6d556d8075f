"""The tokenizer of an artifact: the one that sentence-transformers makes of the model's files.

transformers' AutoTokenizer builds some tokenizers from the vocabulary of tokenizer.json and the settings in
tokenizer_config.json, so that tokenizer.json alone can give other token ids.
"""

import importlib.util
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
from numpy.typing import NDArray
from tokenizers import normalizers

from minilmx.errors import ExportError, ModelError
from minilmx.export.folder import read_tokenizer_settings
from minilmx.export.model import ExportableModel
from minilmx.export.options import ExportOptions
from minilmx.export.parity import MAX_ABS_EMBEDDING, open_session, relative_difference
from minilmx.models.interface import OUTPUT_NAMES
from minilmx.models.made_tokenizer import load_auto_tokenizer, make_tokenizer
from minilmx.models.sample_texts import odd_texts, sample_texts
from minilmx.models.source import ModelSource, read_json, read_settings_file
from minilmx.models.tokenizer import TokenBatch, TokenizedTexts, Tokenizer, load_tokenizer

_MOST_ADDED_TOKENS = 8
_SAVE_AGAIN = "Correct tokenizer_config.json, or save the tokenizer with transformers again."
# The classes that AutoTokenizer takes if the settings name none, by the architecture.
_CLASSES = {
    "bert": "BertTokenizer",
    "electra": "ElectraTokenizer",
    "roberta": "RobertaTokenizer",
    "xlm-roberta": "XLMRobertaTokenizer",
}
# In tokenizer_config.json, in tokenizer.json's BertNormalizer, and what AutoTokenizer takes if unset.
_BERT_SETTINGS = (
    ("do_lower_case", "lowercase", True),
    ("strip_accents", "strip_accents", None),
    ("tokenize_chinese_chars", "handle_chinese_chars", True),
)
_TOKEN_SETTINGS = ("lstrip", "rstrip", "single_word", "normalized")


@dataclass(frozen=True, slots=True)
class TextParity:
    """The largest absolute difference between the artifact's embeddings of texts and the model's.

    `reference` is the library, with its version, that turned the same `texts` texts into embeddings.
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
        self._stated = _load(source)
        self._auto = load_auto_tokenizer(source.encoder)
        for tokenizer in (self._stated, self._auto.backend_tokenizer):
            _lower_texts(source, tokenizer)
        found, made = (type(each.model).__name__ for each in (self._stated, self._auto.backend_tokenizer))
        if found != made:
            raise ModelError(
                f"{source.encoder}: tokenizer.json holds a {found} model, of which AutoTokenizer of "
                f"{self.library} makes a {made} model; expected the same",
                "Name the tokenizer_class in tokenizer_config.json, or choose a revision that does.",
            )

    def tokenizer(self) -> tokenizers.Tokenizer:
        """A copy of the backend, with AutoTokenizer's padding token and side of truncation."""
        copy = tokenizers.Tokenizer.from_str(self._auto.backend_tokenizer.to_str())
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
        self, tokenizer_file: Path, options: ExportOptions, graph: Path, model: ExportableModel
    ) -> TextParity:
        """Compare the artifact's token ids with AutoTokenizer's, and its embeddings with the library's.

        The library is sentence-transformers if it is installed; otherwise the PyTorch model gets
        AutoTokenizer's tokens. Raises ExportError for other ids, or a difference above 1e-5 times the
        embedding's largest number if that is above 1.
        """
        length = options.shape.sequence_length
        added = sorted(self._auto.get_added_vocab().items(), key=lambda item: -item[1])
        texts = odd_texts(length, [token for token, _ in added[:_MOST_ADDED_TOKENS]])
        texts += sample_texts(length)[::8]
        tokenized = Tokenizer(tokenizer_file, options.shape, mask=options.mask).encode(texts)
        tokens = self._check_ids(texts, tokenized)
        session = open_session(graph)
        parts = [session.run([OUTPUT_NAMES[1]], batch.feeds())[0] for batch in tokenized.batches()]
        found = np.concatenate(parts)[: len(texts)]
        reference, expected = self._embed(texts, tokens, options, model)
        self._check_embeddings(texts, found, expected, reference)
        stated = self._stated
        stated.no_padding()
        stated.enable_truncation(length, direction=(stated.truncation or {}).get("direction", "right"))
        overridden = any(
            stated.encode(text).ids != batch.input_ids[0].tolist()
            for text, batch in zip(texts, tokens, strict=True)
        )
        return TextParity(reference, len(texts), float(np.abs(found - expected).max()), overridden)

    def _check_ids(self, texts: list[str], tokenized: TokenizedTexts) -> list[TokenBatch]:
        """Compare token ids; returns AutoTokenizer's tokens of each text."""
        expected = [self._tokens(text, tokenized.shape.sequence_length) for text in texts]
        for row, (text, batch) in enumerate(zip(texts, expected, strict=True)):
            ids = tokenized.tokens.input_ids[row][tokenized.tokens.attention_mask[row] == 1]
            if not np.array_equal(ids, batch.input_ids[0]):
                raise ExportError(
                    f"the tokenizer of {self.source.id}: token ids {_shown(ids)} for the text {text[:40]!r}; "
                    f"expected {_shown(batch.input_ids[0])}, as AutoTokenizer of {self.library} gives",
                    _SAVE_AGAIN,
                )
        return expected

    def _tokens(self, text: str, sequence_length: int) -> TokenBatch:
        """AutoTokenizer's tokens of a text, truncated but not padded: int64 [1, n]."""
        encoded = self._auto(text, truncation=True, max_length=sequence_length)
        ids = encoded["input_ids"]
        # Models that get no token_type_ids take zeros.
        types = encoded.get("token_type_ids", [0] * len(ids))
        rows = (ids, encoded.get("attention_mask", [1] * len(ids)), types)
        return TokenBatch(*(np.array([row], dtype=np.int64) for row in rows))

    def _embed(
        self, texts: list[str], tokens: list[TokenBatch], options: ExportOptions, model: ExportableModel
    ) -> tuple[str, NDArray[np.float32]]:
        """The library and its embeddings of the texts, one at a time so that nothing is padded."""
        # sentence-transformers pools a folder without modules.json by the mean.
        is_other = self.source.is_plain and model.pooling != "mean"
        if is_other or importlib.util.find_spec("sentence_transformers") is None:
            rows = [model.run(batch)[1] for batch in tokens]
            return f"{self.library} (AutoTokenizer and the PyTorch model)", np.concatenate(rows)
        import sentence_transformers

        library = f"sentence-transformers {sentence_transformers.__version__}"
        try:
            reference = sentence_transformers.SentenceTransformer(
                str(self.source.folder),
                device="cpu",
                local_files_only=True,
                trust_remote_code=False,
                model_kwargs={"dtype": "float32", "use_safetensors": True},
            )
            reference.max_seq_length = options.shape.sequence_length
            if options.dimension is not None:
                reference.truncate_dim = None
            values = reference.encode(texts, prompt="", batch_size=1, show_progress_bar=False)
        except Exception as error:
            raise ExportError(f"{self.source.id}: {library} cannot run it: {error}") from error
        if options.dimension is not None:
            values = values[:, : options.dimension]
            if model.normalized:
                values = values / np.linalg.norm(values, axis=1, keepdims=True)
        return library, np.asarray(values, dtype=np.float32)

    def _check_embeddings(
        self, texts: list[str], found: NDArray[np.float32], expected: NDArray[np.float32], reference: str
    ) -> None:
        if found.shape != expected.shape:
            raise ExportError(
                f"{self.source.id}: embeddings of {found.shape[1]} numbers; expected {expected.shape[1]}, as "
                f"{reference} gives"
            )
        for text, ours, theirs in zip(texts, found, expected, strict=True):
            difference = relative_difference(ours, theirs)
            if not difference <= MAX_ABS_EMBEDDING:  # also true for NaN
                raise ExportError(
                    f"{self.source.id}: the embedding of the text {text[:40]!r} differs by {difference:.3g}, "
                    f"relative to its size, from that of {reference}; expected at most {MAX_ABS_EMBEDDING:g}"
                )


def stated_tokenizer(source: ModelSource) -> tokenizers.Tokenizer:
    """The tokenizer of tokenizer.json, without transformers.

    Truncates on the side that tokenizer_config.json names. Raises ModelError if tokenizer_config.json
    states what AutoTokenizer would do otherwise.
    """
    tokenizer = _load(source)
    settings, config = read_tokenizer_settings(source), read_json(source.encoder, "config.json", dict)
    content = json.loads(tokenizer.to_str())
    for name, found, expected in _contradictions(content, settings, config):
        raise ModelError(
            f"{source.encoder / 'tokenizer_config.json'}: {name} {found!r}, which tokenizer.json "
            f"contradicts; expected {expected!r}",
            "Export the model from its PyTorch weights, or correct tokenizer_config.json.",
        )
    direction = settings.get("truncation_side", (tokenizer.truncation or {}).get("direction", "right"))
    tokenizer.enable_truncation(512, direction=direction)
    _lower_texts(source, tokenizer)
    return tokenizer


def _lower_texts(source: ModelSource, tokenizer: tokenizers.Tokenizer) -> None:
    """Lower the case of texts before anything else if the model's settings ask for it.

    As sentence-transformers does it, which looks for the step only at the top of the normalizer.
    """
    if not read_settings_file(source.encoder, "sentence_bert_config.json").get("do_lower_case"):
        return
    normalizer = tokenizer.normalizer
    if isinstance(normalizer, normalizers.Sequence):
        steps = [normalizer[index] for index in range(len(normalizer))]
    else:
        steps = [] if normalizer is None else [normalizer]
    if not any(isinstance(step, normalizers.Lowercase) for step in steps):
        tokenizer.normalizer = normalizers.Sequence([normalizers.Lowercase(), *steps])


def _load(source: ModelSource) -> tokenizers.Tokenizer:
    """The tokenizer of tokenizer.json alone, or one made from the vocabulary if it does not exist.

    Raises ModelError, also for settings that are not JSON.
    """
    read_tokenizer_settings(source)
    file = source.encoder / "tokenizer.json"
    return load_tokenizer(file) if file.is_file() else make_tokenizer(source)


def _contradictions(
    content: Mapping[str, Any], settings: Mapping[str, Any], config: Mapping[str, Any]
) -> Iterator[tuple[str, object, object]]:
    """Settings by which AutoTokenizer gives other ids than tokenizer.json: name, value, what fits."""
    kind = config.get("model_type")
    made = settings.get("tokenizer_class") or config.get("tokenizer_class") or _CLASSES.get(str(kind), "")
    made = str(made).removesuffix("Fast")
    normalizer, model = content["normalizer"] or {}, content["model"]["type"]
    if made in ("BertTokenizer", "ElectraTokenizer"):
        if model != "WordPiece":
            yield "tokenizer_class", made, f"one for a {model} model"
        if normalizer.get("type") != "BertNormalizer":
            yield "tokenizer_class", made, "PreTrainedTokenizerFast"
            return
        stated = {key: settings.get(name, default) for name, key, default in _BERT_SETTINGS}
        for name, key, _ in _BERT_SETTINGS:
            in_effect = [each[key] for each in (stated, normalizer)]
            if key == "strip_accents":  # unset, it follows the case
                in_effect = [
                    each["lowercase"] if each[key] is None else each[key] for each in (stated, normalizer)
                ]
            if in_effect[0] != in_effect[1]:
                yield name, *in_effect
    elif made in ("RobertaTokenizer", "XLMRobertaTokenizer"):
        byte_level = made == "RobertaTokenizer"
        if model != ("BPE" if byte_level else "Unigram"):
            yield "tokenizer_class", made, f"one for a {model} model"
        prefixed = _adds_prefix_space(content["pre_tokenizer"] or {})
        stated = settings.get("add_prefix_space", not byte_level)
        if stated != prefixed:
            yield "add_prefix_space", stated, prefixed
    if settings.get("split_special_tokens"):
        yield "split_special_tokens", True, False
    known = {token["content"]: token for token in content["added_tokens"]}
    for number, token in (settings.get("added_tokens_decoder") or {}).items():
        in_file = known.get(token.get("content"))
        if in_file is None or any(in_file[key] != token.get(key, in_file[key]) for key in _TOKEN_SETTINGS):
            yield f"added_tokens_decoder {number}", token.get("content"), "a token of tokenizer.json"


def _adds_prefix_space(pre_tokenizer: Mapping[str, Any]) -> bool:
    """Whether a space is put before a text, by the ByteLevel or Metaspace step of a pre-tokenizer."""
    for step in pre_tokenizer.get("pretokenizers", [pre_tokenizer]):
        if "prepend_scheme" in step:
            return bool(step["prepend_scheme"] != "never")
        if "add_prefix_space" in step:
            return bool(step["add_prefix_space"])
    return False


def _shown(ids: NDArray[np.int64]) -> str:
    return " ".join(map(str, ids[:8])) + (f" ... ({len(ids)})" if len(ids) > 8 else "")
