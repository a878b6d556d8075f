"""What is recorded of every run and result: which artifact, over which sentences, how fast."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from minilmx.models.artifact import Artifact
from minilmx.runners.base import Details
from minilmx.runners.provenance import Provenance, record_provenance

RECORD_SCHEMA_VERSION = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """The fields that run records, results, bisections and benchmarks begin with.

    `artifact` is the name of the artifact's folder, or hf://ID@COMMIT for one from the hub, `artifact_sha256`
    its digest, and `batch_size` and `sequence_length` are the shape of its fixed graph. `inputs_sha256` is
    the digest of the token arrays, so equal digests mean that two runs saw identical inputs. `prompt` is the
    name of the model's prompt that was prepended to every text, and `similarity` how its embeddings are
    compared: cosine, dot, euclidean or manhattan; "score" for a cross-encoder, whose sentences are pairs.
    """

    artifact: str
    artifact_sha256: str
    model: str
    model_revision: str | None
    batch_size: int | None
    sequence_length: int | None
    prompt: str | None
    similarity: str
    sentences: int
    truncated_sentences: int
    inputs_sha256: str
    provenance: Provenance


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """How long a runner took, in seconds.

    `seconds` is the whole time for all `batches`, and `latency_seconds` that of one batch from end to
    end, on average.
    """

    batches: int
    seconds: float
    latency_seconds: float
    sentences_per_second: float


def timing_of(sentences: int, seconds: float, batch_seconds: ArrayLike) -> Timing:
    """The timing of so many sentences in `seconds`, from how long each batch took."""
    each = np.asarray(batch_seconds)
    return Timing(
        batches=len(each),
        seconds=seconds,
        latency_seconds=float(each.mean()),
        sentences_per_second=sentences / seconds,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord(Header):
    """What a run was: enough to know whether two runs may be compared.

    `graph` is which of the artifact's graphs ran: fixed, packed or dynamic. The timing is of the
    runner alone, without tokenizing.
    """

    graph: str
    runner: str
    details: Details
    versions: dict[str, str]
    timing: Timing

    def to_document(self) -> dict[str, Any]:
        """The record as it is saved in JSON."""
        return {"schema_version": RECORD_SCHEMA_VERSION, **asdict(self)}


def artifact_fields(artifact: Artifact) -> dict[str, Any]:
    """The fields of a header that an artifact states, and where and when it is stated."""
    return {
        "artifact": artifact.name,
        "artifact_sha256": artifact.digest,
        "model": artifact.manifest.source.id,
        "model_revision": artifact.manifest.source.revision,
        "batch_size": artifact.shape.batch_size,
        "sequence_length": artifact.shape.sequence_length,
        "prompt": artifact.prompt_name,
        "similarity": artifact.similarity,
        "provenance": record_provenance(),
    }
