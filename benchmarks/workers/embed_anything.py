"""embed-anything with onnxruntime, at its default batch size of 32.

It opens only what is in a cache of the hub: one is made, whose only model is a link to the folder.
"""

import os
import tempfile
from pathlib import Path

import numpy as np


def load(model, max_tokens, by_length=False):
    """Batches are in the order of the texts unless `by_length`. The tokenizer's own limit is `max_tokens`."""
    cache = tempfile.TemporaryDirectory()
    repository = Path(cache.name) / "hub" / "models--local--model"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("local")
    (repository / "snapshots").mkdir()
    (repository / "snapshots" / "local").symlink_to(Path(model).resolve())
    os.environ["HF_HOME"] = cache.name
    from embed_anything import EmbeddingModel, TextEmbedConfig, WhichModel, embed_query

    embedder = EmbeddingModel.from_pretrained_onnx(
        WhichModel.Bert, hf_model_id="local/model", path_in_repo="onnx/model.onnx"
    )
    config = TextEmbedConfig(batch_size=32)

    def embed(texts):
        order = np.arange(len(texts))
        if by_length:
            order = np.argsort([len(text) for text in texts], kind="stable")
        embedded = embed_query([texts[row] for row in order], embedder, config)
        return np.array([each.embedding for each in embedded], np.float32)[np.argsort(order)], {}

    return embed
