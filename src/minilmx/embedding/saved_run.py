"""What `mlx run` saved, perhaps on another machine, and the embeddings of other programs."""

from dataclasses import dataclass
from pathlib import Path

import msgspec

from minilmx.embedding.output_file import RECORD_SUFFIX, record_path
from minilmx.embedding.record import RECORD_SCHEMA_VERSION, RunRecord
from minilmx.embedding.vectors import Selection, Vectors, read_vectors
from minilmx.errors import EvalError, boundary
from minilmx.files.digest import sha256_of_file
from minilmx.files.documents import LARGE_BYTES, parse_json, read_document, require_version
from minilmx.wording import counted


@dataclass(frozen=True, slots=True)
class SavedRun:
    """Embeddings, float32 [N, D], with the name of their file and their record, if there is one."""

    name: str
    record: RunRecord | None
    vectors: Vectors


@dataclass(frozen=True, slots=True, kw_only=True)
class _SavedRecord(RunRecord):
    """A run's record as it is saved beside its embeddings."""

    schema_version: int
    output: str
    sha256: str


def read_run(path: Path, selection: Selection | None = None) -> SavedRun:
    """Embeddings with their record, if FILE.run.json or `path` itself is one, and otherwise without.

    The rows of the `selection` are kept, by default all. Raises OutputError, and EvalError if a record or its
    file is missing, damaged, or not of a run.
    """
    if not path.name.endswith(RECORD_SUFFIX) and not record_path(path).exists():
        return SavedRun(path.name, None, read_vectors(path, selection))
    path = path.with_name(path.name.removesuffix(RECORD_SUFFIX))
    beside = record_path(path)
    with boundary(EvalError, f"{beside} cannot be read as a run's record"):
        document = parse_json(read_document(beside, LARGE_BYTES), names_files=True)
        require_version(document["schema_version"], RECORD_SCHEMA_VERSION, str(beside), EvalError)
        record = msgspec.convert(document, _SavedRecord)
    with boundary(EvalError, f"{path} cannot be read"):
        found = sha256_of_file(path)
    if found != record.sha256:
        raise EvalError(f"{path}: SHA-256 {found}, which is not what was saved; expected {record.sha256}")
    vectors = read_vectors(path, selection)
    if vectors.total != record.sentences:
        raise EvalError(f"{path}: {counted(vectors.total, 'embedding')}; expected {record.sentences:,}")
    return SavedRun(path.name, record, vectors)
