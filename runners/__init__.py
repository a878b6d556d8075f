"""Runners: one TokenBatch at the artifact's shape in, one block of embeddings out."""
