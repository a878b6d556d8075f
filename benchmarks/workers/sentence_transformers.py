"""sentence-transformers with any of its backends, at its default batch size of 32."""

from sentence_transformers import SentenceTransformer


def load(model, max_tokens, file=None, model_kwargs=None):
    """`file` is the exported model in the folder, whose kind is the backend; None is torch."""
    kwargs = dict(model_kwargs or {})
    backend = "torch"
    if file:
        backend, _, kwargs["file_name"] = file.partition("/")
    transformer = SentenceTransformer(model, device="cpu", backend=backend, model_kwargs=kwargs)
    transformer.max_seq_length = max_tokens
    return lambda texts: (transformer.encode(texts, show_progress_bar=False), {})
