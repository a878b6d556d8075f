"""Reading and writing files; nothing of models."""
