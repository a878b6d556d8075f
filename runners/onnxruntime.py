"""The runner `onnxruntime`: any graph of the artifact on the CPU, or on a device of runners/devices.py."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from minilmx.arguments import require_choice
from minilmx.cpus import available_cpus
from minilmx.errors import RunnerError, RunnerFailed, boundary
from minilmx.models.artifact import Artifact
from minilmx.models.interface import SENTENCE_EMBEDDING
from minilmx.models.manifest import FLOAT32
from minilmx.models.session_options import OPTIMIZATION_LEVELS, session_options
from minilmx.progress import Progress
from minilmx.runners.base import ALL_GRAPHS, Batch, Details, Runner, RunnerEntry, ThreadOptions

PROVIDER = "CPUExecutionProvider"
CPU = "cpu"

# Fusions that cost time: without them an int8 graph of MiniLM takes 15% less (AMD Zen 5), and a float32
# graph as long as with them.
_DISABLED = ["SkipLayerNormFusion", "EmbedLayerNormFusion", "AttentionFusion"]


@dataclass(frozen=True, slots=True)
class OnnxruntimeOptions(ThreadOptions):
    """Also `graph_optimization`: onnxruntime's level, "disable", "basic", "extended" or "all".

    `device` is "cpu" or one of minilmx.runners.devices.DEVICES, and `device_options` are that execution
    provider's own options, each "key=value".
    """

    graph_optimization: str = "all"
    device: str = CPU
    device_options: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        ThreadOptions.__post_init__(self)
        require_choice("graph_optimization", self.graph_optimization, OPTIMIZATION_LEVELS)
        for option in self.device_options:
            if "=" not in option:
                raise ValueError(f"device_options: {option!r}; expected key=value")
        if self.device != CPU:
            from minilmx.runners.devices import DEVICES

            require_choice("device", self.device, (CPU, *DEVICES))
        elif self.device_options:
            given = ", ".join(self.device_options)
            raise RunnerError(
                f"the options of a device: {given}; expected none for the device cpu",
                "Choose another device.",
                unused=True,
            )


class SessionRunner(Runner):
    """Runs a graph with onnxruntime, with its inputs fed by name.

    Several batches run at once with one thread each, so that no thread waits for another between two
    operators, and an embedding does not depend on the number of threads. A device other than the CPU runs
    one batch after another.
    """

    name = "onnxruntime"

    def __init__(
        self,
        graph: Path | bytes,
        *,
        threads: int | None,
        graph_optimization: str,
        precision: str = FLOAT32,
        device: str = CPU,
        device_options: tuple[str, ...] = (),
        output: str = SENTENCE_EMBEDDING,
    ) -> None:
        """Open a session on a file or a serialised model. Raises RunnerFailed.

        `threads` is how many batches run at once (None: one per CPU), and on a device how many threads run
        the nodes that it does not take; `precision` is that of the graph, and `output` what `run` returns.
        """
        settings = session_options(graph_optimization, 1 if device == CPU else threads)
        # A memory plan per shape would take memory and save nothing.
        settings.enable_mem_pattern = False
        self._graph_optimization = graph_optimization
        self._precision = precision
        self._output = output
        model = graph if isinstance(graph, bytes) else str(graph)
        self._session: onnxruntime.InferenceSession | None
        self._place: Details
        with boundary(RunnerFailed, "onnxruntime cannot load the graph"):
            if device == CPU:
                self._session, self._place = self._open_cpu(model, settings, threads)
            else:
                from minilmx.runners.devices import open_on_device

                self._session, self._place = open_on_device(model, settings, device, device_options)

    def _open_cpu(
        self, model: str | bytes, settings: onnxruntime.SessionOptions, threads: int | None
    ) -> tuple[onnxruntime.InferenceSession, Details]:
        self.concurrency = threads or available_cpus()
        session = onnxruntime.InferenceSession(
            model, settings, providers=[PROVIDER], disabled_optimizers=_DISABLED, enable_fallback=0
        )
        return session, {"execution_provider": PROVIDER, "threads": self.concurrency}

    @property
    def details(self) -> Details:
        """The execution provider, the graph's precision, the settings and, on a device, its nodes."""
        return {
            **self._place,
            "precision": self._precision,
            "graph_optimization": self._graph_optimization,
        }

    @property
    def versions(self) -> Mapping[str, str]:
        return {"onnxruntime": onnxruntime.__version__}

    def run(self, batch: Batch) -> NDArray[np.float32]:
        """The output, float32: sentence_embedding is [B, D], and a score [B, 1]. Raises RunnerFailed."""
        return self._outputs([self._output], batch)[0]

    def close(self) -> None:
        """Free the session and its weights. Closing again does nothing."""
        self._session = None

    def _outputs(self, names: list[str], batch: Batch) -> list[NDArray[np.float32]]:
        if self._session is None:
            raise RunnerFailed(f"the runner {self.name} is closed", "Open it again.")
        with boundary(RunnerFailed, "onnxruntime failed on a batch"):
            outputs: list[NDArray[np.float32]] = self._session.run(names, batch.feeds())
        return outputs


def _open(artifact: Artifact, options: OnnxruntimeOptions, progress: Progress) -> Runner:
    with artifact.private_graph() as graph:
        return SessionRunner(
            graph,
            threads=options.threads,
            graph_optimization=options.graph_optimization,
            precision=artifact.manifest.precision,
            device=options.device,
            device_options=options.device_options,
            output=artifact.output_name,
        )


def _missing(options: OnnxruntimeOptions) -> str | None:
    if options.device == CPU:
        return None
    from minilmx.runners.devices import find_missing

    return find_missing(options.device)


def _versions(options: OnnxruntimeOptions) -> dict[str, str]:
    versions = {"onnxruntime": onnxruntime.__version__}
    if options.device == CPU:
        return versions
    from minilmx.runners.devices import plugin_versions

    return versions | plugin_versions(options.device)


ENTRY = RunnerEntry(
    "onnxruntime",
    "the graph on the CPU, as exported, or on a device",
    _missing,
    _open,
    OnnxruntimeOptions,
    ALL_GRAPHS,
    verifies=True,
    versions=_versions,
)
