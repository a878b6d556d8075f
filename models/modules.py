"""The modules of a sentence-transformers model: how token embeddings become one embedding."""

from collections.abc import Sequence
from dataclasses import dataclass

from minilmx.errors import ModelError
from minilmx.models.architectures import count_positions
from minilmx.models.cross_encoder import is_cross_encoder, read_head
from minilmx.models.interface import SCORE, SENTENCE_EMBEDDING
from minilmx.models.manifest import ACTIVATIONS, JOINED, MAX_SIZE, POOLINGS, Dense, Normalize
from minilmx.models.model_folder import ModelSource, list_modules, read_json, read_settings_file
from minilmx.models.settings import read_settings

# What to do about modules that minilmx does not export.
_HINTS = {
    "SpladePooling": "The model gives sparse embeddings. Choose a model with dense ones.",
    "StaticEmbedding": "A model of static embeddings needs no accelerator: run it in sentence-transformers, "
    "or compare it as model:FOLDER.",
    "CLIPModel": "The model embeds images. Choose a model for texts alone.",
}
# The older form of a Pooling config, in the order in which sentence-transformers joins the results.
BOOLEANS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
_EXPECTED = "Transformer + Pooling, then Dense and Normalize modules in any order"


@dataclass(frozen=True, slots=True)
class Modules:
    """What follows the encoder.

    `poolings` are those of a Pooling module, in the order in which their results are joined. `head` is what
    follows it, except for the last Normalize, which `normalized` states; `dense` are the folders of its Dense
    modules, relative to the model's. `layers` are a cross-encoder's: the names of the head's linear layers in
    the weights of the encoder.
    """

    poolings: tuple[str, ...]
    normalized: bool
    head: tuple[Dense | Normalize, ...] = ()
    dense: tuple[str, ...] = ()
    layers: tuple[str, ...] = ()

    @property
    def output(self) -> str:
        """What the model gives: a sentence_embedding per text, or a score per pair of texts."""
        return SCORE if self.layers else SENTENCE_EMBEDDING

    @property
    def names(self) -> tuple[str, ...]:
        """The classes of sentence-transformers that run, from the encoder's on."""
        return ("Transformer",) if self.layers else module_names(self.head, self.normalized)

    @property
    def pooling(self) -> str:
        """The poolings as the manifest states them: usually one."""
        return JOINED.join(self.poolings)

    @property
    def is_plain(self) -> bool:
        """Whether an embedding is as wide as a token embedding: one pooling, and no Dense module."""
        return not self.dense and not self.layers and len(self.poolings) == 1

    def width(self, token_dimension: int) -> int:
        """The numbers of a finished embedding."""
        widths = [step.out_features for step in self.head if isinstance(step, Dense)]
        return widths[-1] if widths else token_dimension * len(self.poolings)


def module_names(head: Sequence[Dense | Normalize], normalized: bool) -> tuple[str, ...]:
    """The classes of sentence-transformers that give an embedding, from the encoder's on."""
    steps = (type(step).__name__ for step in head)
    return ("Transformer", "Pooling", *steps, *["Normalize"] * normalized)


def read_modules(source: ModelSource) -> Modules:
    """The modules after the encoder, from the folder's modules.json and what it names.

    A plain folder of transformers does not state them: it gets the pooling that was asked for, or
    sentence-transformers' default, which is mean pooling, and is not normalised. Raises ModelError for
    modules, poolings or settings that minilmx does not know.
    """
    if is_cross_encoder(source):
        linear, layers = read_head(source)
        return Modules(("cls",), False, linear, layers=layers)
    if source.is_plain:
        pooling = source.pooling or POOLINGS[0]
        if pooling not in POOLINGS:
            raise ModelError(f"pooling {pooling!r}; expected {', '.join(POOLINGS[:-1])} or {POOLINGS[-1]}")
        return Modules((pooling,), False)
    modules = list_modules(source)
    # Only sentence-transformers' own classes: another package's Transformer is another module.
    foreign = [kind for kind, _ in modules if not kind.startswith("sentence_transformers.")]
    kinds = [kind if kind in foreign else kind.rsplit(".", 1)[-1] for kind, _ in modules]
    if foreign or kinds[:2] != ["Transformer", "Pooling"] or not set(kinds[2:]) <= {"Dense", "Normalize"}:
        hint = "A model's own code is never run. Choose a model of sentence-transformers' own modules."
        if not foreign:
            hints = (hint for kind, hint in _HINTS.items() if kind in kinds)
            hint = next(hints, "Choose a model of these modules.")
        raise ModelError(
            f"modules of {source.id}: {' + '.join(kinds) or 'none'}; expected {_EXPECTED}",
            hint,
        )
    head: list[Dense | Normalize] = []
    dense = []
    for kind, (_, path) in zip(kinds[2:], modules[2:], strict=True):
        if kind == "Normalize":
            head.append(Normalize())
        else:
            head.append(_read_dense(source, path))
            dense.append(path)
    normalized = kinds[-1] == "Normalize"
    return Modules(
        _read_poolings(source, modules[1][1]),
        normalized,
        tuple(head[:-1] if normalized else head),
        tuple(dense),
    )


def pooled_dimension(source: ModelSource) -> int | None:
    """The width of the token embeddings, as the Pooling module's config states it, if it does.

    That of an artifact with a chosen dimension is narrower than its config.json says.
    """
    if source.is_plain or is_cross_encoder(source):
        return None
    path = list_modules(source)[1][1]
    config = read_json(source.folder, f"{path}/config.json", dict)
    stated = config.get("embedding_dimension", config.get("word_embedding_dimension"))
    return stated if type(stated) is int else None


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
        if type(stated) is int and 1 <= stated <= MAX_SIZE:
            return min(stated, positions or stated)
    return None


def most_tokens(source: ModelSource) -> int | None:
    """The most tokens of a text that the model reads: those stated, otherwise its positions."""
    return stated_sequence_length(source) or count_positions(read_json(source.encoder, "config.json", dict))


def choose_widths(
    source: ModelSource, modules: Modules, token_dimension: int, dimension: int | None
) -> tuple[int, int]:
    """The numbers that are kept of a token embedding, before pooling, and of a finished embedding.

    `dimension` truncates token embeddings, so that the model's own normalisation renormalises the result;
    without it the folder's truncate_dim truncates the finished embedding. Raises ModelError if the model's
    embeddings are not so wide.
    """
    model_dimension = modules.width(token_dimension)
    if dimension is None:
        saved = read_settings(source).truncate_dimension or model_dimension
        return token_dimension, min(saved, model_dimension)
    if not modules.is_plain:
        what = "Dense modules" if modules.dense else "several poolings"
        raise ModelError(
            f"dimension: {dimension}; expected none for a model with {what}, which need all of a token "
            "embedding",
            "Save the model with a truncate_dim, which truncates its finished embeddings.",
            unused=True,
        )
    if dimension > model_dimension:
        raise ModelError(
            f"dimension: {dimension}; expected at most {model_dimension}, the width of {source.name}'s "
            "embeddings"
        )
    return dimension, dimension


def _read_poolings(source: ModelSource, path: str) -> tuple[str, ...]:
    """The pooling modes, from either form of sentence-transformers' Pooling config."""
    config = read_json(source.folder, f"{path}/config.json", dict)
    # In sentence-transformers' own order.
    on = [mode for key, mode in BOOLEANS.items() if config.get(key) is True]
    on += [key for key, value in config.items() if value is True and "mode" in key and key not in BOOLEANS]
    if "pooling_mode" in config:
        stated = config["pooling_mode"]
        on = list(stated) if isinstance(stated, list | tuple) else [stated]
    if config.get("include_prompt") is False and read_settings(source).prompts:
        raise ModelError(
            f"pooling of {source.id}: include_prompt false, which leaves out the tokens of a prompt; "
            "expected it unset for a model with prompts",
            "Choose a model that pools its prompt as well.",
        )
    if not on or any(mode not in POOLINGS for mode in on) or len(set(on)) < len(on):
        raise ModelError(
            f"pooling of {source.id}: {' + '.join(map(str, on)) or 'none'}; expected one or several of "
            f"{', '.join(POOLINGS)}"
        )
    return tuple(map(str, on))


def _read_dense(source: ModelSource, path: str) -> Dense:
    """The settings of a Dense module. Raises ModelError for one that does more than an activation."""
    name = f"{path}/config.json"
    config = read_json(source.folder, name, dict)
    size, bias = config.get("out_features"), config.get("bias", True)
    stated = config.get("activation_function", ACTIVATIONS["tanh"])
    activation = next((short for short, full in ACTIVATIONS.items() if full == stated), None)
    for key, found, fits, expected in (
        ("out_features", size, type(size) is int and 1 <= size <= MAX_SIZE, f"a number from 1 to {MAX_SIZE}"),
        ("bias", bias, isinstance(bias, bool), "true or false"),
        ("activation_function", stated, activation, f"one of {', '.join(ACTIVATIONS.values())}"),
        ("use_residual", config.get("use_residual"), not config.get("use_residual"), "it unset"),
        *(
            (key, config.get(key), config.get(key) in (None, "sentence_embedding"), "sentence_embedding")
            for key in ("module_input_name", "module_output_name")
        ),
    ):
        if not fits:
            raise ModelError(
                f"{source.folder / name}: {key} {found!r:.80}; expected {expected}",
                "Choose a model whose Dense modules are linear layers with such an activation.",
            )
    return Dense(size, bias, str(activation))  # type: ignore[arg-type] # checked above
