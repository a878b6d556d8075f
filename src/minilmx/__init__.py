"""Are the embeddings still the same on the accelerator? minilmx exports, runs and compares."""

from importlib import metadata

__version__ = metadata.version("minilmx")
