"""optimum's ONNX model and a transformers tokenizer, in the loop that people write around them."""

import numpy as np
from optimum.onnxruntime import ORTModelForFeatureExtraction
from transformers import AutoTokenizer


def load(model, max_tokens, batch_size=32):
    """Batches are of texts of about the same length, so that little is padding."""
    tokenizer = AutoTokenizer.from_pretrained(model)
    session = ORTModelForFeatureExtraction.from_pretrained(model, subfolder="onnx", file_name="model.onnx")

    def embed_batch(texts):
        inputs = tokenizer(texts, padding=True, truncation=True, max_length=max_tokens, return_tensors="np")
        hidden = session(**inputs).last_hidden_state
        mask = inputs["attention_mask"][..., None].astype(np.float32)
        pooled = (hidden * mask).sum(axis=1) / mask.sum(axis=1)
        return pooled / np.linalg.norm(pooled, axis=1, keepdims=True)

    def embed(texts):
        order = np.argsort([len(text) for text in texts], kind="stable")
        batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
        embeddings = np.concatenate([embed_batch([texts[row] for row in batch]) for batch in batches])
        return embeddings[np.argsort(order)], {}

    return embed
