"""What a model is: known models, where weights come from, tokenizing, the artifact on disk."""
