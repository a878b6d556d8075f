"""Known models, the sources of their files, tokenizing, batching, and the artifact on disk."""
