"""The files beside the graphs that other libraries read: tokenizer, config, modules, card."""

import json
import shutil
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from minilmx.errors import ExportError, ModelError
from minilmx.models.interface import INPUT_NAMES
from minilmx.models.manifest import ACTIVATIONS, INT64, Dense, Manifest, Shape
from minilmx.models.model_folder import (
    VOCABULARIES,
    WEIGHTS,
    ModelSource,
    dense_files,
    read_json,
    read_settings_file,
)
from minilmx.models.modules import BOOLEANS, module_names
from minilmx.models.settings import SETTINGS

# The small files of a model that decide what an artifact holds.
READ = (
    "tokenizer.json",
    "tokenizer_config.json",
    *(name for name in VOCABULARIES if name != "vocab.txt"),
    "merges.txt",
    "added_tokens.json",
    "sentence_bert_config.json",
)
COPIED = ("config.json", "special_tokens_map.json", "vocab.txt", SETTINGS)
_SPECIAL_TOKENS = [f"{name}_token" for name in ("bos", "eos", "unk", "sep", "cls", "mask")]
# What tokenizer_config.json of an artifact may hold.
TOKENIZER_SETTINGS = {
    *_SPECIAL_TOKENS,
    *("clean_up_tokenization_spaces", "model_input_names", "model_max_length"),
    *("pad_token", "tokenizer_class", "truncation_side"),
}


def find_setting(source: ModelSource, name: str) -> Path:
    """Where a model's small file is read from, if it exists: from beside the modules or the encoder."""
    return (source.folder if name == SETTINGS else source.encoder) / name


def write_tokenizer(
    tokenizer: Tokenizer, source: ModelSource, folder: Path, shape: Shape, *, pairs: bool
) -> None:
    """Write the tokenizer files with one limit everywhere: the artifact's sequence length.

    They pad to the longest text of a batch, as the dynamic-shape graph allows; minilmx itself pads to
    the fixed length. tokenizer_config.json names the class that takes tokenizer.json as it is, and holds no
    setting that could contradict it. Raises ModelError for a source without padding token, ExportError for a
    sequence length without room for a token, or with `pairs` for one of each text.
    """
    settings = read_settings_file(source.encoder, "tokenizer_config.json")
    padding = dict(tokenizer.padding or {})
    pad_token = padding.get("pad_token") or _find_pad_token(source, tokenizer, settings)
    pad_id = tokenizer.token_to_id(pad_token)
    if pad_id is None:
        raise ModelError(
            f"{source.encoder / 'tokenizer.json'}: no padding token {pad_token!r}; expected it in the "
            "vocabulary"
        )
    smallest = tokenizer.num_special_tokens_to_add(pairs) + (2 if pairs else 1)
    if shape.sequence_length < smallest:
        raise ExportError(
            f"sequence length: {shape.sequence_length}; expected at least {smallest}, for the special tokens "
            f"and {'one more of each text' if pairs else 'one more'}"
        )
    tokenizer.enable_padding(pad_id=pad_id, pad_token=pad_token, pad_type_id=padding.get("pad_type_id", 0))
    direction = (tokenizer.truncation or {}).get("direction", "right")
    tokenizer.enable_truncation(shape.sequence_length, direction=direction)
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    settings = {name: settings[name] for name in _SPECIAL_TOKENS if name in settings} | {
        "clean_up_tokenization_spaces": settings.get("clean_up_tokenization_spaces", True),
        "model_input_names": list(INPUT_NAMES),
        "model_max_length": shape.sequence_length,
        "pad_token": pad_token,
        "tokenizer_class": "PreTrainedTokenizerFast",
        "truncation_side": direction,
    }
    write_json(folder / "tokenizer_config.json", settings)


def write_consumer_files(source: ModelSource, folder: Path, manifest: Manifest) -> None:
    """Write what libraries such as sentence-transformers look for in a model's folder.

    Of a cross-encoder only its own settings: no library runs these graphs yet as one of its models.
    """
    for name in COPIED:
        if (file := find_setting(source, name)).is_file():
            shutil.copyfile(file, folder / name)
    settings = folder / SETTINGS
    if manifest.truncation and manifest.truncation.renormalized and settings.is_file():
        content = read_json(folder, SETTINGS, dict)
        # The token embeddings are truncated already, perhaps to more numbers.
        if content.pop("truncate_dim", None) is not None:
            write_json(settings, content)
    if manifest.gives_scores:
        return
    for name, made in own_files(manifest).items():
        (folder / name).parent.mkdir(exist_ok=True)
        write_json(folder / name, made)
    if manifest.head:
        _copy_dense(source, folder, manifest)


def _copy_dense(source: ModelSource, folder: Path, manifest: Manifest) -> None:
    """Write the weights of the Dense modules in float32, and nothing else that their files may hold."""
    from safetensors.torch import load_file, save_file  # needs torch

    for file, name in zip(dense_files(source), dense_weights(manifest), strict=True):
        tensors = load_file(file)
        names = {"linear.weight", "linear.bias"}
        kept = {name: tensor.float() for name, tensor in tensors.items() if name in names}
        save_file(kept, folder / name, {"format": "pt"})


def own_files(manifest: Manifest) -> dict[str, Any]:
    """The content of the files that the manifest alone decides, by their paths in the artifact."""
    poolings, kinds = manifest.poolings, module_names(manifest.head or (), manifest.normalized)
    modules = [
        {
            "idx": index,
            "name": str(index),
            "path": f"{index}_{kind}" if index else "",
            "type": f"sentence_transformers.models.{kind}",
        }
        for index, kind in enumerate(kinds)
    ]
    limit = {"max_seq_length": manifest.shape.sequence_length, "do_lower_case": False}
    # Both forms: sentence-transformers 5.4 and later read the name, older ones the booleans, of which the
    # oldest do not know the last two.
    on = {key: mode in poolings for key, mode in BOOLEANS.items()}
    pooled: dict[str, Any] = {"word_embedding_dimension": manifest.hidden_dimension}
    pooled |= {key: value for key, value in on.items() if value or key in list(on)[:4]}
    if len(poolings) == 1:
        pooled["pooling_mode"] = manifest.pooling
    elif list(poolings) != [mode for mode in BOOLEANS.values() if mode in poolings]:
        pooled["pooling_mode"] = list(poolings)  # the booleans do not state an order
    made = {"modules.json": modules, "sentence_bert_config.json": limit, "1_Pooling/config.json": pooled}
    dense = [step for step in manifest.head or () if isinstance(step, Dense)]
    for name, step, width in zip(dense_weights(manifest), dense, manifest.widths, strict=False):
        made[f"{name.split('/')[0]}/config.json"] = {
            "in_features": width,
            "out_features": step.out_features,
            "bias": step.bias,
            "activation_function": ACTIVATIONS[step.activation],
        }
    return made


def dense_weights(manifest: Manifest) -> list[str]:
    """The paths in the artifact of the weights of its Dense modules, in the order in which they run."""
    kinds = module_names(manifest.head or (), manifest.normalized)
    return [f"{index}_Dense/{WEIGHTS}" for index, kind in enumerate(kinds) if kind == "Dense"]


def model_card(manifest: Manifest) -> str:
    """The text of README.md: what the folder is, and a few lines of Python that use it."""
    source, shape = manifest.source, manifest.shape
    revision = f" at revision `{source.revision}`" if source.revision else ""
    length = "scaled to unit length" if manifest.normalized else "not scaled"
    if manifest.truncation and not manifest.truncation.renormalized:
        length += f", then truncated from {manifest.truncation.model_dimension} numbers"
    own = manifest.max_sequence_length
    read = f"; the model itself reads up to {own}" if own and own > shape.sequence_length else ""
    prompt = (manifest.prompts or {}).get(manifest.default_prompt or "", "")
    texts = [json.dumps(prompt + text, ensure_ascii=False) for text in ("One sentence.", "Another one.")]
    given, outputs, made = ", ".join(texts), "`last_hidden_state` and `sentence_embedding`", "embeddings"
    numbers = f"{manifest.embedding_dimension} numbers, {manifest.pooling} pooling, {length}"
    if manifest.gives_scores:
        last = manifest.head[-1] if manifest.head else None
        given, outputs, made = f"({given})", f"`{manifest.output_name}`", "scores"
        numbers = f"one number per pair of texts, activation {getattr(last, 'activation', 'identity')}"
    prompts = []
    if manifest.prompts:
        names = ", ".join(f"`{name}`" for name in sorted(manifest.prompts))
        default = f"`{manifest.default_prompt}`" if manifest.default_prompt else "none"
        prompts = [f"Prompts, which are prepended to texts: {names}; by default {default}.", ""]
    lines = [
        *_metadata(manifest),
        f"# {source.id}, {shape.batch_size} x {shape.sequence_length}",
        "",
        f"ONNX export by minilmx of `{source.id}`{revision}.",
        "",
        "| file | what it is |",
        "|---|---|",
        f"| `{manifest.fixed.path}` | the graph at the fixed shape batch size "
        f"{shape.batch_size}, sequence length {shape.sequence_length} |",
        f"| `{manifest.dynamic.path}` | the same weights with dynamic axes |",
        "| `mlx.json` | where it came from, and the digest of every file |",
        "",
        f"Precision {manifest.precision}, opset {manifest.opset}, IR {manifest.ir_version}. "
        "Inputs, int64, fed by name: "
        + ", ".join(f"`{tensor.name}`" for tensor in manifest.fixed.inputs)
        + ("" if manifest.mask == INT64 else f" (at the fixed shape, the mask is {manifest.mask})")
        + f". Outputs, float32: {outputs} ({numbers}).",
        "",
        f"Texts are truncated at {shape.sequence_length} tokens, in every graph{read}.",
        "",
        *prompts,
        "```python",
        "import numpy, onnxruntime, tokenizers",
        "",
        'tokenizer = tokenizers.Tokenizer.from_file("tokenizer.json")',
        f'session = onnxruntime.InferenceSession("{manifest.dynamic.path}")',
        f"encoded = tokenizer.encode_batch([{given}])",
        "feeds = {",
        '    "input_ids": numpy.array([e.ids for e in encoded]),',
        '    "attention_mask": numpy.array([e.attention_mask for e in encoded]),',
        '    "token_type_ids": numpy.array([e.type_ids for e in encoded]),',
        "}",
        f'{made} = session.run(["{manifest.output_name}"], feeds)[0]',
        "```",
        "",
    ]
    return "\n".join(lines)


def _metadata(manifest: Manifest) -> list[str]:
    """What the hub reads of a model card, as YAML; a quoted string of JSON is one of YAML."""
    is_on_hub = manifest.source.origin != "folder"
    return [
        "---",
        *([f"base_model: {json.dumps(manifest.source.id)}"] if is_on_hub else []),
        "library_name: minilmx",
        f"pipeline_tag: {'text-ranking' if manifest.gives_scores else 'sentence-similarity'}",
        "tags:",
        f"- {'cross-encoder' if manifest.gives_scores else 'feature-extraction'}",
        *(f"- {tag}" for tag in ("minilmx", "onnx", manifest.precision)),
        "---",
        "",
    ]


def _find_pad_token(source: ModelSource, tokenizer: Tokenizer, settings: dict[str, Any]) -> str:
    """The padding token, which one of three files names: tokenizer_config, special_tokens_map or config."""
    for content in (settings, read_settings_file(source.encoder, "special_tokens_map.json")):
        if content.get("pad_token"):
            return _text(content["pad_token"])
    pad_id = read_settings_file(source.encoder, "config.json").get("pad_token_id")
    if tokenizer.token_to_id("[PAD]") is None and isinstance(pad_id, int) and pad_id >= 0:
        return tokenizer.id_to_token(pad_id) or "[PAD]"
    return "[PAD]"


def _text(token: Any) -> str:
    """A special token, which tokenizer_config.json gives as a string or as an object."""
    return str(token.get("content") if isinstance(token, dict) else token)


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file with sorted keys."""
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
