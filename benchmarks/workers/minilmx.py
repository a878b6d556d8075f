"""minilmx with one of its artifacts, graphs and runners."""

from pathlib import Path

from minilmx.models.artifact import open_artifact
from minilmx.runners.job import embed_texts
from minilmx.runners.protocol import RunnerOptions
from minilmx.runners.registry import open_runner


def load(model, max_tokens, graph, runner, options):
    """`graph` is "fixed", "packed" or "dynamic", and `options` the runner's RunnerOptions."""
    artifact = open_artifact(Path(model))
    if artifact.shape.sequence_length != max_tokens:
        raise ValueError(
            f"the artifact is for {artifact.shape.sequence_length} tokens, expected {max_tokens}"
        )
    if graph != "fixed":
        artifact = getattr(artifact, f"as_{graph}")()
    opened = open_runner(runner, artifact, RunnerOptions(**options))
    return lambda texts: embed_texts(artifact, opened, texts)[0]
