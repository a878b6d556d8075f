"""Cross-encoders: models that read two texts together and give one score, such as rerankers.

What follows the encoder is a few linear layers on the first token, whose weights are in the encoder's file.
"""

from typing import Any

from minilmx.errors import ModelError
from minilmx.models.architectures import token_width
from minilmx.models.manifest import ACTIVATIONS, Dense
from minilmx.models.model_folder import ModelSource, list_modules, read_json, read_settings_file, tensor_names
from minilmx.models.settings import SETTINGS, read_settings

KIND = "CrossEncoder"  # as sentence-transformers names it
_HEAD = "ForSequenceClassification"  # as transformers' classes end
_DENSE_HEAD = ("classifier.dense", "classifier.out_proj")
# The linear layers of each architecture's head, by their names in the weights, and the activation between.
HEADS = {
    "bert": (("bert.pooler.dense", "classifier"), "tanh"),
    "electra": (_DENSE_HEAD, "gelu"),
    "roberta": (_DENSE_HEAD, "tanh"),
    "xlm-roberta": (_DENSE_HEAD, "tanh"),
    "camembert": (_DENSE_HEAD, "tanh"),
    "mpnet": (_DENSE_HEAD, "tanh"),
    "distilbert": (("pre_classifier", "classifier"), "relu"),
    "albert": (("albert.pooler", "classifier"), "tanh"),
    "deberta-v2": (("pooler.dense", "classifier"), "gelu"),
}
# What sentence-transformers 4 and later, and earlier ones, add to the config.json of a CrossEncoder.
_NEWER, _OLDER = "sentence_transformers", "sbert_ce_default_activation_function"
# The last layer of a head that classifies, by the names of transformers' classes.
_LAST_LAYERS = {"classifier.weight", "classifier.out_proj.weight", "score.weight"}
_CHOOSE = "Choose a cross-encoder with one label, or run it in sentence-transformers."
_EMBED = (
    "To embed texts without the head, name the encoder's own class in config.json, such as "
    '"architectures": ["BertModel"].'
)


def is_cross_encoder(source: ModelSource) -> bool:
    """Whether a folder says that it is a cross-encoder, of sentence-transformers or of transformers.

    A folder of transformers that does not name its class is one if it has the settings or the weights of a
    head that classifies. Raises ModelError for settings or weights that cannot be read.
    """
    if read_settings_file(source.folder, SETTINGS).get("model_type") == KIND:
        return True
    config = read_settings_file(source.folder, "config.json")
    if not source.is_plain or not config:
        return False
    name = _class_name(config)
    if name:
        return name.endswith(_HEAD)
    return _NEWER in config or _OLDER in config or not _LAST_LAYERS.isdisjoint(tensor_names(source))


def read_head(source: ModelSource) -> tuple[tuple[Dense, ...], tuple[str, ...]]:
    """The head of a cross-encoder: its linear layers, and their names in the encoder's weights.

    The last activation is the one that sentence-transformers' CrossEncoder applies to the score. Raises
    ModelError for a head that minilmx does not know, and for another number of labels than one.
    """
    kinds = [kind.rsplit(".", 1)[-1] for kind, _ in list_modules(source)]
    config = read_json(source.encoder, "config.json", dict)
    name = _class_name(config)
    if kinds not in ([], ["Transformer"]) or (name and not name.endswith(_HEAD)):
        found = " + ".join(kinds) or "Transformer"
        raise ModelError(
            f"{source.id} is a cross-encoder of {found} with {name or 'no class'}; expected "
            f"one Transformer of a class that ends in {_HEAD}",
            _CHOOSE,
        )
    labels = _count_labels(config)
    if labels != 1:
        raise ModelError(
            f"{source.id} gives {labels} scores per pair of texts, one per label; expected 1",
            _CHOOSE if name else f"{_CHOOSE} {_EMBED}",
        )
    architecture, width = config.get("model_type"), token_width(config)
    if architecture not in HEADS:
        raise ModelError(
            f"{source.id} is a cross-encoder of the architecture {architecture!r}; expected one of "
            f"{', '.join(HEADS)}",
            "Choose a cross-encoder of one of these architectures, or run it in sentence-transformers."
            + ("" if name else f" {_EMBED}"),
        )
    if width is None:
        raise ModelError(f"{source.encoder / 'config.json'}: no hidden_size; expected a whole number from 1")
    settings = read_settings(source)
    if settings.prompts.get(settings.default_prompt or ""):
        raise ModelError(
            f"{source.id} is a cross-encoder with the default prompt {settings.default_prompt!r}; expected "
            "none",
            "Choose a cross-encoder without prompts.",
        )
    names, activation = HEADS[architecture]
    return (Dense(width, True, activation), Dense(1, True, _activation(source, config))), names


def _class_name(config: dict[str, Any]) -> str:
    names = config.get("architectures") or [""]
    return str(names[0]) if isinstance(names, list) else ""


def _count_labels(config: dict[str, Any]) -> int:
    """As transformers counts them: it takes two if the config does not say."""
    stated, names = config.get("num_labels"), config.get("id2label")
    if isinstance(names, dict):
        return len(names)
    return stated if isinstance(stated, int) else 2


def _activation(source: ModelSource, config: dict[str, Any]) -> str:
    """The activation of the score: one of three settings names it, and otherwise it is a sigmoid.

    As in sentence-transformers, which reads the first only beside a modules.json, and ignores one that is
    not torch's. Raises ModelError for another of torch's.
    """
    saved = {} if source.is_plain else read_settings_file(source.folder, SETTINGS)
    newer = config.get(_NEWER)
    for stated in (
        saved.get("activation_fn"),
        (newer if isinstance(newer, dict) else {}).get("activation_fn") or config.get(_OLDER),
    ):
        if not isinstance(stated, str) or not stated.startswith("torch."):
            continue
        for name, full in ACTIVATIONS.items():
            if full.rsplit(".", 1)[-1] == stated.rsplit(".", 1)[-1]:
                return name
        raise ModelError(
            f"{source.id}: activation_fn {stated!r:.80}; expected one of {', '.join(ACTIVATIONS.values())}",
            "Choose a cross-encoder with one of these activations.",
        )
    return "sigmoid"
