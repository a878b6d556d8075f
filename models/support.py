"""Whether minilmx can export a model, from its settings alone: no weights and no torch."""

from dataclasses import dataclass

from minilmx.errors import ModelError
from minilmx.models.architectures import ARCHITECTURES, token_width
from minilmx.models.cross_encoder import KIND
from minilmx.models.model_folder import (
    INDEX,
    VOCABULARIES,
    ModelSource,
    read_json,
    read_settings_file,
    weights_files,
)
from minilmx.models.modules import most_tokens, read_modules
from minilmx.models.settings import SETTINGS, read_settings


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What a model's settings say.

    `modules` are the classes of sentence-transformers that run, one after the other. `prompts` are texts by
    name, and `default_prompt` is the name of the one that is prepended unless another is chosen.
    `output` is sentence_embedding, or score for a cross-encoder, whose `embedding_dimension` is 1.
    `max_sequence_length` is how many tokens of a text the model reads, None if nothing states it. `tokenizer`
    and `weights` describe in words where these come from.
    """

    architecture: str
    modules: tuple[str, ...]
    prompts: dict[str, str]
    default_prompt: str | None
    output: str
    pooling: str
    normalized: bool
    embedding_dimension: int | None
    max_sequence_length: int | None
    tokenizer: str
    weights: str


def check_model(source: ModelSource, *, onnx: bool = False) -> None:
    """Raise ModelError, with what to do, if the settings of a model rule out its export.

    An `onnx` file may have any architecture: its graph is checked instead.
    """
    if source.has(source.encoder / "adapter_config.json"):
        raise ModelError(
            f"{source.id} is an adapter (adapter_config.json); expected all weights of a model",
            "Merge the adapter into its base model, and save the result.",
        )
    kind = read_settings_file(source.folder, SETTINGS).get("model_type", "SentenceTransformer")
    if kind not in ("SentenceTransformer", KIND):
        raise ModelError(
            f"{source.id} is a {kind} of sentence-transformers; expected a SentenceTransformer or a {KIND}",
            "Choose a model that gives one vector per text, or one score per pair of texts.",
        )
    read_modules(source)  # before config.json, which a model of static embeddings does not have
    config = read_json(source.encoder, "config.json", dict)
    for name, content in (
        ("config.json", config),
        ("tokenizer_config.json", read_settings_file(source.encoder, "tokenizer_config.json")),
    ):
        if "auto_map" in content:
            raise ModelError(
                f"{source.encoder / name}: auto_map {content['auto_map']!r:.80}, which names code of the "
                "model; expected none",
                "A model's own code is never run. Choose a model of transformers' own classes, or, if you "
                "know that transformers' class computes the same, remove auto_map in a copy of the folder.",
            )
    architecture = config.get("model_type")
    if architecture not in ARCHITECTURES and not onnx:
        raise ModelError(
            f"{source.id}: architecture {architecture!r}; expected one of {', '.join(ARCHITECTURES)}",
            "Choose a model of one of these architectures.",
        )


def read_model_facts(source: ModelSource) -> ModelFacts:
    """The facts of a supported model. Raises ModelError for one that minilmx cannot export."""
    check_model(source)
    weights, encoder = weights_files(source), source.encoder
    config = read_json(encoder, "config.json", dict)
    width, modules, settings = token_width(config), read_modules(source), read_settings(source)
    return ModelFacts(
        str(config["model_type"]),
        modules.names,
        settings.prompts,
        settings.default_prompt,
        modules.output,
        modules.pooling,
        modules.normalized,
        width and modules.width(width),
        most_tokens(source),
        describe_tokenizer(source),
        f"{len(weights)} shards" if (encoder / INDEX).is_file() and len(weights) > 1 else weights[0].name,
    )


def describe_tokenizer(source: ModelSource) -> str:
    """The file that the tokenizer is read or made from, in words. Raises ModelError if there is none."""
    for name in ("tokenizer.json", *VOCABULARIES):
        if source.has(source.encoder / name):
            return name if name == "tokenizer.json" else f"made from {name}"
    raise ModelError(
        f"{source.encoder}: no tokenizer.json, and no vocabulary to create one from; expected tokenizer.json "
        f"or one of {', '.join(VOCABULARIES)}",
        "Save the model's tokenizer in its folder.",
    )
