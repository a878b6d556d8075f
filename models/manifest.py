"""mlx.json: what an artifact says of itself. The format is written down in docs/artifact.md."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePosixPath
from typing import Any

from minilmx.errors import ArtifactError

MANIFEST_NAME = "mlx.json"
SCHEMA_VERSION = 1
FLOAT32, INT8 = PRECISIONS = ("float32", "int8")


class GraphKind(StrEnum):
    """Which of an artifact's graphs: at the fixed shape, with dynamic axes, or packed."""

    FIXED = "fixed"
    DYNAMIC = "dynamic"
    PACKED = "packed"


@dataclass(frozen=True, slots=True)
class Shape:
    """The fixed shape of a graph's inputs: B rows (batch size) of S tokens (sequence length)."""

    batch_size: int
    sequence_length: int

    def __str__(self) -> str:
        return f"{self.batch_size}x{self.sequence_length}"


@dataclass(frozen=True, slots=True)
class Source:
    """The model an artifact was made from.

    `weights_sha256` is the digest of the weights file, `settings_sha256` of the model's
    configuration and tokenizer files together.
    """

    id: str
    revision: str | None
    origin: str
    weights_sha256: str
    settings_sha256: str


@dataclass(frozen=True, slots=True)
class Tensor:
    """An input or output of a graph: a dim is a number, or a name where it is dynamic."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]

    def __str__(self) -> str:
        return f"{self.name} {self.dtype} [{', '.join(map(str, self.shape))}]"


@dataclass(frozen=True, slots=True)
class Graph:
    """One ONNX file of the artifact and its interface, in the file's own order."""

    path: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


@dataclass(frozen=True, slots=True)
class File:
    """One file of the artifact."""

    path: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """All that mlx.json states. `tools` maps a package to its version; `files` is sorted.

    `packed` is the graph whose rows hold several texts each, where the artifact has one.
    """

    source: Source
    shape: Shape
    embedding_dimension: int
    pooling: str
    normalized: bool
    precision: str
    opset: int
    ir_version: int
    fixed: Graph
    dynamic: Graph
    packed: Graph | None
    tools: Mapping[str, str]
    files: tuple[File, ...]

    @property
    def graphs(self) -> dict[GraphKind, Graph]:
        """The artifact's graphs by kind; not every artifact has a packed one."""
        optional = {GraphKind.PACKED: self.packed} if self.packed else {}
        return {GraphKind.FIXED: self.fixed, GraphKind.DYNAMIC: self.dynamic, **optional}

    def to_json(self) -> str:
        """The bytes of mlx.json: sorted keys, two spaces, a newline at the end."""
        document = {
            "schema_version": SCHEMA_VERSION,
            "source": _fields(self.source),
            "shape": _fields(self.shape),
            "embedding_dimension": self.embedding_dimension,
            "pooling": self.pooling,
            "normalized": self.normalized,
            "precision": self.precision,
            "opset": self.opset,
            "ir_version": self.ir_version,
            "graphs": {
                name: {
                    "path": graph.path,
                    "inputs": [_fields(tensor) for tensor in graph.inputs],
                    "outputs": [_fields(tensor) for tensor in graph.outputs],
                }
                for name, graph in self.graphs.items()
            },
            "tools": dict(self.tools),
            "files": [_fields(file) for file in self.files],
        }
        return json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def parse_manifest(text: str) -> Manifest:
    """Read mlx.json strictly. Raises ArtifactError for anything but a schema we know."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{MANIFEST_NAME} is no JSON: {error}") from error
    if not isinstance(document, dict):
        raise ArtifactError(f"{MANIFEST_NAME} is no JSON object")
    version = document.pop("schema_version", None)
    if type(version) is not int or version != SCHEMA_VERSION:
        raise ArtifactError(
            f"{MANIFEST_NAME} has schema version {version!r}, and this minilmx reads version "
            f"{SCHEMA_VERSION}: export the model again, or use the minilmx that wrote it"
        )
    try:
        graphs = document.pop("graphs")
        manifest = Manifest(
            source=Source(**document.pop("source")),
            shape=Shape(**document.pop("shape")),
            fixed=_graph(graphs.pop("fixed")),
            dynamic=_graph(graphs.pop("dynamic")),
            packed=_graph(graphs.pop("packed")) if "packed" in graphs else None,
            files=tuple(File(**file) for file in _list(document.pop("files"))),
            **document,
        )
    except (TypeError, KeyError, AttributeError) as error:
        raise ArtifactError(
            f"{MANIFEST_NAME} does not follow schema version {SCHEMA_VERSION}: {error}"
        ) from error
    _check_values(manifest, leftover=graphs)
    return manifest


def _check_values(manifest: Manifest, *, leftover: Mapping[str, Any]) -> None:
    """The types and ranges that constructing the dataclasses did not check."""
    positive = {
        "batch_size": manifest.shape.batch_size,
        "sequence_length": manifest.shape.sequence_length,
        "embedding_dimension": manifest.embedding_dimension,
        "opset": manifest.opset,
        "ir_version": manifest.ir_version,
    }
    for name, value in positive.items():
        if type(value) is not int or value < 1:
            raise ArtifactError(f"{MANIFEST_NAME}: {name} is {value!r}, expected a whole number")
    if leftover:
        raise ArtifactError(f"{MANIFEST_NAME}: unknown graphs {', '.join(sorted(leftover))}")
    if not isinstance(manifest.normalized, bool) or not isinstance(manifest.tools, dict):
        raise ArtifactError(f"{MANIFEST_NAME}: normalized or tools is of the wrong type")
    graphs = [graph for graph in (manifest.fixed, manifest.dynamic, manifest.packed) if graph]
    source = manifest.source
    tensors = [tensor for graph in graphs for tensor in (*graph.inputs, *graph.outputs)]
    texts = [source.id, source.origin, source.weights_sha256, source.settings_sha256]
    texts += [manifest.pooling, manifest.precision, *manifest.tools.values()]
    texts += [text for tensor in tensors for text in (tensor.name, tensor.dtype)]
    for text in (*texts, "" if source.revision is None else source.revision):
        if not isinstance(text, str):
            raise ArtifactError(f"{MANIFEST_NAME}: {text!r} stands where a text is expected")
    if manifest.precision not in PRECISIONS:
        raise ArtifactError(
            f"{MANIFEST_NAME}: precision is {manifest.precision!r}, expected {' or '.join(PRECISIONS)}"
        )
    for dim in (dim for tensor in tensors for dim in tensor.shape):
        if type(dim) not in (int, str) or dim == "" or (type(dim) is int and dim < 1):
            raise ArtifactError(f"{MANIFEST_NAME}: a dim is {dim!r}, expected a number or a name")
    size = (manifest.shape.batch_size, manifest.shape.sequence_length)
    dimension = manifest.embedding_dimension
    expected = [size, size, size, (*size, dimension), (size[0], dimension)]
    if [tensor.shape for tensor in (*manifest.fixed.inputs, *manifest.fixed.outputs)] != expected:
        raise ArtifactError(
            f"{MANIFEST_NAME}: the fixed graph's tensors do not have the shape {manifest.shape} "
            f"and {dimension} numbers an embedding"
        )
    if manifest.packed is not None:
        shapes = [tensor.shape for tensor in (*manifest.packed.inputs, *manifest.packed.outputs)]
        if (
            shapes[:3] != [size] * 3
            or len(shapes) != 4
            or (shapes[3][:1], shapes[3][2:])
            != (
                size[:1],
                (dimension,),
            )
        ):
            raise ArtifactError(f"{MANIFEST_NAME}: the packed graph's tensors do not have its shape")
    for file in manifest.files:
        if not isinstance(file.path, str) or not _stays_inside(file.path):
            raise ArtifactError(f"{MANIFEST_NAME}: the path {file.path!r} leaves the artifact")
        if type(file.size_bytes) is not int or not isinstance(file.sha256, str):
            raise ArtifactError(f"{MANIFEST_NAME}: {file.path} has no size or digest")
    paths = [file.path for file in manifest.files]
    if len(set(paths)) != len(paths):
        raise ArtifactError(f"{MANIFEST_NAME}: a file is listed twice")
    for needed in (*(graph.path for graph in graphs), "tokenizer.json"):
        if needed not in paths:
            raise ArtifactError(f"{MANIFEST_NAME}: {needed!r} is not among the listed files")


def _stays_inside(path: str) -> bool:
    """Whether a manifest's path is relative, in POSIX form, and goes nowhere but down."""
    return (
        path not in ("", ".")
        and "\\" not in path
        and "\0" not in path
        and not path.startswith("/")
        and path == str(PurePosixPath(path))
        and ".." not in path.split("/")
    )


def _graph(document: dict[str, Any]) -> Graph:
    def tensors(name: str) -> tuple[Tensor, ...]:
        return tuple(
            Tensor(shape=tuple(_list(tensor.pop("shape"))), **tensor) for tensor in _list(document.pop(name))
        )

    inputs, outputs = tensors("inputs"), tensors("outputs")
    return Graph(inputs=inputs, outputs=outputs, **document)


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError(f"{value!r} stands where a list is expected")
    return value


def _fields(record: Any) -> dict[str, Any]:
    """A flat dataclass as a dict. dataclasses.asdict would copy every value deeply."""
    return {name: getattr(record, name) for name in record.__slots__}
