"""The folder `fixed/`: the fixed graph with the settings that other libraries need to run it."""

import shutil
from pathlib import Path
from typing import Any

from minilmx.export.folder import write_json
from minilmx.models.manifest import Manifest
from minilmx.models.tokenizer import load_tokenizer

FOLDER = "fixed"
SAME = (
    "config.json",
    "config_sentence_transformers.json",
    "modules.json",
    "special_tokens_map.json",
    "tokenizer_config.json",
    "1_Pooling/config.json",
)


def write_fixed_consumers(folder: Path, manifest: Manifest) -> None:
    """Complete the fixed graph's folder from the files that the artifact's `folder` has already.

    sentence-transformers (and what is built on it) reads in sentence_bert_config.json that it must pad
    every text to the sequence length, fastembed in tokenizer.json. Neither file can hold the batch size:
    the user chooses it.
    """
    graph = folder / manifest.fixed.path
    target, length = graph.parent, manifest.shape.sequence_length
    for name in SAME:
        if (folder / name).is_file():
            (target / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(folder / name, target / name)
    tokenizer = load_tokenizer(folder / "tokenizer.json")
    # Not `length`: fastembed ignores it.
    tokenizer.enable_padding(**(tokenizer.padding or {}) | {"pad_to_multiple_of": length})
    tokenizer.save(str(target / "tokenizer.json"), pretty=False)
    write_json(target / "sentence_bert_config.json", fixed_settings(manifest))


def fixed_settings(manifest: Manifest) -> dict[str, Any]:
    """The content of sentence_bert_config.json beside the fixed graph."""
    length = manifest.shape.sequence_length
    return {
        "max_seq_length": length,
        "do_lower_case": False,
        "model_args": {"file_name": Path(manifest.fixed.path).name},
        "processing_kwargs": {"text": {"padding": "max_length", "max_length": length}},
    }
