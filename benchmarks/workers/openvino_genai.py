"""OpenVINO GenAI's TextEmbeddingPipeline, in batches of 32."""

import numpy as np
from openvino_genai import TextEmbeddingPipeline


def load(model, max_tokens, by_length=False, batch_size=32, **properties):
    """`properties` are OpenVINO's; batches are in the order of the texts unless `by_length`."""
    config = TextEmbeddingPipeline.Config()
    config.pooling_type = TextEmbeddingPipeline.PoolingType.MEAN
    config.normalize = True
    config.max_length = max_tokens
    pipeline = TextEmbeddingPipeline(model, "CPU", config, **properties)

    def embed(texts):
        order = np.arange(len(texts))
        if by_length:
            order = np.argsort([len(text) for text in texts], kind="stable")
        batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
        parts = [pipeline.embed_documents([texts[row] for row in batch]) for batch in batches]
        return np.concatenate(parts).astype(np.float32)[np.argsort(order)], {}

    return embed
