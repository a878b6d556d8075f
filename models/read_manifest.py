"""Reading mlx.json: the rules that hold beyond the types of its fields."""

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import structs

from minilmx.errors import ArtifactError, boundary
from minilmx.files.documents import parse_json, require_version
from minilmx.models.manifest import (
    JOINED,
    MANIFEST_NAME,
    MAX_SIZE,
    POOLINGS,
    SCHEMA_VERSION,
    GraphKind,
    Manifest,
    Tensor,
    graph_interface,
)


def parse_manifest(document: bytes, name: str = MANIFEST_NAME) -> Manifest:
    """Read the content of mlx.json strictly; `name` is what errors call the file.

    Raises ArtifactError for another schema version, for a field that is missing, unknown, of the
    wrong type or out of bounds, and for graphs or files that contradict the rest.
    """
    try:
        content = parse_json(document)
    except ValueError as error:
        raise ArtifactError(f"{name}: {error}; expected a JSON object") from error
    if not isinstance(content, dict):
        raise ArtifactError(f"{name}: a JSON {type(content).__name__}; expected a JSON object")
    hint = "Export the model again, or use the version of minilmx that wrote it."
    require_version(content.get("schema_version"), SCHEMA_VERSION, name, ArtifactError, hint)
    with boundary(ArtifactError, f"{name}: not a manifest"):
        try:
            manifest = msgspec.convert(content, Manifest)
        except (msgspec.ValidationError, RecursionError) as error:
            raise ArtifactError(f"{name}{_explain(str(error), content)}") from error
    for field, found, expected in _interfaces(manifest):
        if found != expected:
            stated, needed = (", ".join(map(str, tensors)) or "none" for tensors in (found, expected))
            raise ArtifactError(f"{name}, {field}: {stated}; expected {needed}")
    if manifest.truncation and manifest.truncation.model_dimension < manifest.embedding_dimension:
        raise ArtifactError(
            f"{name}, truncation.model_dimension: {manifest.truncation.model_dimension}; expected at least "
            f"{manifest.embedding_dimension}, the embedding dimension"
        )
    names = manifest.poolings
    if not set(names) <= set(POOLINGS) or len(set(names)) < len(names):
        raise ArtifactError(
            f"{name}, pooling: {manifest.pooling!r:.80}; expected {', '.join(POOLINGS)}, or several "
            f"of them with {JOINED} between"
        )
    truncation = manifest.truncation
    full = manifest.embedding_dimension
    if truncation and not truncation.renormalized:
        full = truncation.model_dimension
    if (manifest.head or manifest.token_dimension) and manifest.widths[-1] != full:
        raise ArtifactError(
            f"{name}, head: embeddings of {manifest.widths[-1]} numbers; expected {full}, as the rest states"
        )
    if manifest.output and (full != 1 or not manifest.head or manifest.packed):
        fault = "with a packed graph" if manifest.packed else f"of {full} numbers"
        fault = fault if manifest.head else "without a head"
        raise ArtifactError(f"{name}, output: {manifest.output} {fault}; expected one number, from a head")
    if manifest.default_prompt and manifest.default_prompt not in (manifest.prompts or {}):
        raise ArtifactError(
            f"{name}, default_prompt: {manifest.default_prompt!r}; expected one of "
            f"{', '.join(sorted(manifest.prompts or {})) or 'none'}"
        )
    paths = Counter(file.path for file in manifest.files)
    for path, count in paths.items():
        if not path.isprintable() or "\\" in path or {"", ".", ".."} & set(path.split("/")):
            raise ArtifactError(f"{name}, files.path: {path!r}; expected a path inside the artifact")
        if count > 1:
            raise ArtifactError(f"{name}, files.path: {path!r}, listed {count} times; expected once")
    for kind in GraphKind:
        graph = getattr(manifest, kind)
        if graph and graph.path not in paths:
            raise ArtifactError(f"{name}, graphs.{kind}.path: {graph.path!r}; expected a path from `files`")
    if "tokenizer.json" not in paths:
        raise ArtifactError(f"{name}, files: no 'tokenizer.json'; expected one")
    return manifest


def _interfaces(manifest: Manifest) -> Iterator[tuple[str, list[Tensor], list[Tensor]]]:
    """Each list of tensors: its field, what it holds and what it must hold, with ? for a named dimension."""
    segments: int | str | None = None
    if manifest.packed:
        segments = next((dim for each in manifest.packed.outputs for dim in each.shape[1:2]), None)
    if not isinstance(segments, int) or segments > MAX_SIZE:
        segments = f"1 to {MAX_SIZE}"
    widths = (manifest.embedding_dimension, manifest.hidden_dimension)
    common = (manifest.shape, *widths, manifest.output_name, manifest.mask, segments)
    for kind in GraphKind:
        if graph := getattr(manifest, kind):
            found = (graph.inputs, graph.outputs)
            for name, stated, needed in zip(
                ("inputs", "outputs"), found, graph_interface(kind, *common), strict=True
            ):
                expected = _without_names(needed) if kind == GraphKind.DYNAMIC else list(needed)
                yield f"graphs.{kind}.{name}", _without_names(stated), expected


def _without_names(tensors: tuple[Tensor, ...]) -> list[Tensor]:
    shapes = [tuple("?" if isinstance(dim, str) else dim for dim in tensor.shape) for tensor in tensors]
    return [structs.replace(tensor, shape=shape) for tensor, shape in zip(tensors, shapes, strict=True)]


def _explain(fault: str, content: Any) -> str:
    """The field, its value and what was expected, from msgspec's message."""
    fault, _, field = fault.partition(" - at `$.")
    field = field.rstrip("`")
    value = content
    for step in re.findall(r"\w+", field):
        value = value[int(step) if isinstance(value, list) else step]
    found = "" if value and isinstance(value, dict | list) else f"{value!r:.80}; "
    fault = re.sub(
        r"`str` matching regex '\^\((.*)\)\\\\Z'", lambda match: match[1].replace("|", ", "), fault
    )
    fault = fault.removeprefix("Object ").removeprefix("contains ")
    return f"{field and ', '}{field}: {found}{fault[0].lower()}{fault[1:]}"
