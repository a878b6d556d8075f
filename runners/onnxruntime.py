"""The runner `onnxruntime`: any graph of the artifact on the CPU."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from minilmx.arguments import require_choice
from minilmx.errors import RunnerFailed
from minilmx.models.artifact import Artifact
from minilmx.models.interface import SENTENCE_EMBEDDING
from minilmx.models.manifest import FLOAT32
from minilmx.progress import Progress
from minilmx.runners.base import ALL_GRAPHS, Batch, Details, Runner, RunnerEntry, ThreadOptions
from minilmx.runners.provenance import available_cpus

PROVIDER = "CPUExecutionProvider"

# Fusions that cost time: without them an int8 graph of MiniLM takes 15% less (AMD Zen 5), and a float32
# graph as long as with them.
_DISABLED = ["SkipLayerNormFusion", "EmbedLayerNormFusion", "AttentionFusion"]

OPTIMIZATION_LEVELS = {
    "disable": onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL,
    "basic": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "extended": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "all": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL,
}


@dataclass(frozen=True, slots=True)
class OnnxruntimeOptions(ThreadOptions):
    """Also `graph_optimization`: onnxruntime's level, "disable", "basic", "extended" or "all"."""

    graph_optimization: str = "all"

    def __post_init__(self) -> None:
        ThreadOptions.__post_init__(self)
        require_choice("graph_optimization", self.graph_optimization, OPTIMIZATION_LEVELS)


class SessionRunner(Runner):
    """Runs a graph with onnxruntime, with its inputs fed by name.

    Several batches run at once with one thread each, so that no thread waits for another between two
    operators, and an embedding does not depend on the number of threads.
    """

    name = "onnxruntime"

    def __init__(
        self,
        graph: Path | bytes,
        *,
        threads: int | None,
        graph_optimization: str,
        precision: str = FLOAT32,
    ) -> None:
        """Open a session on a file or a serialised model. Raises RunnerFailed.

        `threads` is how many batches run at once (None: one per CPU); `precision` is that of the graph.
        """
        self.concurrency = threads or available_cpus()
        settings = onnxruntime.SessionOptions()
        settings.log_severity_level = 3  # errors only
        settings.graph_optimization_level = OPTIMIZATION_LEVELS[graph_optimization]
        # A memory plan per shape would take memory and save nothing.
        settings.enable_mem_pattern = False
        settings.intra_op_num_threads = 1
        self._graph_optimization = graph_optimization
        self._precision = precision
        model = graph if isinstance(graph, bytes) else str(graph)
        try:
            self._session: onnxruntime.InferenceSession | None = onnxruntime.InferenceSession(
                model, settings, providers=[PROVIDER], disabled_optimizers=_DISABLED, enable_fallback=0
            )
        except Exception as error:
            raise RunnerFailed(f"onnxruntime cannot load the graph: {error}") from error

    @property
    def details(self) -> Details:
        """The execution provider, the graph's precision and the settings."""
        return {
            "execution_provider": PROVIDER,
            "precision": self._precision,
            "graph_optimization": self._graph_optimization,
            "threads": self.concurrency,
        }

    @property
    def versions(self) -> Mapping[str, str]:
        """onnxruntime's version."""
        return {"onnxruntime": onnxruntime.__version__}

    def run(self, batch: Batch) -> NDArray[np.float32]:
        """The output, float32: sentence_embedding is [B, D]. Raises RunnerFailed."""
        return self._outputs([SENTENCE_EMBEDDING], batch)[0]

    def close(self) -> None:
        """Free the session and its weights. Closing again does nothing."""
        self._session = None

    def _outputs(self, names: list[str], batch: Batch) -> list[NDArray[np.float32]]:
        if self._session is None:
            raise RunnerFailed(f"the runner {self.name} is closed", "Open it again.")
        try:
            outputs: list[NDArray[np.float32]] = self._session.run(names, batch.feeds())
        except Exception as error:
            raise RunnerFailed(f"onnxruntime failed on a batch: {error}") from error
        return outputs


def _open(artifact: Artifact, options: OnnxruntimeOptions, progress: Progress) -> Runner:
    with artifact.private_graph() as graph:
        return SessionRunner(
            graph,
            threads=options.threads,
            graph_optimization=options.graph_optimization,
            precision=artifact.manifest.precision,
        )


ENTRY = RunnerEntry(
    "onnxruntime",
    "the graph on the CPU, as exported",
    lambda options: None,
    _open,
    OnnxruntimeOptions,
    ALL_GRAPHS,
    verifies=True,
)
