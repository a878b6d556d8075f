"""ONNX external data: weights in another file than their graph, found, checked, read and written.

A file can name any location, so one counts only if it is a regular file in the graph's own folder. A graph of
an artifact has all of it in one file, named after the graph: model.onnx_data for model.onnx.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, BinaryIO

from minilmx.errors import ArtifactError
from minilmx.models.external_scan import may_be_external

if TYPE_CHECKING:
    from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto

# A protobuf message, such as a whole ONNX file, has less than 2 GiB: this leaves 16 MiB for the nodes.
MAX_FILE_BYTES = 2**31 - 2**24
SUFFIX = "_data"
# Smaller tensors, such as shapes, stay in the graph, where shape inference reads them.
_LEAST_BYTES = 1024
# Offsets that can be mapped into memory.
_ALIGNMENT = 4096
_CHUNK_BYTES = 2**24
# Digits of an offset in the largest file.
_MOST_DIGITS = 20
_EXTERNAL = 1  # TensorProto.EXTERNAL
# Types of which several numbers share a byte.
_NARROW_BITS = {"INT4": 4, "UINT4": 4, "FLOAT4E2M1": 4, "INT2": 2, "UINT2": 2}


@dataclass(frozen=True, slots=True)
class Span:
    """The bytes of a tensor: `size_bytes` of `file`, starting at `offset`."""

    file: Path
    offset: int
    size_bytes: int

    def read(self) -> bytes:
        """All of the bytes."""
        return b"".join(self.chunks())

    def chunks(self) -> Iterator[bytes]:
        """The bytes in parts. Raises EOFError if the file has become shorter."""
        with self.file.open("rb") as stream:
            stream.seek(self.offset)
            remaining = self.size_bytes
            while remaining:
                chunk = stream.read(min(remaining, _CHUNK_BYTES))
                if not chunk:
                    raise EOFError(f"{self.file} is shorter than it was")
                remaining -= len(chunk)
                yield chunk


def fits_one_file(size_bytes: int) -> bool:
    """Whether weights of so many bytes fit into an ONNX file."""
    return size_bytes <= MAX_FILE_BYTES


def data_file(graph: Path) -> Path:
    """The file beside an artifact's graph that holds its weights if they do not fit into the graph."""
    return graph.with_name(graph.name + SUFFIX)


def external_tensors(model: "ModelProto") -> list["TensorProto"]:
    """The tensors whose numbers are in another file, wherever they are in the model."""
    return [tensor for tensor in all_tensors(model) if tensor.data_location == _EXTERNAL]


def all_tensors(model: "ModelProto") -> Iterator["TensorProto"]:
    """Every tensor of the graph, its subgraphs, functions and training graphs, attributes included."""
    training = ((info.initialization, info.algorithm) for info in model.training_info)
    for graph in (model.graph, *chain.from_iterable(training)):
        yield from _in_graph(graph)
    for function in model.functions:
        yield from _in_attributes(chain(function.attribute_proto, _attributes(function.node)))


def _in_graph(graph: "GraphProto") -> Iterator["TensorProto"]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    yield from _in_attributes(_attributes(graph.node))


def _attributes(nodes: Iterable["NodeProto"]) -> Iterator["AttributeProto"]:
    return chain.from_iterable(node.attribute for node in nodes)


def _in_attributes(attributes: Iterable["AttributeProto"]) -> Iterator["TensorProto"]:
    for attribute in attributes:
        yield from (attribute.t, *attribute.tensors)
        for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
            yield from (sparse.values, sparse.indices)
        for graph in (attribute.g, *attribute.graphs):
            yield from _in_graph(graph)


def tensor_bytes(tensor: "TensorProto") -> int:
    """How many bytes the numbers of a tensor have. Raises ValueError for a tensor of anything else."""
    from onnx import TensorProto, helper

    types = TensorProto.DataType
    name = types.Name(tensor.data_type) if tensor.data_type in types.values() else "UNDEFINED"
    if name in ("UNDEFINED", "STRING") or min(tensor.dims, default=0) < 0:
        kind = f"{name.lower()} {list(tensor.dims)}"
        raise ValueError(f"the weight {tensor.name!r:.80} of the type {kind}; expected numbers")
    bits: int = _NARROW_BITS.get(name) or 8 * helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    size: int = math.prod(tensor.dims) * bits
    return -(-size // 8)


def total_bytes(model: "ModelProto") -> int:
    """How many bytes all numbers have together, in the model and outside. Raises ValueError."""
    from onnx import TensorProto

    others = (TensorProto.UNDEFINED, TensorProto.STRING)
    return sum(tensor_bytes(tensor) for tensor in all_tensors(model) if tensor.data_type not in others)


def find_span(tensor: "TensorProto", folder: Path) -> Span:
    """Where the numbers of an external tensor of a graph in `folder` are.

    Raises ValueError, with what is wrong and what was expected, unless they lie within a regular file in that
    folder: no link, except to a blob of the same repository in the hub's cache.
    """
    fields = {entry.key: entry.value for entry in tensor.external_data}
    location = fields.get("location", "")
    what = f"the weight {tensor.name!r:.80} in {location!r:.80}"
    parts = PurePosixPath(location).parts
    if not parts or len(fields) < len(tensor.external_data) or not location.isprintable() or "\\" in location:
        raise ValueError(f"{what}; expected the name of one file")
    if PurePosixPath(location).is_absolute() or ".." in parts:
        raise ValueError(f"{what}; expected a file in the folder of the graph")
    file = folder.joinpath(*parts)
    if any((folder / parent).is_symlink() for parent in PurePosixPath(location).parents) or (
        file.is_symlink() and not is_cached_blob(file)
    ):
        raise ValueError(f"{what}, a symbolic link; expected a regular file")
    if not file.is_file():
        found = "is not a regular file" if file.exists() else "is missing"
        raise ValueError(f"{what}, which {found}; expected a regular file")
    held, size_bytes = file.stat().st_size, tensor_bytes(tensor)
    offset, length = fields.get("offset", "0"), fields.get("length", str(size_bytes))
    is_number = offset.isascii() and offset.isdigit() and len(offset) < _MOST_DIGITS
    if not is_number or length != str(size_bytes):
        raise ValueError(f"{what}: {length:.40} bytes at {offset:.40}; expected {size_bytes} bytes")
    if int(offset) + size_bytes > held:
        raise ValueError(
            f"{what}: {size_bytes} bytes at {offset}; expected them within the file's {held} bytes"
        )
    return Span(file, int(offset), size_bytes)


def is_cached_blob(link: Path) -> bool:
    """Whether a link leads to a blob of its own repository in the hub's cache: the cache's normal form."""
    snapshots = (folder.parent for folder in link.parent.resolve().parents if folder.name == "snapshots")
    return any(
        repo.name.startswith("models--") and link.resolve().parent == repo / "blobs" for repo in snapshots
    )


def embed(model: "ModelProto", folder: Path) -> None:
    """Put the numbers of every external tensor into the model. Raises ValueError as find_span does."""
    for tensor in external_tensors(model):
        tensor.raw_data = find_span(tensor, folder).read()
        tensor.ClearField("data_location")
        tensor.ClearField("external_data")


def save_model(model: "ModelProto", path: Path, folder: Path) -> None:
    """Write a model as one file, or with its data_file if it is too large; external tensors are in `folder`.

    Changes `model`. Raises ValueError as find_span does.
    """
    if fits_one_file(total_bytes(model)):
        embed(model, folder)
    else:
        with data_file(path).open("wb") as stream:
            for tensor in all_tensors(model):
                _move_out(tensor, folder, stream, data_file(path).name)
    path.write_bytes(model.SerializeToString(deterministic=True))


def _move_out(tensor: "TensorProto", folder: Path, stream: BinaryIO, location: str) -> None:
    """Append the numbers of a large tensor to a stream, and make the tensor name their place."""
    if tensor.data_location == _EXTERNAL:
        chunks: Iterable[bytes] = find_span(tensor, folder).chunks()
    elif tensor.HasField("raw_data") and len(tensor.raw_data) >= _LEAST_BYTES:
        chunks = [tensor.raw_data]
    else:
        return
    stream.write(bytes(-stream.tell() % _ALIGNMENT))
    offset = stream.tell()
    for chunk in chunks:
        stream.write(chunk)
    fields = {"location": location, "offset": str(offset), "length": str(stream.tell() - offset)}
    tensor.ClearField("raw_data")
    tensor.ClearField("external_data")
    tensor.data_location = tensor.EXTERNAL
    for key, value in fields.items():
        tensor.external_data.add(key=key, value=value)


def named_data_files(graph: Path) -> list[Path]:
    """The files beside a graph that it names for its weights, whether they exist or not; sorted.

    Empty for a file that does not exist or is not an ONNX file.
    """
    from minilmx.models.onnx_file import load_onnx

    try:
        tensors = external_tensors(load_onnx(graph)) if graph.is_file() and may_be_external(graph) else []
    except ArtifactError:
        return []
    entries = chain.from_iterable(tensor.external_data for tensor in tensors)
    names = {entry.value for entry in entries if entry.key == "location"}
    return sorted(graph.parent / name for name in names if name == PurePosixPath(name).name)


def external_fault(graph: Path | bytes, folder: Path, allowed: Path | None) -> str | None:
    """What is wrong with the external data of an ONNX file, with what was expected; None if nothing is.

    `graph` is the file, or its content. All of its data must be in the file `allowed` in `folder`, if there
    may be any. Raises ArtifactError for anything but ONNX.
    """
    if not may_be_external(graph):
        return None
    from minilmx.models.onnx_file import load_onnx

    try:
        for tensor in external_tensors(load_onnx(graph)):
            span = find_span(tensor, folder)
            if span.file != allowed:
                expected = f"it in {allowed.name}" if allowed else "all weights in the file itself"
                return f"the weight {tensor.name!r:.80} in {span.file.name!r}; expected {expected}"
    except ValueError as error:
        return str(error)
    return None
