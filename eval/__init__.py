"""Evaluation: runners over the same batches, compared by Spearman correlation and drift."""
