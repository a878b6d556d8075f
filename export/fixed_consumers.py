"""The folder `fixed/`: the fixed graph with settings by which other libraries run it."""

import json
import shutil
from pathlib import Path

from minilmx.errors import ExportError
from minilmx.models.manifest import Shape
from minilmx.models.tokenizer import load_tokenizer

FOLDER = "fixed"
_SAME = (
    "config.json",
    "config_sentence_transformers.json",
    "modules.json",
    "special_tokens_map.json",
    "tokenizer_config.json",
    "1_Pooling/config.json",
)


def write_fixed_consumers(folder: Path, graph: Path, shape: Shape) -> None:
    """Complete the folder that holds the fixed graph, from the files that `folder` has already.

    sentence-transformers (and what is built on it) pads every text to the sequence length, as
    sentence_bert_config.json tells it; fastembed does, because tokenizer.json says so. Neither
    file can hold the batch size: the user gives it. Raises ExportError where a file is missing.
    """
    target = graph.parent
    for name in _SAME:
        if (folder / name).is_file():
            (target / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(folder / name, target / name)
    tokenizer = load_tokenizer(folder / "tokenizer.json")
    padding = tokenizer.padding
    if padding is None:
        raise ExportError(f"{folder / 'tokenizer.json'} does not pad")
    tokenizer.enable_padding(
        pad_to_multiple_of=shape.sequence_length,  # fastembed drops a `length`
        pad_id=padding["pad_id"],
        pad_token=padding["pad_token"],
        pad_type_id=padding["pad_type_id"],
    )
    tokenizer.save(str(target / "tokenizer.json"), pretty=False)
    length = shape.sequence_length
    settings = {
        "max_seq_length": length,
        "do_lower_case": False,
        "model_args": {"file_name": graph.name},
        "processing_kwargs": {"text": {"padding": "max_length", "max_length": length}},
    }
    text = json.dumps(settings, indent=2, sort_keys=True) + "\n"
    (target / "sentence_bert_config.json").write_text(text, encoding="utf-8")
