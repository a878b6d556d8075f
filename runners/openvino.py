"""The runner `openvino`: the same ONNX graph on OpenVINO's CPU plugin. Needs the extra `openvino`.

Precisions: f32 computes as onnxruntime does; bf16 stores every number in half the bits (on CPUs with
bf16 instructions); int8 rounds the weights of matrix products to signed int8, with one scale per
output channel, and OpenVINO quantizes activations at run time, with one scale per 128 numbers of a
token. In int8, all but matrix products is computed in bf16 if the CPU has it and in float32 otherwise.
"""

import importlib.util
import sys
import threading
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from minilmx.arguments import require_choice
from minilmx.cpus import available_cpus
from minilmx.errors import RunnerFailed, RunnerUnavailable, boundary
from minilmx.models.artifact import Artifact
from minilmx.models.int8 import round_weights_to_int8
from minilmx.models.manifest import FLOAT32
from minilmx.models.onnx_file import load_graph
from minilmx.progress import Progress
from minilmx.runners.base import ALL_GRAPHS, Batch, Details, Runner, RunnerEntry, ThreadOptions

if TYPE_CHECKING:
    import openvino

# Activations that share a scale: the fastest of 32 to 384; 32, OpenVINO's default, is more accurate. With
# 128 the least cosine of STSb's sentences is 0.991 (make bench, minilmx-ov-int8).
_INT8_GROUP = 128


@dataclass(frozen=True, slots=True)
class OpenvinoOptions(ThreadOptions):
    """Also `precision`: "f32", "bf16" or "int8"."""

    precision: str = "f32"

    def __post_init__(self) -> None:
        ThreadOptions.__post_init__(self)
        require_choice("precision", self.precision, ("f32", "bf16", "int8"))


class OpenvinoRunner(Runner):
    """A graph compiled for the CPU; each thread that calls `run` has an inference request of its own."""

    name = "openvino"

    def __init__(self, model: "openvino.Model", precision: str, threads: int, output: str) -> None:
        """Compile for `threads` batches at once, with one thread each; `run` returns the `output`."""
        openvino = _import_openvino()
        # Two threads that ask for the first type at the same time deadlock.
        openvino.Type.i64.to_dtype()
        self.concurrency = threads
        self._precision = precision
        self._output = output
        core = openvino.Core()
        narrow = precision == "bf16" or (precision == "int8" and _has_bf16(core))
        self._inference_precision = "bf16" if narrow else "f32"
        self._version = openvino.__version__
        self._requests = threading.local()
        self._compiled: Any = core.compile_model(
            model,
            "CPU",
            {
                "INFERENCE_PRECISION_HINT": self._inference_precision,
                "DYNAMIC_QUANTIZATION_GROUP_SIZE": _INT8_GROUP if precision == "int8" else 0,
                "INFERENCE_NUM_THREADS": threads,
                "NUM_STREAMS": threads,
            },
        )
        # OpenVINO drops an input that the graph does not use, such as a RoBERTa's token types.
        self._inputs = frozenset().union(*(port.names for port in self._compiled.inputs))

    @property
    def details(self) -> Details:
        """The precision, the precision of all but matrix products, and threads."""
        return {
            "precision": self._precision,
            "inference_precision": self._inference_precision,
            "threads": self.concurrency,
        }

    @property
    def versions(self) -> Mapping[str, str]:
        return {"openvino": self._version}

    def run(self, batch: Batch) -> NDArray[np.float32]:
        """The output, float32 [B, D] or [B, N, D]. Raises RunnerFailed."""
        if self._compiled is None:
            raise RunnerFailed(f"the runner {self.name} is closed", "Open it again.")
        request = getattr(self._requests, "request", None)
        if request is None:
            request = self._requests.request = self._compiled.create_infer_request()
        feeds = {name: ids for name, ids in batch.feeds().items() if name in self._inputs}
        with boundary(RunnerFailed, "OpenVINO failed on a batch"):
            # Inputs and outputs are shared, not copied; only the embeddings are copied.
            results = request.infer(feeds, share_inputs=True, share_outputs=True)
            embeddings: NDArray[np.float32] = results[self._output].copy()
        return embeddings

    def close(self) -> None:
        """Free the compiled graph. Closing again does nothing."""
        self._requests = threading.local()
        self._compiled = None


def _import_openvino() -> Any:
    """OpenVINO without its telemetry, which reports each import over the network.

    OpenVINO uses a stub if the package openvino_telemetry is missing, so this hides the package.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type] # as documented
    return importlib.import_module("openvino")


def _missing(options: OpenvinoOptions) -> str | None:
    if importlib.util.find_spec("openvino") is None:
        return "openvino not installed; pip install 'minilmx[openvino]'"
    if options.precision == "bf16" and not _has_bf16(_import_openvino().Core()):
        return "this CPU has no bf16 instructions; choose the precision f32 or int8"
    return None


def _has_bf16(core: "openvino.Core") -> bool:
    return "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def _open(artifact: Artifact, options: OpenvinoOptions, progress: Progress) -> Runner:
    openvino = _import_openvino()
    if artifact.manifest.precision != FLOAT32:
        raise RunnerUnavailable(
            f"the precision of the artifact: {artifact.manifest.precision}; expected float32",
            "Use the float32 artifact and the runner's precision int8.",
        )
    if options.precision == "int8" and artifact.graph_data:
        raise RunnerUnavailable(
            f"precision int8: weights in {artifact.graph_data.name}, as they have more than 2 GiB; expected "
            "them in the graph",
            "Choose the precision f32 or bf16.",
        )
    try:
        if options.precision == "int8":
            proto = load_graph(artifact)
            round_weights_to_int8(proto)
            model = openvino.Core().read_model(proto.SerializeToString())
        else:
            with artifact.private_graph() if artifact.graph_data else nullcontext() as path:
                model = openvino.Core().read_model(path or artifact.read(artifact.graph_file))
        threads = options.threads or available_cpus()
        return OpenvinoRunner(model, options.precision, threads, artifact.output_name)
    except RuntimeError as error:
        raise RunnerFailed(f"OpenVINO cannot load the graph: {error}") from error


ENTRY = RunnerEntry(
    "openvino",
    "the graph on the CPU with OpenVINO, in f32, bf16 or int8",
    _missing,
    _open,
    OpenvinoOptions,
    ALL_GRAPHS,
    verifies=True,
    versions=lambda options: {"openvino": metadata.version("openvino")},
)
