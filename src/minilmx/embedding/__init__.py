"""Texts to embeddings through any runner: the embedder, files of embeddings, corpora."""
