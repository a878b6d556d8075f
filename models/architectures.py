"""The architectures that minilmx exports: transformers' own classes, and where one differs from BERT."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from minilmx.models.manifest import MAX_SIZE


@dataclass(frozen=True, slots=True)
class Architecture:
    """What differs from BERT in an architecture, which config.json names as its model_type.

    `models` names models of it, or says how it is written. `packs` says whether a packed graph is proven.
    `after_padding` says whether positions count from the one after the padding token's. `encoder` is
    transformers' class if AutoModel would load a decoder as well. `is_causal` says whether a token attends
    only to those before it, unless the config says otherwise. `mask` is what the encoder takes: "added",
    numbers that are added to the scores of attention; "by layer", such numbers by the type of a layer; or
    "tokens", 1 for each token.
    """

    models: str
    packs: bool = False
    after_padding: bool = False
    encoder: str = "AutoModel"
    is_causal: bool = False
    mask: str = "added"


ARCHITECTURES = {
    "bert": Architecture("all-MiniLM, bge, e5, LaBSE", packs=True),
    "electra": Architecture("ELECTRA", packs=True),
    "roberta": Architecture("all-distilroberta-v1", after_padding=True),
    "xlm-roberta": Architecture("multilingual-e5, bge-m3", after_padding=True),
    "mpnet": Architecture("all-mpnet-base-v2", after_padding=True),
    "distilbert": Architecture("distiluse, msmarco-distilbert"),
    "camembert": Architecture("sentence-camembert", after_padding=True),
    "albert": Architecture("paraphrase-albert-small-v2"),
    "deberta-v2": Architecture("DeBERTa-v3, mDeBERTa-v3", mask="tokens"),
    "modernbert": Architecture("modernbert-embed, gte-modernbert", mask="by layer"),
    "t5": Architecture("sentence-t5, gtr-t5", encoder="T5EncoderModel"),
    "mt5": Architecture("mT5", encoder="MT5EncoderModel"),
    "umt5": Architecture("UMT5", encoder="UMT5EncoderModel"),
    "nomic_bert": Architecture("NomicBERT"),
    "ernie": Architecture("ERNIE"),
    "eurobert": Architecture("EuroBERT"),
    "gte": Architecture("GTE"),
    "qwen2": Architecture("Qwen2", is_causal=True, mask="by layer"),
    "llama": Architecture("Llama", is_causal=True),
    "mistral": Architecture("e5-mistral", is_causal=True),
    "qwen3": Architecture("Qwen3-Embedding", is_causal=True, mask="by layer"),
    "gemma3_text": Architecture("EmbeddingGemma", is_causal=True, mask="by layer"),
}


def find_architecture(config: Mapping[str, Any]) -> Architecture:
    """The entry of a config.json's model_type; for an ONNX file of another architecture, BERT's."""
    return ARCHITECTURES.get(str(config.get("model_type")), ARCHITECTURES["bert"])


def token_width(config: Mapping[str, Any]) -> int | None:
    """The numbers of a token embedding, under the name that the architecture has for them."""
    widths = (config.get(name) for name in ("hidden_size", "dim", "d_model"))
    return next((width for width in widths if type(width) is int and 1 <= width <= MAX_SIZE), None)


def count_positions(config: Mapping[str, Any]) -> int | None:
    """The most tokens per row, or None if the encoder's config does not state it."""
    positions = config.get("max_position_embeddings")
    if type(positions) is not int:
        return None
    return positions - first_position(config)


def first_position(config: Mapping[str, Any]) -> int:
    """The number of a text's first position: 0, but as in RoBERTa the one after the padding token's."""
    if find_architecture(config).after_padding:
        padding = config.get("pad_token_id", 1)
        return padding + 1 if type(padding) is int else 2
    return 0
