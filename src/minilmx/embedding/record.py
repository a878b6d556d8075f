"""What is recorded of a run, so that its embeddings can be compared later."""

from dataclasses import asdict, dataclass
from typing import Any

from minilmx.runners.base import Details
from minilmx.runners.provenance import Provenance

RECORD_SCHEMA_VERSION = 2


@dataclass(frozen=True, slots=True)
class RunRecord:
    """What a run was: enough to know whether two runs may be compared.

    `inputs_sha256` is the digest of the token arrays, so equal digests mean that two runs saw
    identical inputs. `graph` is which of the artifact's graphs ran: fixed, packed or dynamic.
    `seconds` is the time inside the runner, without tokenizing; `latency_seconds` that of one
    batch from end to end, on average.
    """

    artifact: str
    artifact_sha256: str
    model: str
    graph: str
    inputs_sha256: str
    runner: str
    details: Details
    versions: dict[str, str]
    rows: int
    truncated_rows: int
    batches: int
    seconds: float
    latency_seconds: float
    provenance: Provenance

    @property
    def sentences_per_second(self) -> float:
        """Rows divided by the seconds inside the runner."""
        return self.rows / self.seconds

    def to_document(self) -> dict[str, Any]:
        """The record as it is saved in JSON."""
        return {
            "schema_version": RECORD_SCHEMA_VERSION,
            **asdict(self),
            "sentences_per_second": self.sentences_per_second,
        }
