"""light-embed at its own defaults: batches of 32, by the number of characters.

It opens only models that it knows, from the hub: the folder takes the place of the download.
"""

from light_embed import TextEmbedding, text_embedding


def load(model, max_tokens, batch_size=32):
    text_embedding.get_onnx_model_info = lambda **_: {"model_file": "onnx/model.onnx"}
    text_embedding.download_onnx_model = lambda **_: model
    embedding = TextEmbedding(model)
    embedding.tokenizer.tokenizer.enable_truncation(max_tokens)
    return lambda texts: (
        embedding.encode(texts, batch_size=batch_size, normalize_embeddings=True),
        {},
    )
