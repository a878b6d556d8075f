"""Embedding any number of texts with one runner, and the record of it."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minilmx.embedding.feeding import Advance, require_finite, run_tokenized
from minilmx.models.artifact import Artifact
from minilmx.models.tokenizer import TokenizedTexts, Tokenizer
from minilmx.runners.base import Details, Runner
from minilmx.runners.provenance import Provenance, record_provenance

RECORD_SCHEMA_VERSION = 1
# Texts tokenized at a time: bounds memory, is plenty for the tokenizer's threads, and has so many
# texts of each length that few batches of equal length are small.
_CHUNK_ROWS = 4096


@dataclass(frozen=True, slots=True)
class RunRecord:
    """What a run was: enough to know whether two runs may be compared.

    `inputs_sha256` is the digest of the token arrays, so equal digests mean that two runs saw
    identical inputs. `graph` is which of the artifact's graphs ran: fixed, packed or dynamic.
    `seconds` is the time of the running, without tokenizing; `latency_seconds` that of one
    batch from end to end, on average.
    """

    artifact: str
    artifact_sha256: str
    model: str
    graph: str
    inputs_sha256: str
    runner: str
    details: Details
    rows: int
    truncated_rows: int
    batches: int
    seconds: float
    latency_seconds: float
    provenance: Provenance

    @property
    def sentences_per_second(self) -> float:
        """Rows by the time of the running."""
        return self.rows / self.seconds

    def to_document(self) -> dict[str, Any]:
        """The record as it is saved in JSON."""
        return {
            "schema_version": RECORD_SCHEMA_VERSION,
            **asdict(self),
            "sentences_per_second": self.sentences_per_second,
        }


class EmbeddingJob:
    """Embeds texts with one runner, chunk by chunk, and keeps what the record says.

    Memory does not grow with the number of texts; while one chunk runs the next is tokenized.
    """

    def __init__(self, artifact: Artifact, runner: Runner) -> None:
        self._artifact = artifact
        self._runner = runner
        self._tokenizer = Tokenizer(artifact.tokenizer_file, artifact.shape)
        self._digest = hashlib.sha256()
        self.truncated_rows = 0
        self.seconds = 0.0  # of the running, without tokenizing
        self._rows = self._batches = 0
        self._batch_seconds = 0.0

    def embed(
        self, texts: Iterable[str], advance: Advance = lambda rows: None, first_row: int = 0
    ) -> Iterator[tuple[list[str], NDArray[np.float32]]]:
        """The texts in order, some at a time, each time with their embeddings, float32 [n, D].

        `first_row` is how many texts the user has before these. Raises RunnerFailed, also where
        an embedding is not finite.
        """
        for chunk, tokenized in self._tokenize(texts):
            found = run_tokenized(self._runner, tokenized, self._artifact, advance)
            require_finite(found.values, chunk, self._runner.name, first_row)
            first_row += len(chunk)
            self._rows += len(chunk)
            self.truncated_rows += int(tokenized.truncated.sum())
            self._batches += found.batches
            self.seconds += found.seconds
            self._batch_seconds += float(found.batch_seconds.sum())
            yield chunk, found.values

    def embed_all(
        self, texts: Sequence[str], advance: Advance = lambda rows: None, first_row: int = 0
    ) -> NDArray[np.float32]:
        """The embeddings of N texts together, float32 [N, D]. Raises RunnerFailed."""
        values = np.empty((len(texts), self._artifact.manifest.embedding_dimension), dtype=np.float32)
        done = 0
        for chunk, embeddings in self.embed(texts, advance, first_row):
            values[done : done + len(chunk)] = embeddings
            done += len(chunk)
        return values

    def record(self) -> RunRecord:
        """What has been run until now."""
        return RunRecord(
            artifact=self._artifact.path.resolve().name,
            artifact_sha256=self._artifact.digest,
            model=self._artifact.manifest.source.id,
            graph=self._artifact.graph_kind,
            inputs_sha256=self._digest.hexdigest(),
            runner=self._runner.name,
            details=dict(self._runner.details),
            rows=self._rows,
            truncated_rows=self.truncated_rows,
            batches=self._batches,
            seconds=self.seconds,
            latency_seconds=self._batch_seconds / max(self._batches, 1),
            provenance=record_provenance(),
        )

    def _tokenize(self, texts: Iterable[str]) -> Iterator[tuple[list[str], TokenizedTexts]]:
        """Chunks of whole batches, one ahead; only the last may end in a part of a batch.

        Texts are taken in the caller's thread, so that Ctrl-C ends a wait for standard input.
        """
        size = self._artifact.shape.batch_size
        remaining = iter(texts)

        def tokenize(chunk: list[str]) -> tuple[list[str], TokenizedTexts]:
            tokenized = self._tokenizer.encode(chunk)
            tokenized.update_digest(self._digest)
            return chunk, tokenized

        with ThreadPoolExecutor(1) as ahead:
            upcoming: Future[tuple[list[str], TokenizedTexts]] | None = None
            while chunk := list(islice(remaining, -(-_CHUNK_ROWS // size) * size)):
                following = ahead.submit(tokenize, chunk)
                if upcoming is not None:
                    yield upcoming.result()
                upcoming = following
            if upcoming is not None:
                yield upcoming.result()


def embed_texts(
    artifact: Artifact,
    runner: Runner,
    texts: Sequence[str],
    advance: Advance = lambda rows: None,
) -> tuple[NDArray[np.float32], RunRecord]:
    """Embed N texts: float32 [N, D], and the run's record.

    Raises RunnerFailed, also where an embedding is not finite.
    """
    job = EmbeddingJob(artifact, runner)
    return job.embed_all(texts, advance), job.record()
