"""An artifact in words, as several commands print it."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from minilmx.models.artifact import Artifact


def describe_length(artifact: "Artifact") -> str:
    """How many tokens the model itself reads, if the artifact reads another number; otherwise empty."""
    own, length = artifact.manifest.max_sequence_length, artifact.shape.sequence_length
    if not own or own == length:
        return ""
    verb = "truncates at" if length < own else "reads up to"
    return f"the model reads up to {own} tokens; this artifact {verb} {length}"


def describe_truncated(count: int, artifact: "Artifact") -> str:
    """How many texts were truncated; if the model itself reads more tokens, also where and what it reads."""
    own, length = artifact.manifest.max_sequence_length, artifact.shape.sequence_length
    if not count or not own or own <= length:
        return f"{count} truncated"
    return f"{count} truncated at {length} tokens (the model reads up to {own})"


def describe_dimension(artifact: "Artifact") -> str:
    """Which part of the model's own embedding the artifact's is; empty if it is the whole of it."""
    truncation = artifact.manifest.truncation
    if not truncation:
        return ""
    order = "before" if truncation.renormalized else "after"
    step = "normalising" if artifact.manifest.normalized else "pooling"
    return (
        f"the first {artifact.manifest.embedding_dimension} of the model's {truncation.model_dimension} "
        f"numbers, truncated {order} {step}"
    )
