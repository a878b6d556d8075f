"""Which runners there are, and opening one by name."""

import importlib
from importlib import metadata

from minilmx.errors import MinilmxError, RunnerError, RunnerFailed, RunnerUnavailable
from minilmx.models.artifact import Artifact
from minilmx.models.manifest import FLOAT32
from minilmx.runners.base import Runner, RunnerEntry, RunnerOptions

ENTRY_POINT_GROUP = "minilmx.runners"

# Module paths, so that a runner's libraries are imported when it is asked for and not before.
_BUILT_IN = {
    "onnxruntime": "minilmx.runners.onnxruntime",
    "openvino": "minilmx.runners.openvino",
    "torch": "minilmx.runners.torch",
    "groq": "minilmx.runners.groq.runner",
    "groq-emulator": "minilmx.runners.groq_emulator",
}


def runner_names() -> list[str]:
    """The names of all runners: the built-in ones, then those of installed plug-ins."""
    return [*_BUILT_IN, *(point.name for point in _plugins() if point.name not in _BUILT_IN)]


def find_runner(name: str) -> RunnerEntry:
    """The runner of this name. Raises RunnerError where there is none."""
    module = _BUILT_IN.get(name)
    entry = importlib.import_module(module).ENTRY if module else _find_plugin(name)
    if not isinstance(entry, RunnerEntry) or entry.name != name:
        raise RunnerError(f"the plug-in for the runner {name!r} is no RunnerEntry of that name")
    return entry


def require_runner(name: str, options: RunnerOptions | None = None) -> RunnerEntry:
    """The runner of this name. Raises RunnerError, RunnerUnavailable where it cannot run here."""
    entry = find_runner(name)
    missing = entry.missing(options or RunnerOptions())
    if missing is not None:
        raise RunnerUnavailable(f"the runner {name} cannot run here: {missing}")
    return entry


def open_runner(name: str, artifact: Artifact, options: RunnerOptions | None = None) -> Runner:
    """Open a runner on an artifact.

    Raises RunnerError for an unknown name, RunnerUnavailable where this machine lacks what
    the runner needs, RunnerFailed where it cannot be opened.
    """
    options = options or RunnerOptions()
    entry = require_runner(name, options)
    if artifact.graph_kind == "dynamic" and not entry.dynamic:
        raise RunnerUnavailable(f"the runner {name} runs graphs of a fixed shape: give --fixed or --packed")
    try:
        return entry.open(artifact, options)
    except MinilmxError:
        raise
    except Exception as error:
        raise RunnerFailed(f"the runner {name} cannot be opened: {type(error).__name__}: {error}") from error


def _plugins() -> metadata.EntryPoints:
    return metadata.entry_points(group=ENTRY_POINT_GROUP)


def _find_plugin(name: str) -> object:
    for point in _plugins():
        if point.name == name:
            try:
                return point.load()
            except Exception as error:
                raise RunnerError(f"the plug-in for {name!r} cannot be loaded: {error}") from error
    raise RunnerError(f"there is no runner {name!r}: expected one of {', '.join(runner_names())}")


def default_runners(artifact: Artifact) -> tuple[list[str], str]:
    """The runners of an evaluation where none is named, and a line that says why."""
    precision = artifact.manifest.precision
    if precision != FLOAT32:
        return ["torch", "onnxruntime"], f"{precision}: comparing the PyTorch model with onnxruntime"
    if find_runner("groq").missing(RunnerOptions()) is None:
        return ["onnxruntime", "groq"], "a GroqCard was found: comparing onnxruntime and groq"
    return (
        ["onnxruntime", "groq-emulator"],
        "no GroqCard was found: comparing onnxruntime and groq-emulator, an emulation on the CPU",
    )
