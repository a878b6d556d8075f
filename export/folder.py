"""The files beside the graphs that other libraries read: tokenizer, config, modules, card."""

import json
import shutil
from pathlib import Path
from typing import Any

from minilmx.errors import ExportError, ModelError
from minilmx.models.manifest import Manifest, Shape
from minilmx.models.settings import SETTINGS
from minilmx.models.source import ModelSource, read_json
from minilmx.models.tokenizer import load_tokenizer

# The small files of a model that decide what an artifact holds.
READ = ("modules.json", "1_Pooling/config.json", "tokenizer.json", "tokenizer_config.json")
COPIED = (
    "config.json",
    "special_tokens_map.json",
    "vocab.txt",
    SETTINGS,
)


def write_tokenizer(source: ModelSource, folder: Path, shape: Shape) -> None:
    """Write the tokenizer files with one limit everywhere: the artifact's sequence length.

    They pad to the longest text of a batch, as the dynamic-shape graph allows; minilmx itself pads to
    the fixed length. Raises ModelError for a source without tokenizer.json or padding token, ExportError
    for a sequence length without room for a token.
    """
    file = source.folder / "tokenizer.json"
    if not file.is_file():
        raise ModelError(f"{source.folder}: no tokenizer.json; expected one, as minilmx reads no other form")
    tokenizer = load_tokenizer(file)
    settings = _read_json_or_empty(source, "tokenizer_config.json")
    padding = dict(tokenizer.padding or {})
    pad_token = padding.get("pad_token") or _text(settings.get("pad_token") or "[PAD]")
    pad_id = tokenizer.token_to_id(pad_token)
    if pad_id is None:
        raise ModelError(f"{file}: no padding token {pad_token!r}; expected it in the vocabulary")
    smallest = tokenizer.num_special_tokens_to_add(False) + 1
    if shape.sequence_length < smallest:
        raise ExportError(
            f"sequence length: {shape.sequence_length}; expected at least {smallest}, for the special tokens "
            "and one more"
        )
    tokenizer.enable_padding(pad_id=pad_id, pad_token=pad_token, pad_type_id=padding.get("pad_type_id", 0))
    tokenizer.enable_truncation(shape.sequence_length)
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    settings |= {"model_max_length": shape.sequence_length, "pad_token": pad_token}
    write_json(folder / "tokenizer_config.json", settings)


def write_consumer_files(source: ModelSource, folder: Path, manifest: Manifest) -> None:
    """Write what libraries such as sentence-transformers look for in a model's folder."""
    pooling = manifest.pooling
    for name in COPIED:
        if (source.folder / name).is_file():
            shutil.copyfile(source.folder / name, folder / name)
    settings = folder / SETTINGS
    if manifest.truncation and manifest.truncation.renormalized and settings.is_file():
        content = read_json(folder, SETTINGS, dict)
        # The token embeddings are truncated already, perhaps to more numbers.
        if content.pop("truncate_dim", None) is not None:
            write_json(settings, content)
    kinds = ["Transformer", "Pooling"] + ["Normalize"] * manifest.normalized
    modules = [
        {
            "idx": index,
            "name": str(index),
            "path": f"{index}_{kind}" if index else "",
            "type": f"sentence_transformers.models.{kind}",
        }
        for index, kind in enumerate(kinds)
    ]
    write_json(folder / "modules.json", modules)
    limit = {"max_seq_length": manifest.shape.sequence_length, "do_lower_case": False}
    write_json(folder / "sentence_bert_config.json", limit)
    (folder / "1_Pooling").mkdir()
    write_json(
        folder / "1_Pooling" / "config.json",
        # Both forms: sentence-transformers 5.4 and later read the name, older ones the booleans.
        {
            "word_embedding_dimension": manifest.hidden_dimension,
            "pooling_mode": pooling,
            "pooling_mode_cls_token": pooling == "cls",
            "pooling_mode_mean_tokens": pooling == "mean",
            "pooling_mode_max_tokens": pooling == "max",
            "pooling_mode_mean_sqrt_len_tokens": False,
        },
    )


def write_model_card(folder: Path, manifest: Manifest) -> None:
    """Write README.md: what the folder is, and a few lines of Python that use it."""
    source, shape = manifest.source, manifest.shape
    revision = f" at revision `{source.revision}`" if source.revision else ""
    length = "scaled to unit length" if manifest.normalized else "not scaled"
    if manifest.truncation and not manifest.truncation.renormalized:
        length += f", then truncated from {manifest.truncation.model_dimension} numbers"
    prompt = (manifest.prompts or {}).get(manifest.default_prompt or "", "")
    texts = [json.dumps(prompt + text, ensure_ascii=False) for text in ("One sentence.", "Another one.")]
    prompts = []
    if manifest.prompts:
        names = ", ".join(f"`{name}`" for name in sorted(manifest.prompts))
        default = f"`{manifest.default_prompt}`" if manifest.default_prompt else "none"
        prompts = [f"Prompts, which are prepended to texts: {names}; by default {default}.", ""]
    lines = [
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
        + ". Outputs, float32: `last_hidden_state` and `sentence_embedding` "
        f"({manifest.embedding_dimension} numbers, {manifest.pooling} pooling, {length}).",
        "",
        *prompts,
        "```python",
        "import numpy, onnxruntime, tokenizers",
        "",
        'tokenizer = tokenizers.Tokenizer.from_file("tokenizer.json")',
        f'session = onnxruntime.InferenceSession("{manifest.dynamic.path}")',
        f"encoded = tokenizer.encode_batch([{', '.join(texts)}])",
        "feeds = {",
        '    "input_ids": numpy.array([e.ids for e in encoded]),',
        '    "attention_mask": numpy.array([e.attention_mask for e in encoded]),',
        '    "token_type_ids": numpy.array([e.type_ids for e in encoded]),',
        "}",
        'embeddings = session.run(["sentence_embedding"], feeds)[0]',
        "```",
        "",
    ]
    (folder / "README.md").write_text("\n".join(lines), encoding="utf-8")


def _read_json_or_empty(source: ModelSource, name: str) -> dict[str, Any]:
    return read_json(source.folder, name, dict) if (source.folder / name).is_file() else {}


def _text(token: Any) -> str:
    """A special token, which tokenizer_config.json gives as a string or as an object."""
    return str(token.get("content") if isinstance(token, dict) else token)


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file with sorted keys."""
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
