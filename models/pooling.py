"""The modules of a sentence-transformers model: how token embeddings become one embedding."""

from collections.abc import Mapping
from typing import Any

from minilmx.errors import ModelError
from minilmx.models.manifest import MAX_SIZE, POOLINGS
from minilmx.models.settings import read_settings
from minilmx.models.source import ModelSource, list_modules, read_json, read_settings_file

# What to do about modules that minilmx does not export.
_HINTS = {
    "Dense": "A Dense module changes every embedding after pooling. Choose a model without one.",
    "SpladePooling": "The model gives sparse embeddings. Choose a model with dense ones.",
    "StaticEmbedding": "A model of static embeddings needs no accelerator: run it in sentence-transformers.",
    "CLIPModel": "The model embeds images. Choose a model for texts alone.",
}


def read_modules(source: ModelSource) -> tuple[str, bool]:
    """The pooling, and whether embeddings are normalised, from the folder's modules.json.

    A plain folder of transformers does not state them: it gets the pooling that was asked for, or
    sentence-transformers' default, which is mean pooling, and is not normalised. Raises ModelError for
    modules or poolings that minilmx does not know.
    """
    if source.is_plain:
        pooling = source.pooling or POOLINGS[0]
        if pooling not in POOLINGS:
            raise ModelError(f"pooling {pooling!r}; expected {', '.join(POOLINGS[:-1])} or {POOLINGS[-1]}")
        return pooling, False
    modules = list_modules(source)
    # Only sentence-transformers' own classes: another package's Transformer is another module.
    foreign = [kind for kind, _ in modules if not kind.startswith("sentence_transformers.")]
    kinds = [kind if kind in foreign else kind.rsplit(".", 1)[-1] for kind, _ in modules]
    if foreign or kinds not in (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"]):
        hint = "Code of a model is never run. Choose a model of sentence-transformers' own modules."
        if not foreign:
            hints = (hint for kind, hint in _HINTS.items() if kind in kinds)
            hint = next(hints, "Choose a model of these modules.")
        raise ModelError(
            f"modules of {source.id}: {' + '.join(kinds) or 'none'}; expected Transformer + Pooling "
            "(+ Normalize)",
            hint,
        )
    return _read_pooling(source, modules[1][1]), "Normalize" in kinds


def pooled_dimension(source: ModelSource) -> int | None:
    """The width of the token embeddings, as the Pooling module's config states it, if it does.

    That of an artifact with a chosen dimension is narrower than its config.json says.
    """
    if source.is_plain:
        return None
    path = list_modules(source)[1][1]
    config = read_json(source.folder, f"{path}/config.json", dict)
    stated = config.get("embedding_dimension", config.get("word_embedding_dimension"))
    return stated if isinstance(stated, int) else None


def stated_sequence_length(source: ModelSource) -> int | None:
    """The most tokens that sentence-transformers feeds the model; None if the model does not state it.

    Either file states it, the first before the second, and the encoder's positions limit it.
    """
    positions = count_positions(read_json(source.encoder, "config.json", dict))
    for name, key in (
        ("sentence_bert_config.json", "max_seq_length"),
        ("tokenizer_config.json", "model_max_length"),
    ):
        stated = read_settings_file(source.encoder, name).get(key)
        # transformers writes a number of 31 digits for a tokenizer without a limit
        if isinstance(stated, int) and 1 <= stated <= MAX_SIZE:
            return min(stated, positions or stated)
    return None


def most_tokens(source: ModelSource) -> int | None:
    """The most tokens of a text that the model reads: those stated, otherwise its positions."""
    return stated_sequence_length(source) or count_positions(read_json(source.encoder, "config.json", dict))


def choose_widths(source: ModelSource, model_dimension: int, dimension: int | None) -> tuple[int, int]:
    """The numbers that are kept of a token embedding, before pooling, and of a finished embedding.

    `dimension` truncates token embeddings, so that the model's own normalisation renormalises the result;
    without it the folder's truncate_dim truncates the finished embedding. Raises ModelError if the model's
    embeddings are not so wide.
    """
    if dimension is None:
        saved = read_settings(source).truncate_dimension or model_dimension
        return model_dimension, min(saved, model_dimension)
    if dimension > model_dimension:
        raise ModelError(
            f"dimension: {dimension}; expected at most {model_dimension}, the width of {source.name}'s "
            "embeddings"
        )
    return dimension, dimension


def count_positions(config: Mapping[str, Any]) -> int | None:
    """The most tokens per row, or None if the encoder's config does not state it."""
    positions = config.get("max_position_embeddings")
    if not isinstance(positions, int):
        return None
    return positions - first_position(config)


def first_position(config: Mapping[str, Any]) -> int:
    """The number of a text's first position: 0, but for RoBERTa the one after the padding token's."""
    if config.get("model_type") in ("roberta", "xlm-roberta"):
        return int(config.get("pad_token_id", 1)) + 1
    return 0


def _read_pooling(source: ModelSource, path: str) -> str:
    """The pooling mode, from either form of sentence-transformers' Pooling config."""
    config = read_json(source.folder, f"{path}/config.json", dict)
    keys = ("pooling_mode_mean_tokens", "pooling_mode_cls_token", "pooling_mode_max_tokens")
    names = dict(zip(keys, POOLINGS, strict=True))
    on = [names.get(key, key) for key, value in config.items() if value is True and "mode" in key]
    if "pooling_mode" in config:
        stated = config["pooling_mode"]
        on = list(stated) if isinstance(stated, list | tuple) else [stated]
    if config.get("include_prompt") is False and read_settings(source).prompts:
        raise ModelError(
            f"pooling of {source.id}: include_prompt false, which leaves out the tokens of a prompt; "
            "expected it unset for a model with prompts"
        )
    if len(on) != 1 or on[0] not in POOLINGS:
        raise ModelError(
            f"pooling of {source.id}: {' + '.join(map(str, on)) or 'none'}; expected "
            f"{', '.join(POOLINGS[:-1])} or {POOLINGS[-1]}"
        )
    return str(on[0])
