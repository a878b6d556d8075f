"""The model of `mlx groq selftest`: a BERT of one layer with random weights.

Run this file to write runners/groq/selftest-artifact/ again, after a change of the exporter's graphs or of
the artifact's schema: `.venv/bin/python tests/runners/groq/selftest_model.py SCRATCH-FOLDER`.
"""

import json
import shutil
import string
import sys
from pathlib import Path

import numpy as np

import minilmx.runners.groq
from minilmx.export.exporter import export_model
from minilmx.export.options import ExportOptions
from minilmx.models.manifest import Shape
from minilmx.models.source import resolve_model

ARTIFACT = Path(minilmx.runners.groq.__file__).with_name("selftest-artifact")


def export_selftest(folder):
    """Export the model to folder/artifact, from the folder of a model that this makes."""
    model = folder / "minilmx-selftest"
    write_model(model)
    options = ExportOptions(Shape(2, 128), segments=16)
    export_model(resolve_model(str(model)), folder / "artifact", options)
    return folder / "artifact"


def write_model(folder: Path) -> None:
    import torch
    import transformers

    tokenizer = _letter_tokenizer()
    config = transformers.BertConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=128,
    )
    encoder = transformers.BertModel(config, add_pooling_layer=False)
    random = np.random.default_rng(13)  # the same weights with every version of torch
    with torch.no_grad():
        for name, parameter in sorted(encoder.named_parameters()):
            values = random.normal(scale=0.3, size=tuple(parameter.shape)) + name.endswith("LayerNorm.weight")
            parameter.copy_(torch.from_numpy(values.astype(np.float32)))
    encoder.save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    modules = [
        {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for number, (path, kind) in enumerate(
            (("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize"))
        )
    ]
    (folder / "1_Pooling").mkdir()
    for name, content in (
        ("modules.json", modules),
        ("1_Pooling/config.json", {"word_embedding_dimension": 32, "pooling_mode_mean_tokens": True}),
    ):
        (folder / name).write_text(json.dumps(content), encoding="utf-8")


def _letter_tokenizer():
    """Each letter and digit is a token; all else is unknown."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    letters = [*string.ascii_lowercase, *string.digits]
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters)]
    vocabulary = {piece: index for index, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.enable_padding(pad_id=0, pad_token="[PAD]")
    return tokenizer


if __name__ == "__main__":
    shutil.rmtree(ARTIFACT, ignore_errors=True)
    shutil.move(export_selftest(Path(sys.argv[1])), ARTIFACT)
