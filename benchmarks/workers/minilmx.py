"""minilmx with one of its artifacts, graphs and runners."""

from pathlib import Path

from minilmx.embedding.embedder import EmbeddingJob
from minilmx.models.artifact import open_artifact
from minilmx.runners.base import RunnerOptions
from minilmx.runners.registry import open_runner


def load(model, max_tokens, graph, runner, options):
    """`graph` is "fixed", "packed" or "dynamic", and `options` the runner's RunnerOptions."""
    artifact = open_artifact(Path(model))
    if artifact.shape.sequence_length > max_tokens:
        raise ValueError(f"the artifact takes {artifact.shape.sequence_length} tokens, expected {max_tokens}")
    if graph != "fixed":
        artifact = getattr(artifact, f"as_{graph}")()
    job = EmbeddingJob(artifact, open_runner(runner, artifact, RunnerOptions(**options)))

    def embed(texts):
        values = job.embed_all(texts)
        if artifact.shape.sequence_length < max_tokens and job.truncated_rows:
            raise ValueError(f"the artifact truncates at less than {max_tokens} tokens")
        return values

    return embed
