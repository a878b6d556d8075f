"""Golden files: texts with their embeddings, kept to find out whether anything changes them.

docs/golden.md describes the format, a safetensors file that a repository can hold.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from minilmx.errors import EvalError, boundary
from minilmx.eval.presets import require_preset
from minilmx.eval.results import Result
from minilmx.files.atomic import atomic_file
from minilmx.files.documents import MAX_BYTES, dump_json, parse_json, read_document, require_version
from minilmx.runners.base import Details
from minilmx.runners.provenance import Provenance
from minilmx.wording import counted

GOLDEN_SCHEMA_VERSION = 1
_TENSOR, _METADATA, _KEY = "embeddings", "__metadata__", "golden"


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldenRecord:
    """What a golden file states beside its embeddings.

    `texts` are N. `preset` is the one for checks, or None to choose it by the precision of what is compared.
    `embedder` is the name of what made the embeddings, with its `details` and `versions`.
    """

    schema_version: int
    texts: tuple[str, ...]
    preset: str | None
    embedder: str
    details: Details
    versions: Mapping[str, str]
    provenance: Provenance


@dataclass(frozen=True, slots=True)
class Golden:
    """A golden file: its name, its record, and its embeddings, float32 [N, D]."""

    name: str
    record: GoldenRecord
    values: NDArray[np.float32]


def save_golden(
    path: Path, record: GoldenRecord, values: NDArray[np.float32], *, replace: bool = False
) -> Golden:
    """Write a golden file. Raises EvalError for no texts and for what a check would refuse to read.

    Raises OutputError if the file cannot be written.
    """
    golden = Golden(path.name, record, np.ascontiguousarray(values, np.float32))
    _require_valid(golden, str(path))
    document = dump_json(msgspec.to_builtins(record))
    from safetensors.numpy import save

    content = save({_TENSOR: golden.values}, metadata={_KEY: document})
    if len(content) > MAX_BYTES:
        raise EvalError(
            f"{path}: {counted(len(record.texts), 'text')} and their embeddings have {len(content):,} bytes; "
            f"expected at most {MAX_BYTES:,}",
            "Keep fewer texts.",
        )
    with atomic_file(path, replace=replace) as temporary:
        temporary.write_bytes(content)
    return golden


def read_golden(path: Path) -> Golden:
    """Read a golden file. Raises EvalError unless it is exactly what save_golden writes."""
    from safetensors.numpy import load

    with boundary(EvalError, f"{path} cannot be read as a golden file"):
        content = read_document(path)
        (size,) = struct.unpack_from("<Q", content)
        metadata = parse_json(content[8 : 8 + size])[_METADATA]
        tensors = load(content)
        document = parse_json(metadata[_KEY].encode("utf-8"), names_files=True)
        if set(metadata) != {_KEY} or set(tensors) != {_TENSOR}:
            raise ValueError(f"it has parts other than {_KEY} and {_TENSOR}")
        require_version(document["schema_version"], GOLDEN_SCHEMA_VERSION, str(path), EvalError)
        golden = Golden(path.name, msgspec.convert(document, GoldenRecord), tensors[_TENSOR])
        "".join(golden.record.texts).encode("utf-8")  # half of a surrogate pair is not a character
        if set(document) != set(GoldenRecord.__dataclass_fields__):
            raise ValueError("its record has an unknown field")
        if golden.values.dtype != np.float32 or golden.values.ndim != 2:
            raise ValueError(f"{golden.values.dtype} {list(golden.values.shape)}; expected float32 [N, D]")
    _require_valid(golden, str(path))
    return golden


def _require_valid(golden: Golden, path: str) -> None:
    record, values = golden.record, golden.values
    if not record.texts:
        raise EvalError(f"{path}: no texts; expected at least one")
    if len(values) != len(record.texts):
        raise EvalError(
            f"{path}: {counted(len(values), 'embedding')}; expected {len(record.texts)}, one per text"
        )
    if not np.isfinite(values).all():
        raise EvalError(f"{path}: embeddings that are not finite; expected numbers")
    if record.preset is not None:
        require_preset(record.preset)


def most_moved(golden: Golden, result: Result) -> list[str]:
    """A line for each of the ten texts that moved most in a check: how far, and its beginning."""
    comparison = result.evaluations[0].runners[1].comparison
    profile = comparison and comparison.profile
    return [
        f"max abs {each.max_abs:.2e}, cosine {each.cosine:.6f}  {golden.record.texts[each.index]:.80}"
        for each in (profile.worst if profile else ())
        if each.max_abs > 0
    ]
