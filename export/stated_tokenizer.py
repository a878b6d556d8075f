"""The tokenizer of tokenizer.json, without transformers, and the settings that AutoTokenizer would add."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import tokenizers
from tokenizers import normalizers

from minilmx.errors import ModelError, boundary
from minilmx.models.made_tokenizer import make_tokenizer
from minilmx.models.model_folder import ModelSource, read_json, read_settings_file
from minilmx.models.tokenizer import load_tokenizer

_SETTINGS = "tokenizer_config.json"
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


def stated_tokenizer(source: ModelSource) -> tokenizers.Tokenizer:
    """The tokenizer of tokenizer.json, without transformers.

    Truncates on the side that tokenizer_config.json names. Raises ModelError if tokenizer_config.json
    states what AutoTokenizer would do otherwise.
    """
    tokenizer = load_stated(source)
    file, config = source.encoder / _SETTINGS, read_json(source.encoder, "config.json", dict)
    settings, content = read_settings_file(source.encoder, _SETTINGS), json.loads(tokenizer.to_str())
    with boundary(ModelError, f"{file} cannot be read as settings of a tokenizer"):
        for name, found, expected in _contradictions(content, settings, config):
            raise ModelError(
                f"{file}: {name} {found!r}, which tokenizer.json contradicts; expected {expected!r}",
                "Export the model from its PyTorch weights, or correct tokenizer_config.json.",
            )
        direction = settings.get("truncation_side", (tokenizer.truncation or {}).get("direction", "right"))
        tokenizer.enable_truncation(512, direction=direction)
    lower_texts(source, tokenizer)
    return tokenizer


def lower_texts(source: ModelSource, tokenizer: tokenizers.Tokenizer) -> None:
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


def load_stated(source: ModelSource) -> tokenizers.Tokenizer:
    """The tokenizer of tokenizer.json alone, or one made from the vocabulary if it does not exist.

    Raises ModelError, also for settings that are not JSON.
    """
    read_settings_file(source.encoder, _SETTINGS)
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
