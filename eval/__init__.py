"""Two runners' embeddings over the same batches in, Spearman correlation and drift out."""
