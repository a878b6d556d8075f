"""The runners that exist, and opening one by name."""

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import fields
from importlib import metadata
from typing import Any

from minilmx.errors import RunnerError, RunnerFailed, RunnerUnavailable, boundary
from minilmx.models.artifact import Artifact
from minilmx.models.manifest import FLOAT32, GraphKind
from minilmx.progress import SILENT, Progress
from minilmx.runners.base import Runner, RunnerEntry

ENTRY_POINT_GROUP = "minilmx.runners"
AUTO = "auto"
_FASTEST_FIRST = (GraphKind.DYNAMIC, GraphKind.PACKED, GraphKind.FIXED)

# Modules by name, so that a runner's libraries are imported only when that runner is used.
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


def find_runner(name: str | RunnerEntry) -> RunnerEntry:
    """The runner of this name; an entry is returned as it is. Raises RunnerError."""
    if isinstance(name, RunnerEntry):
        return name
    module = _BUILT_IN.get(name)
    entry = importlib.import_module(module).ENTRY if module else _find_plugin(name)
    if not isinstance(entry, RunnerEntry) or entry.name != name:
        found = f"an entry for {entry.name!r}" if isinstance(entry, RunnerEntry) else repr(entry)
        raise RunnerError(
            f"the plug-in for the runner {name!r}: {found}; expected a RunnerEntry of that name"
        )
    return entry


def option_names(name: str | RunnerEntry) -> tuple[str, ...]:
    """The settings that a runner takes. Raises RunnerError."""
    return tuple(field.name for field in fields(find_runner(name).options))


def make_options(name: str | RunnerEntry, settings: Mapping[str, Any]) -> Any:
    """A runner's options record from settings. Raises RunnerError for a setting it does not have."""
    entry = find_runner(name)
    for setting in settings:
        if setting not in option_names(entry):
            raise _unknown_option([entry], setting)
    return entry.options(**settings)


def share_settings(names: Sequence[str], settings: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The settings of each of several runners: each takes those that it has.

    Raises RunnerError for a setting that none of them has.
    """
    shares = {name: own_settings(name, settings) for name in names}
    for setting in settings:
        if not any(setting in share for share in shares.values()):
            raise _unknown_option(names, setting)
    return shares


def own_settings(name: str | RunnerEntry, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the settings that a runner has. Raises RunnerError if the runner does not exist."""
    return {key: settings[key] for key in option_names(name) if key in settings}


def runner_versions(name: str | RunnerEntry, settings: Mapping[str, Any]) -> dict[str, str]:
    """The versions that a runner's numbers depend on, of a plug-in also its own. Raises RunnerError."""
    entry = find_runner(name)
    plugins = (point.dist for point in _plugins() if point.name == name and name not in _BUILT_IN)
    own = {package.name: package.version for package in plugins if package}
    return own | dict(entry.versions(make_options(entry, settings)))


def require_runner(name: str | RunnerEntry, **settings: Any) -> RunnerEntry:
    """The runner of this name. Raises RunnerError, or RunnerUnavailable if it cannot run here."""
    entry = find_runner(name)
    missing = entry.missing(make_options(entry, settings))
    if missing is not None:
        raise RunnerUnavailable(f"the runner {entry.name} cannot run here: {missing}")
    return entry


def choose_graph(artifact: Artifact, runner: str | RunnerEntry, graph: str) -> Artifact:
    """The artifact with the graph that was asked for.

    "auto" is the first of the dynamic-shape, the packed and the fixed graph that the artifact has and the
    runner takes. Raises RunnerError if the runner does not take the graph, or no cross-encoder, and
    ArtifactError if the artifact has no such graph.
    """
    entry = find_runner(runner)
    if graph == AUTO:
        kinds = [kind for kind in _FASTEST_FIRST if kind in entry.graphs and kind in artifact.graph_kinds]
        graph = kinds[0] if kinds else GraphKind.FIXED
    chosen = artifact.with_graph(graph)
    _require_fit(entry, chosen)
    return chosen


def open_runner(
    name: str | RunnerEntry, artifact: Artifact, progress: Progress = SILENT, **settings: Any
) -> Runner:
    """Open a runner on an artifact's graph.

    Raises RunnerError for an unknown name, setting or graph, RunnerUnavailable if this machine
    lacks what the runner needs, RunnerFailed if it cannot be opened.
    """
    _require_fit(find_runner(name), artifact)
    entry = require_runner(name, **settings)
    with boundary(RunnerFailed, f"the runner {entry.name} cannot be opened", named=True):
        return entry.open(artifact, make_options(entry, settings), progress)


def default_runners(artifact: Artifact) -> tuple[list[str], str]:
    """The runners of an evaluation that names none, and a message that says why."""
    if artifact.gives_scores:
        return (
            ["onnxruntime", "groq-emulator"],
            "a cross-encoder: comparing onnxruntime and groq-emulator, an emulation on the CPU",
        )
    precision = artifact.manifest.precision
    if precision != FLOAT32:
        return ["torch", "onnxruntime"], f"{precision}: comparing the PyTorch model with onnxruntime"
    groq = find_runner("groq")
    missing = groq.missing(groq.options())
    if missing is None:
        return ["onnxruntime", "groq"], "a GroqCard was found: comparing onnxruntime and groq"
    cards = importlib.import_module("minilmx.runners.groq.machine").find_cards()
    why = f"a GroqCard was found, but cannot be used: {missing}" if cards.exist else "no GroqCard was found"
    return (
        ["onnxruntime", "groq-emulator"],
        f"{why}: comparing onnxruntime and groq-emulator, an emulation on the CPU",
    )


def _unknown_option(runners: Sequence[str | RunnerEntry], setting: str) -> RunnerError:
    known = dict.fromkeys(option for runner in runners for option in option_names(runner))
    names = ", ".join(find_runner(runner).name for runner in runners)
    return RunnerError(
        f"unknown option of the runner{'s' if len(runners) > 1 else ''} {names}: {setting}; "
        f"expected {', '.join(known) or 'none'}"
    )


def _require_fit(entry: RunnerEntry, artifact: Artifact) -> None:
    if artifact.gives_scores and not entry.scores:
        raise RunnerUnavailable(
            f"{artifact.path} is a cross-encoder, which the runner {entry.name} does not take; expected an "
            "artifact that gives embeddings",
            "Score with another runner.",
        )
    if artifact.graph_kind not in entry.graphs:
        kinds = ", ".join(kind for kind in GraphKind if kind in entry.graphs)
        raise RunnerUnavailable(
            f"the runner {entry.name} does not take the {artifact.graph_kind} graph; expected {kinds}"
        )


def _plugins() -> metadata.EntryPoints:
    return metadata.entry_points(group=ENTRY_POINT_GROUP)


def _find_plugin(name: str) -> object:
    for point in _plugins():
        if point.name == name:
            try:
                return point.load()
            except Exception as error:
                raise RunnerError(f"the plug-in for the runner {name!r} cannot be loaded: {error}") from error
    raise RunnerError(f"the runner {name!r} does not exist; expected one of {', '.join(runner_names())}")
