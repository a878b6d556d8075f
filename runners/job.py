"""Embedding any number of texts with one runner, and the record of it."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minilmx.models.artifact import Artifact
from minilmx.models.tokenizer import Tokenizer
from minilmx.runners.feeding import Advance, require_finite, run_tokenized
from minilmx.runners.protocol import Details, Runner
from minilmx.runners.provenance import Provenance, record_provenance

RECORD_SCHEMA_VERSION = 1
# Texts tokenized at a time: bounds memory, and is plenty for the tokenizer's threads.
_CHUNK_ROWS = 4096


@dataclass(frozen=True, slots=True)
class RunRecord:
    """What a run was: enough to know whether two runs may be compared.

    `inputs_sha256` is the digest of the token arrays, so equal digests mean that two runs saw
    identical inputs. `seconds` is the time inside the runner.
    """

    artifact: str
    artifact_sha256: str
    model: str
    inputs_sha256: str
    runner: str
    details: Details
    rows: int
    truncated_rows: int
    batches: int
    seconds: float
    provenance: Provenance

    @property
    def latency_seconds(self) -> float:
        """One batch from end to end, measured."""
        return self.seconds / self.batches

    @property
    def sentences_per_second(self) -> float:
        """Rows by the time inside the runner."""
        return self.rows / self.seconds

    def to_document(self) -> dict[str, Any]:
        """The record as it is saved in JSON."""
        return {
            "schema_version": RECORD_SCHEMA_VERSION,
            **asdict(self),
            "sentences_per_second": self.sentences_per_second,
            "latency_seconds": self.latency_seconds,
        }


def embed_texts(
    artifact: Artifact,
    runner: Runner,
    texts: Sequence[str],
    advance: Advance = lambda rows: None,
) -> tuple[NDArray[np.float32], RunRecord]:
    """Embed N texts: float32 [N, D], and the run's record.

    Raises RunnerFailed, also where an embedding is not finite.
    """
    tokenizer = Tokenizer(artifact.tokenizer_file, artifact.shape)
    values = np.empty((len(texts), artifact.manifest.embedding_dimension), dtype=np.float32)
    digest = hashlib.sha256()
    seconds, batches, truncated = 0.0, 0, 0
    for rows in _chunks(len(texts), artifact.shape.batch_size):
        tokenized = tokenizer.encode(texts[rows])
        tokenized.update_digest(digest)
        found = run_tokenized(runner, tokenized, values.shape[1], advance, segments=artifact.segments)
        require_finite(found.values, texts[rows], runner.name, rows.start)
        values[rows] = found.values
        seconds, batches = seconds + found.seconds, batches + found.batches
        truncated += int(tokenized.truncated.sum())
    record = RunRecord(
        artifact=artifact.path.resolve().name,
        artifact_sha256=artifact.digest,
        model=artifact.manifest.source.id,
        inputs_sha256=digest.hexdigest(),
        runner=runner.name,
        details=dict(runner.details),
        rows=len(texts),
        truncated_rows=truncated,
        batches=batches,
        seconds=seconds,
        provenance=record_provenance(),
    )
    return values, record


def _chunks(rows: int, batch_size: int) -> Iterator[slice]:
    """Slices of whole batches; only the last may end in a part of one."""
    step = -(-_CHUNK_ROWS // batch_size) * batch_size
    return (slice(start, min(start + step, rows)) for start in range(0, rows, step))
