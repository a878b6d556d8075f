"""The runner `onnxruntime`: any graph of the artifact on the CPU."""

from minilmx.models.artifact import Artifact
from minilmx.runners.protocol import Runner, RunnerEntry, RunnerOptions


def _open(artifact: Artifact, options: RunnerOptions) -> Runner:
    from minilmx.runners.session import SessionRunner

    return SessionRunner(
        "onnxruntime",
        artifact.graph_file,
        threads=options.threads,
        graph_optimization=options.graph_optimization,
        # The fixed graph is run as a card runs it, one batch after another.
        concurrent=artifact.graph_kind != "fixed",
    )


ENTRY = RunnerEntry(
    "onnxruntime", "the graph on the CPU, as exported", lambda options: None, _open, dynamic=True
)
