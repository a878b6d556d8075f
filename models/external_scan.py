"""Whether an ONNX file may name weights in another file, found without parsing it."""

import mmap
from collections.abc import Iterator
from pathlib import Path

# Field numbers in onnx.proto.
_MODEL_GRAPH, _GRAPH_INITIALIZER, _TENSOR_EXTERNAL = 7, 5, {13, 14}


def may_be_external(graph: Path | bytes) -> bool:
    """Whether an ONNX file, or its content, may name external data: false only if it certainly does not.

    Passes over the numbers of the initializers, so that this takes a fraction of the time of parsing.
    """
    if isinstance(graph, bytes):
        return _names_a_location(graph)
    if graph.stat().st_size == 0:
        return False
    with graph.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return _names_a_location(data)


def _names_a_location(data: bytes | mmap.mmap) -> bool:
    try:
        for number, start, end in _fields(data, 0, len(data)):
            if number != _MODEL_GRAPH and data.find(b"location", start, end) >= 0:
                return True
            for inner, first, last in _fields(data, start, end) if number == _MODEL_GRAPH else ():
                if inner == _GRAPH_INITIALIZER:
                    if any(field in _TENSOR_EXTERNAL for field, _, _ in _fields(data, first, last)):
                        return True
                elif data.find(b"location", first, last) >= 0:
                    return True
    except (IndexError, ValueError):
        return True
    return False


def _fields(data: bytes | mmap.mmap, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """The fields of a protobuf message: number, and where the value starts and ends. Raises ValueError."""
    while start < end:
        tag, start = _varint(data, start)
        tag &= 0xFFFFFFFF  # as protobuf's own parser reads it
        kind = tag & 7
        if kind == 0:
            last = _varint(data, start)[1]
        elif kind == 2:
            size, start = _varint(data, start)
            last = start + size
        elif kind in (1, 5):
            last = start + (8 if kind == 1 else 4)
        else:
            raise ValueError("a protobuf field of another kind")
        if last > end:
            raise ValueError("a protobuf field that ends after its message")
        yield tag >> 3, start, last
        start = last


def _varint(data: bytes | mmap.mmap, at: int) -> tuple[int, int]:
    """A number, and where it ends. Raises IndexError at the end of the data."""
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, at
