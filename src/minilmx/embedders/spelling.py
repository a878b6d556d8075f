"""One spelling for each kind of embedder."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import msgspec

from minilmx.embedders.base import TextEmbedder
from minilmx.embedders.endpoints import Endpoint, token_runner
from minilmx.embedders.protocols import PROTOCOLS, read_address
from minilmx.embedding.embedder import Embedder
from minilmx.errors import EvalError, boundary
from minilmx.models.artifact import Artifact, open_artifact, open_unverified
from minilmx.models.hub_artifact import is_hub_artifact
from minilmx.models.manifest import MANIFEST_NAME
from minilmx.progress import Progress
from minilmx.runners.base import RunnerEntry
from minilmx.runners.registry import (
    AUTO,
    choose_graph,
    find_runner,
    option_names,
    require_runner,
    runner_names,
)

_MODEL = "model"


@dataclass(frozen=True, slots=True)
class Spelled:
    """An embedder that can be opened. `name` is what reports call it."""

    name: str
    open: Callable[[Progress], Embedder | TextEmbedder]


def read_spelling(spelling: str) -> Spelled | Path:
    """The embedder of a spelling, which is not opened yet, or the file of embeddings that it names.

    ARTIFACT (a folder or hf://ID[@REVISION]), ARTIFACT@RUNNER:SETTING=VALUE,..., model:MODEL, and openai:,
    tei:, ollama: or kserve: with a URL. Raises EvalError for anything else and for a setting that does not
    exist, RunnerError for a runner that does not exist or cannot run here, and ArtifactError.
    """
    kind, _, rest = spelling.partition(":")
    if kind in PROTOCOLS and rest:
        return _endpoint(kind, rest)
    if kind == _MODEL and rest:
        return _model(rest)
    with boundary(EvalError, f"{spelling:.200} cannot be opened"):
        if is_hub_artifact(spelling):
            # What follows the last @ is a runner if there is one of that name, and else a revision.
            folder, at, runner = spelling.rpartition("@")
            if at and runner.partition(":")[0] in runner_names():
                return _artifact(Path(folder), runner, f"@{runner}")
            return _artifact(Path(spelling), "onnxruntime", "")
        path = Path(spelling)
        if path.is_dir():
            shard = min(path.glob("*.parquet"), default=None)
            if shard is not None and not (path / MANIFEST_NAME).exists():
                raise EvalError(
                    f"{spelling:.200} is a folder of shards; expected an artifact or a file of embeddings",
                    f"Compare shard by shard, such as {shard}.",
                )
            return _artifact(path, "onnxruntime", "")
        if path.exists():
            return path
        folder, at, runner = spelling.rpartition("@")
        if at and Path(folder).is_dir():
            return _artifact(Path(folder), runner, f"@{runner}")
    raise EvalError(
        f"{spelling:.200} does not exist; expected an artifact, a file of embeddings, {_MODEL}:MODEL, or an "
        f"endpoint ({', '.join(PROTOCOLS)})"
    )


def artifact_embedder(artifact: Artifact) -> Spelled:
    """An open artifact on the default runner."""
    return Spelled(artifact.name, lambda progress: Embedder(artifact, progress=progress))


def _artifact(folder: Path, runner: str | RunnerEntry, shown: str) -> Spelled:
    """An artifact on RUNNER:SETTING=VALUE,...; the settings are the runner's own, graph and prompt."""
    settings: dict[str, str] = {}
    if isinstance(runner, str):
        runner, _, spelled = runner.partition(":")
        settings = _read_settings(spelled)
    entry = find_runner(runner)
    graph, prompt = settings.pop("graph", AUTO), settings.pop("prompt", None)
    options = _convert(entry, settings)
    require_runner(entry, **options)
    opened = open_unverified(folder) if entry.verifies else open_artifact(folder)
    artifact = choose_graph(opened if prompt is None else opened.with_prompt(prompt), entry, graph)

    def open_embedder(progress: Progress) -> Embedder:
        return Embedder(artifact, entry, artifact.graph_kind, progress, **options)

    return Spelled(f"{opened.name}{shown}", open_embedder)


def _read_settings(spelled: str) -> dict[str, str]:
    settings: dict[str, str] = {}
    for each in filter(None, spelled.split(",")):
        name, _, value = each.partition("=")
        if not value or name in settings:
            raise EvalError(f"the setting {each:.80}; expected NAME=VALUE, each name once")
        settings[name] = value
    return settings


def _convert(entry: RunnerEntry, settings: Mapping[str, str]) -> dict[str, Any]:
    """Settings in the types of the runner's options."""
    known = option_names(entry)
    for name in settings:
        if name not in known:
            expected = ", ".join((*known, "graph", "prompt"))
            raise EvalError(f"the setting {name:.80} of the runner {entry.name}; expected one of {expected}")
    several = {field.name for field in fields(entry.options) if isinstance(field.default, tuple)}
    values = {
        name: (value,) if name in several else int(value) if value.isdecimal() else value
        for name, value in settings.items()
    }
    with boundary(EvalError, f"the settings of the runner {entry.name}"):
        options = msgspec.convert(
            values, entry.options, strict=False, dec_hook=lambda kind, value: kind(value)
        )
    return {name: getattr(options, name) for name in settings}


def _model(model: str) -> Spelled:
    with boundary(EvalError, f"{_MODEL}:{model:.200} cannot be opened"):
        folder = Path(model)
        name = f"{_MODEL}:{folder.resolve().name if folder.is_dir() else model}"

    def open_embedder(progress: Progress) -> TextEmbedder:
        from minilmx.embedders.model import ModelEmbedder

        return ModelEmbedder(model, name, progress)

    return Spelled(name, open_embedder)


def _endpoint(protocol: str, spelled: str) -> Spelled:
    address = read_address(protocol, spelled)
    folder = address.settings.get("artifact")
    if folder is not None:  # a graph that takes tokens
        tokens = _artifact(Path(folder), token_runner(address), "")
        return Spelled(address.name, tokens.open)
    return Spelled(address.name, lambda progress: Endpoint(address))
