"""Model kinds with random weights: the classes, tokenizers and modules that real models have, but tiny.

A kind is an architecture of transformers with the modules of sentence-transformers that follow it.
"""

import contextlib
import io
import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

WIDTH = 32
_SETTINGS = "config_sentence_transformers.json"
_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789.,;:!?'-"
_CODER = {
    "vocab_size": 140,
    "hidden_size": WIDTH,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
}
_ROTARY = {**_CODER, "num_key_value_heads": 2, "head_dim": 8, "pad_token_id": 0}


@dataclass(frozen=True)
class Kind:
    """`modules` follow the encoder; `encoder` is its class if AutoModel's has a decoder as well."""

    architecture: str = "Bert"
    tokenizer: str = "pieces"
    modules: tuple[str, ...] = ("mean", "normalize")
    config: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    encoder: str = ""
    change: str = ""

    @property
    def model_type(self) -> str:
        """The name of the architecture in config.json."""
        import transformers

        return str(getattr(transformers, f"{self.architecture}Config").model_type)


_T5 = {"vocab_size": 140, "d_model": WIDTH, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4}
_DISTILBERT = {"vocab_size": 140, "dim": WIDTH, "n_layers": 2, "n_heads": 4, "hidden_dim": 48}
_QWEN = {**_ROTARY, "bos_token_id": None, "eos_token_id": 2}
_GEMMA = {
    **_ROTARY,
    "use_bidirectional_attention": True,
    "sliding_window": 8,
    "layer_types": ["sliding_attention", "full_attention"],
    "query_pre_attn_scalar": 8,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_MODERN = {**_CODER, "local_attention": 8, "global_attn_every_n_layers": 2, "pad_token_id": 0}
_MODERN |= {"cls_token_id": 1, "sep_token_id": 2, "bos_token_id": 1, "eos_token_id": 2}
_DEBERTA = {
    **_CODER,
    "relative_attention": True,
    "position_buckets": 8,
    "norm_rel_ebd": "layer_norm",
    "share_att_key": True,
    "pos_att_type": ["p2c", "c2p"],
    "type_vocab_size": 0,
    "position_biased_input": False,
}
_PROMPTS = {"prompts": {"query": "query: ", "document": ""}, "default_prompt_name": "query"}

KINDS = {
    "bert, mean": Kind(),
    "bert, mean, not normalized": Kind(modules=("mean",)),
    "bert, cls": Kind(modules=("cls", "normalize")),
    "bert, max": Kind(modules=("max",)),
    "bert, mean_sqrt_len_tokens": Kind(modules=("mean_sqrt_len_tokens",)),
    "bert, weightedmean": Kind(modules=("weightedmean", "normalize")),
    "bert, lasttoken": Kind(modules=("lasttoken", "normalize")),
    "bert, mean and max and cls": Kind(modules=("mean+max+cls", "normalize")),
    "bert, Dense (LaBSE)": Kind(modules=("cls", "dense tanh 32", "normalize")),
    "bert, Normalize before Dense": Kind(modules=("mean", "normalize", "dense identity 48")),
    "bert, two poolings and Dense": Kind(modules=("mean+lasttoken", "dense relu 16", "normalize")),
    "bert, prompts": Kind(settings=_PROMPTS),
    "bert, Matryoshka": Kind(settings={"truncate_dim": 16}),
    "bert, Dense and Matryoshka": Kind(modules=("mean", "dense gelu 24"), settings={"truncate_dim": 16}),
    "bert, sharded": Kind(change="shards"),
    "bert, plain": Kind(modules=("mean",), change="plain"),
    "electra": Kind("Electra"),
    "roberta": Kind("Roberta", "bytes", config={"pad_token_id": 1}),
    "xlm-roberta": Kind("XLMRoberta", "unigram", ("cls", "normalize"), {"pad_token_id": 1}),
    "camembert": Kind("Camembert", "unigram", ("mean",), {"pad_token_id": 1}),
    "mpnet": Kind("MPNet", "roberta pieces", config={"pad_token_id": 1}),
    "distilbert": Kind("DistilBert", modules=("mean",), config=_DISTILBERT),
    "distilbert, Dense (distiluse)": Kind(
        "DistilBert", modules=("mean", "dense tanh 16"), config=_DISTILBERT
    ),
    "albert": Kind("Albert", "unigram", ("mean",), {"embedding_size": 16, "pad_token_id": 1}),
    "deberta-v2": Kind("DebertaV2", "unigram", config=_DEBERTA),
    "modernbert": Kind("ModernBert", "bytes", config=_MODERN),
    "t5": Kind("T5", "unigram", ("mean", "dense identity 48", "normalize"), _T5, encoder="T5EncoderModel"),
    "mt5": Kind("MT5", "unigram", ("mean",), _T5, encoder="MT5EncoderModel"),
    "umt5": Kind("UMT5", "unigram", ("mean",), _T5, encoder="UMT5EncoderModel"),
    "ernie": Kind("Ernie"),
    "eurobert": Kind("EuroBert", "bytes", config={**_ROTARY, "bos_token_id": 0, "eos_token_id": 2}),
    "gte": Kind("Gte", config={"pad_token_id": 0}),
    "qwen2": Kind("Qwen2", "bytes", ("lasttoken",), _QWEN),
    "llama": Kind("Llama", "bytes", ("mean",), _QWEN),
    "mistral": Kind("Mistral", "bytes", ("lasttoken",), _QWEN),
    "nomic_bert": Kind("NomicBert", config={"pad_token_id": 0}),
    "qwen3": Kind("Qwen3", "bytes", ("lasttoken", "normalize"), _QWEN, _PROMPTS),
    "gemma3_text": Kind(
        "Gemma3Text",
        "unigram",
        ("mean", "dense identity 48", "dense identity 32", "normalize"),
        _GEMMA,
        _PROMPTS,
    ),
}

# What transformers or sentence-transformers has, minilmx does not export: part of the error.
REFUSED = {
    "cross-encoder, two labels": "model gives 2 scores per pair of texts",
    "cross-encoder, ModernBERT": "is a cross-encoder of the architecture 'modernbert'",
    "cross-encoder, with a Pooling": "is a cross-encoder of Transformer + Pooling",
    "static embeddings (model2vec)": "modules of model: StaticEmbedding + Normalize",
    "sparse embeddings (SPLADE)": "is a SparseEncoder",
    "code of the model's own": "auto_map",
    "LSTM after the encoder": "modules of model: Transformer + LSTM + Pooling",
    "Dense with a residual": "use_residual True",
    "architecture xlnet": "architecture 'xlnet'",
    "adapter": "is an adapter",
}


def make_refused(name: str, folder: Path) -> Path:
    """The folder of a model of a kind that is refused, by its settings."""
    if name.startswith("static embeddings"):
        return make_static(folder)
    model = make_kind("bert, Dense (LaBSE)", folder)

    def change(file: str, **values: object) -> None:
        path = model / file
        content = json.loads(path.read_text()) if path.is_file() else {}
        path.write_text(json.dumps(content | values))

    def modules(*kinds: str) -> None:
        content = [
            {
                "idx": index,
                "path": f"{index}_{kind}" * bool(index),
                "type": f"sentence_transformers.models.{kind}",
            }
            for index, kind in enumerate(kinds)
        ]
        (model / "modules.json").write_text(json.dumps(content))

    def two_labels() -> None:
        (model / "modules.json").unlink()
        change("config.json", architectures=["BertForSequenceClassification"])

    def modern() -> None:
        (model / "modules.json").unlink()
        one = {"id2label": {"0": "LABEL_0"}, "model_type": "modernbert"}
        change("config.json", architectures=["ModernBertForSequenceClassification"], **one)

    changes: dict[str, Callable[[], object]] = {
        "cross-encoder, two labels": two_labels,
        "cross-encoder, ModernBERT": modern,
        "cross-encoder, with a Pooling": lambda: change(_SETTINGS, model_type="CrossEncoder"),
        "sparse embeddings (SPLADE)": lambda: change(_SETTINGS, model_type="SparseEncoder"),
        "code of the model's own": lambda: change("config.json", auto_map={"AutoModel": "own.Model"}),
        "LSTM after the encoder": lambda: modules("Transformer", "LSTM", "Pooling"),
        "Dense with a residual": lambda: change("2_Dense/config.json", use_residual=True),
        "architecture xlnet": lambda: change("config.json", model_type="xlnet"),
        "adapter": lambda: change("adapter_config.json", peft_type="LORA"),
    }
    changes[name]()
    return model


def make_static(folder: Path) -> Path:
    """The folder of a model of static embeddings, as sentence-transformers saves it."""
    import torch
    import transformers
    from sentence_transformers import SentenceTransformer

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # newer versions have moved them
        from sentence_transformers.models import Normalize, StaticEmbedding

    torch.manual_seed(11)
    modules = [StaticEmbedding(_bert(transformers), embedding_dim=WIDTH), Normalize()]
    SentenceTransformer(modules=modules, device="cpu").save_pretrained(
        str(folder / "model"), create_model_card=False
    )
    return folder / "model"


def make_kind(name: str, folder: Path) -> Path:
    """The folder of a model of this kind, as sentence-transformers saves it."""
    import torch
    import transformers
    from sentence_transformers import SentenceTransformer

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # newer versions have moved them
        from sentence_transformers.models import Dense, Normalize, Pooling, Transformer

    kind = KINDS[name]
    config = kind.config if "vocab_size" in kind.config else _CODER | kind.config
    made = getattr(transformers, f"{kind.architecture}Config")(**config)
    torch.manual_seed(11)
    encoder = getattr(transformers, kind.encoder or f"{kind.architecture}Model")(made)
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.normal_(std=0.2)
    activations = {
        "identity": torch.nn.Identity(),
        "tanh": torch.nn.Tanh(),
        "relu": torch.nn.ReLU(),
        "gelu": torch.nn.GELU(),
    }
    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        encoder.save_pretrained(folder / "encoder")
        _TOKENIZERS[kind.tokenizer](transformers).save_pretrained(folder / "encoder")
        modules: list[Any] = [Transformer(str(folder / "encoder"), max_seq_length=24)]
        width = WIDTH
        for word in kind.modules:
            first, *rest = word.split()
            if first == "dense":
                modules.append(Dense(width, int(rest[1]), activation_function=activations[rest[0]]))
                width = int(rest[1])
            elif first == "normalize":
                modules.append(Normalize())
            else:
                modes = first.split("+")
                modules.append(Pooling(WIDTH, modes[0] if len(modes) == 1 else tuple(modes)))
                width *= len(modes)
        settings = dict(kind.settings)
        model = SentenceTransformer(modules=modules, device="cpu", **settings)
        model.save_pretrained(str(folder / "model"), create_model_card=False)
        if kind.change == "shards":
            (folder / "model" / "model.safetensors").unlink()
            encoder.save_pretrained(folder / "model", max_shard_size="10KB")
    if kind.change == "plain":
        return folder / "encoder"
    return folder / "model"


def make_cross_encoder(architecture: str, folder: Path) -> Path:
    """The folder of a cross-encoder of this architecture, as transformers saves it."""
    import torch
    import transformers

    kind = next(kind for kind in KINDS.values() if kind.model_type == architecture)
    config = kind.config if "vocab_size" in kind.config else _CODER | kind.config
    made = getattr(transformers, f"{kind.architecture}Config")(**config, num_labels=1)
    torch.manual_seed(11)
    model = getattr(transformers, f"{kind.architecture}ForSequenceClassification")(made)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.2)
    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        model.save_pretrained(folder / "model")
        _TOKENIZERS[kind.tokenizer](transformers).save_pretrained(folder / "model")
    return folder / "model"


def _pieces(specials: list[str]) -> Tokenizer:
    """WordPiece, as BERT has: letters, digits and punctuation are a token each."""
    pieces = [*specials, *_LETTERS, *(f"##{letter}" for letter in _LETTERS)]
    unknown = "[UNK]"
    tokenizer = Tokenizer(
        models.WordPiece({piece: index for index, piece in enumerate(pieces)}, unk_token=unknown)
    )
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer


def _bert(transformers: Any) -> Any:
    tokenizer = _pieces(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    names = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
    return _wrap(transformers, tokenizer, names)


def _mpnet(transformers: Any) -> Any:
    """As all-mpnet-base-v2 has: BERT's pieces, RoBERTa's special tokens."""
    tokenizer = _pieces(["<s>", "<pad>", "</s>", "[UNK]", "<mask>"])
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    names = {"pad": "<pad>", "unk": "[UNK]", "cls": "<s>", "sep": "</s>", "bos": "<s>", "eos": "</s>"}
    return _wrap(transformers, tokenizer, names)


def _bytes(transformers: Any) -> Any:
    """Byte-level pairs, as RoBERTa, ModernBERT and Qwen have."""
    space = "\N{LATIN CAPITAL LETTER G WITH DOT ABOVE}"
    pieces = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", *_LETTERS, space, f"{space}a", "th"]
    tokenizer = Tokenizer(
        models.BPE({piece: index for index, piece in enumerate(pieces)}, [(space, "a"), ("t", "h")])
    )
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    names = {"pad": "<pad>", "unk": "<unk>", "cls": "<s>", "sep": "</s>", "bos": "<s>", "eos": "</s>"}
    return _wrap(transformers, tokenizer, names)


def _unigram(transformers: Any) -> Any:
    """Unigram pieces, as XLM-RoBERTa, T5 and others have from sentencepiece."""
    space = "\N{LOWER ONE EIGHTH BLOCK}"
    specials = ["<s>", "<pad>", "</s>", "<unk>"]
    pieces = [(piece, 0.0) for piece in specials]
    pieces += [(piece, -2.0) for piece in (space, *_LETTERS, f"{space}a", "th")]
    tokenizer = Tokenizer(models.Unigram(pieces, 3))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B </s>",
        special_tokens=[("<s>", 0), ("</s>", 2)],
    )
    names = {"pad": "<pad>", "unk": "<unk>", "cls": "<s>", "sep": "</s>", "bos": "<s>", "eos": "</s>"}
    return _wrap(transformers, tokenizer, names)


def _wrap(transformers: Any, tokenizer: Tokenizer, names: dict[str, str]) -> Any:
    tokenizer.add_special_tokens(sorted(set(names.values())))
    tokens = {f"{name}_token": token for name, token in names.items()}
    return transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **tokens)


_TOKENIZERS: dict[str, Callable[[Any], Any]] = {
    "pieces": _bert,
    "roberta pieces": _mpnet,
    "bytes": _bytes,
    "unigram": _unigram,
}
