"""The runner `onnxruntime`: the artifact's fixed graph on the CPU."""

from minilmx.models.artifact import Artifact
from minilmx.runners.protocol import Runner, RunnerEntry, RunnerOptions


def _open(artifact: Artifact, options: RunnerOptions) -> Runner:
    from minilmx.runners.session import SessionRunner

    return SessionRunner(
        "onnxruntime",
        artifact.fixed_graph,
        threads=options.threads,
        graph_optimization=options.graph_optimization,
    )


ENTRY = RunnerEntry("onnxruntime", "the fixed graph on the CPU, in float32", lambda options: None, _open)
