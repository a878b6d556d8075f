"""What an export is asked for, and whether an artifact that is there already answers it."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import minilmx
from minilmx.errors import ArtifactError, ExportError, OutputError
from minilmx.export.fixed_consumers import FOLDER
from minilmx.export.folder import COPIED, READ
from minilmx.files.digest import sha256_of_file
from minilmx.models.artifact import Artifact, open_artifact
from minilmx.models.manifest import MANIFEST_NAME, Shape, Source
from minilmx.models.source import ModelSource


@dataclass(frozen=True, slots=True)
class Request:
    """All that decides an artifact's bytes, known before a model is loaded."""

    source: Source
    shape: Shape
    segments: int | None
    fixed_consumers: bool
    precision: str
    opset: int
    tools: Mapping[str, str]


def make_request(
    source: ModelSource,
    weights: Path,
    shape: Shape,
    segments: int | None,
    fixed_consumers: bool,
    precision: str,
    opset: int,
    packages: Sequence[str],
) -> Request:
    """The request, with the digests of all that is read and the versions of what shapes the bytes.

    Raises ExportError where one of the packages is missing.
    """
    recorded, tools = _record(source, weights), _versions(packages)
    return Request(recorded, shape, segments, fixed_consumers, precision, opset, tools)


def reusable_artifact(output: Path, request: Request) -> Artifact:
    """The artifact at `output` if the same inputs made it. Raises OutputError otherwise."""
    remedy = "give --force to replace it, or another --output"
    try:
        artifact = open_artifact(output)
    except ArtifactError as error:
        raise OutputError(f"{output} exists and cannot be reused: {error.message}; {remedy}") from error
    made = artifact.manifest
    for what, there, wanted in (
        ("model", made.source, request.source),
        ("shape", made.shape, request.shape),
        ("number of texts a row", artifact.packed_segments, request.segments),
        ("place of the fixed graph", made.fixed.path.startswith(f"{FOLDER}/"), request.fixed_consumers),
        ("precision", made.precision, request.precision),
        ("opset", made.opset, request.opset),
        ("tool version", dict(made.tools), dict(request.tools)),
    ):
        if there != wanted:
            raise OutputError(f"{output} exists, made from another {what}: {remedy}")
    return artifact


def check_replaceable(output: Path) -> None:
    """Raise OutputError unless --force may replace it: an artifact, or an empty folder."""
    is_artifact = (output / MANIFEST_NAME).is_file()
    if not output.is_dir() or (any(output.iterdir()) and not is_artifact):
        raise OutputError(
            f"{output} is not an artifact, and --force replaces nothing else: choose another --output"
        )


def _versions(packages: Sequence[str]) -> Mapping[str, str]:
    """Versions of what shapes the bytes. Raises ExportError where a package is missing."""
    try:
        found = {name: metadata.version(name) for name in ("onnx", "tokenizers", *packages)}
    except metadata.PackageNotFoundError as missing:
        raise ExportError(
            f"exporting needs {missing.name}, which is not installed: pip install 'minilmx[export]'"
        ) from missing
    return {"minilmx": minilmx.__version__} | found


def _record(source: ModelSource, file: Path) -> Source:
    """What the manifest says of the model: its id, and digests of all that is read."""
    state = hashlib.sha256()
    for name in (*READ, *COPIED):
        if (source.folder / name).is_file():
            state.update(f"{name} {sha256_of_file(source.folder / name)}\n".encode())
    return Source(source.id, source.revision, source.origin, sha256_of_file(file), state.hexdigest())
