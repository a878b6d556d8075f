"""fastembed with a model of its user's own, from a folder."""

import json
from pathlib import Path

import numpy as np
from fastembed import TextEmbedding
from fastembed.common.model_description import ModelSource, PoolingType

_NAME = "benchmark/model"


def load(model, max_tokens, batch_size=None):
    """`batch_size` None is fastembed's own choice."""
    configured = json.loads((Path(model) / "tokenizer_config.json").read_text())["model_max_length"]
    if configured != max_tokens:
        raise ValueError(f"the tokenizer truncates at {configured} tokens, expected {max_tokens}")
    TextEmbedding.add_custom_model(
        model=_NAME,
        pooling=PoolingType.MEAN,
        normalization=True,
        sources=ModelSource(hf=_NAME),
        dim=384,
        model_file="onnx/model.onnx",
    )
    embedding = TextEmbedding(_NAME, specific_model_path=model)
    options = {"batch_size": batch_size} if batch_size else {}
    return lambda texts: (np.stack(list(embedding.embed(texts, **options))), {})
