"""A runner that is open on one graph of an artifact: what embedders and scorers share.

Tokenizing, padding, batching, packing and the checks of what comes back are written once, here, and are the
same for every runner.
"""

import hashlib
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Generic

import numpy as np
from numpy.typing import NDArray

from minilmx.embedding.record import RunRecord, Timing, artifact_fields
from minilmx.errors import ArtifactError, RunnerFailed, boundary
from minilmx.models.artifact import Artifact
from minilmx.models.batching import Fed, feed_batches
from minilmx.models.tokenizer import Given, TokenizedTexts, Tokenizer, count_characters, open_tokenizer
from minilmx.progress import SILENT, Advance, Progress
from minilmx.runners.base import Runner, RunnerEntry, facts_of
from minilmx.runners.registry import AUTO, choose_graph, open_runner
from minilmx.threads import map_in_threads

if TYPE_CHECKING:
    from typing import Self  # of Python 3.11

# Texts tokenized at a time: bounds memory, is plenty for the tokenizer's threads, and has so many
# texts of each length that few batches of equal length are small.
_CHUNK_ROWS = 4096
_CHUNK_CHARACTERS = 2**25  # or fewer texts than that, if they are long


@dataclass(frozen=True, slots=True)
class Embeddings:
    """What a runner made of N texts.

    `values` is float32 [N, D]. `seconds` is the time from the first batch to the last, without
    tokenizing; `batch_seconds`, float64 [batches], is how long the runner took for each, or its share of a
    call that took several.
    """

    values: NDArray[np.float32]
    seconds: float
    batch_seconds: NDArray[np.float64]

    @property
    def finite(self) -> bool:
        """Whether no number is NaN or infinite."""
        return bool(np.isfinite(self.values).all())


class OpenGraph(ABC, Generic[Given]):
    """A runner that is open on one graph of an artifact, and runs texts or pairs of texts.

    It also keeps what `record` says of all that was run.
    """

    def __init__(
        self,
        artifact: Artifact,
        runner: str | RunnerEntry = "onnxruntime",
        graph: str = AUTO,
        progress: Progress = SILENT,
        **settings: Any,
    ) -> None:
        """Open a runner, by name or entry, on a graph of the artifact.

        `graph` is "auto" (the first of the dynamic-shape, the packed and the fixed graph that the artifact
        has and the runner takes), "dynamic", "fixed" or "packed"; `settings` are the runner's own options.
        Raises RunnerError, also for a setting that the runner does not have, and ArtifactError for a graph
        that the artifact does not have, a tokenizer with ids that the graph does not know, or the artifact
        of a model that gives something else (a score per pair, or an embedding per text).
        """
        self._require_fit(artifact)
        self.artifact = choose_graph(artifact, runner, graph)
        with ThreadPoolExecutor(1) as beside:
            tokenizer = beside.submit(checked_tokenizer, self.artifact)
            self.runner: Runner = open_runner(runner, self.artifact, progress, **settings)
        try:
            self.tokenizer = tokenizer.result()
        except BaseException:
            self.runner.close()
            raise
        self.truncated_rows = 0
        self.seconds = 0.0  # inside the runner, without tokenizing
        self._rows = self._batches = 0
        self._batch_seconds = 0.0
        self._digest = hashlib.sha256()

    @property
    def dimension(self) -> int:
        """The numbers in an embedding, D; 1 for a score."""
        return self.artifact.manifest.embedding_dimension

    def encode_tokenized(
        self,
        texts: TokenizedTexts,
        advance: Advance | None = None,
        feed: Callable[[TokenizedTexts, Artifact], Iterator[Fed]] = feed_batches,
    ) -> Embeddings:
        """Run every batch of tokenized texts and put the embeddings in the order of the texts.

        `feed` makes the batches: feed_batches or feed_alone. Raises RunnerFailed if the runner fails in any
        way, or returns anything but float32 [B, D], or [B, N, D] from a packed graph. Numbers that are not
        finite are kept: see require_finite.
        """
        values = np.empty((len(texts), self.dimension), dtype=np.float32)
        batch_seconds: list[float] = []

        def run(group: list[Fed]) -> tuple[list[NDArray[np.float32]], list[Fed], float]:
            started = time.perf_counter()
            results = self._run_checked(group)
            return results, group, time.perf_counter() - started

        started = time.perf_counter()
        groups = in_calls(feed(texts, self.artifact), self.runner)
        for results, group, seconds in map_in_threads(
            run, groups, self.runner.concurrency, self.runner.close
        ):
            for result, (_, indices) in zip(results, group, strict=True):
                used = indices >= 0
                values[indices[used]] = result[used]
                batch_seconds.append(seconds / len(group))
                if advance is not None:
                    advance(int(used.sum()))
        return Embeddings(values, time.perf_counter() - started, np.array(batch_seconds))

    def record(self) -> RunRecord:
        """What has been embedded until now by `encode` and `stream`.

        Raises RunnerFailed for a detail of the runner that no record can state.
        """
        details, versions = facts_of(self.runner)
        return RunRecord(
            **artifact_fields(self.artifact),
            sentences=self._rows,
            truncated_sentences=self.truncated_rows,
            inputs_sha256=self._digest.hexdigest(),
            graph=self.artifact.graph_kind,
            runner=self.runner.name,
            details=details,
            versions=versions,
            timing=Timing(
                batches=self._batches,
                seconds=self.seconds,
                latency_seconds=self._batch_seconds / max(self._batches, 1),
                sentences_per_second=self._rows / self.seconds if self.seconds else 0.0,
            ),
        )

    def close(self) -> None:
        """Close the runner. Closing again does nothing."""
        self.runner.close()

    def __enter__(self) -> "Self":
        return self

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> None:
        self.runner.__exit__(kind, error, traceback)

    @abstractmethod
    def _require_fit(self, artifact: Artifact) -> None:
        """Raise ArtifactError for the artifact of a model that gives something else."""

    @abstractmethod
    def _encode(self, tokenizer: Tokenizer, given: Sequence[Given]) -> TokenizedTexts:
        """The tokens of texts, or of pairs of texts."""

    def _stream(
        self, given: Iterable[Given], first_row: int, advance: Advance | None, tokenizer: Tokenizer
    ) -> Iterator[tuple[list[Given], NDArray[np.float32]]]:
        """The texts or pairs in order, some at a time, each time with the graph's output, float32 [n, D]."""
        for chunk, tokenized in self._tokenize(given, tokenizer):
            result = self.encode_tokenized(tokenized, advance)
            require_finite(result.values, chunk, self.runner.name, first_row)
            first_row += len(chunk)
            self._rows += len(chunk)
            self.truncated_rows += int(tokenized.truncated.sum())
            self._batches += len(result.batch_seconds)
            self.seconds += result.seconds
            self._batch_seconds += float(result.batch_seconds.sum())
            yield chunk, result.values

    def _run_checked(self, group: list[Fed]) -> list[NDArray[np.float32]]:
        name = self.runner.name
        with boundary(RunnerFailed, f"the runner {name} failed on a batch", named=True):
            results = list(self.runner.run_all([batch for batch, _ in group]))
        if len(results) != len(group):
            raise RunnerFailed(f"the runner {name} returned {len(results)} arrays; expected {len(group)}")
        for result, (_, indices) in zip(results, group, strict=True):
            rows: tuple[int, ...] = indices.shape
            shape = (*rows, self.dimension)
            if not isinstance(result, np.ndarray) or result.shape != shape or result.dtype != np.float32:
                raise RunnerFailed(
                    f"the runner {name} returned {_describe(result)}; expected float32 {list(shape)}"
                )
        return results

    def _tokenize(
        self, given: Iterable[Given], tokenizer: Tokenizer
    ) -> Iterator[tuple[list[Given], TokenizedTexts]]:
        """Chunks of whole batches, one ahead; only the last may end in a part of a batch.

        Texts are read in the caller's thread, so that Ctrl-C interrupts a wait for standard input.
        """

        def tokenize(chunk: list[Given]) -> tuple[list[Given], TokenizedTexts]:
            tokenized = self._encode(tokenizer, chunk)
            tokenized.update_digest(self._digest)
            return chunk, tokenized

        with ThreadPoolExecutor(1) as ahead:
            upcoming: Future[tuple[list[Given], TokenizedTexts]] | None = None
            for chunk in in_chunks(given, self.artifact.shape.batch_size):
                following = ahead.submit(tokenize, chunk)
                if upcoming is not None:
                    yield upcoming.result()
                upcoming = following
            if upcoming is not None:
                yield upcoming.result()


def checked_tokenizer(artifact: Artifact) -> Tokenizer:
    """The artifact's tokenizer, at its sequence length.

    Raises ArtifactError if it has ids beyond the graph's token embeddings: OpenVINO would return numbers.
    """
    tokenizer = open_tokenizer(artifact, artifact.prompt)
    rows = artifact.manifest.token_rows or None
    if rows is None:  # an older artifact: the graph knows
        from minilmx.models.onnx_file import load_graph, read_facts

        rows = read_facts(load_graph(artifact), artifact.graph_file).token_rows
    beyond = rows and tokenizer.token_beyond(rows)
    if beyond:
        raise ArtifactError(
            f"{artifact.tokenizer_file}: {beyond}; expected ids below {rows}", "Export the model again."
        )
    return tokenizer


def in_chunks(texts: Iterable[Given], batch: int) -> Iterator[list[Given]]:
    """Lists of whole batches, of limited length and size; only the last may end in a part of a batch."""
    chunk: list[Given] = []
    characters = 0
    for text in texts:
        chunk.append(text)
        characters += count_characters(text)
        if len(chunk) % batch == 0 and (len(chunk) >= _CHUNK_ROWS or characters >= _CHUNK_CHARACTERS):
            yield chunk
            chunk, characters = [], 0
    if chunk:
        yield chunk


def in_calls(batches: Iterator[Fed], runner: Runner) -> Iterator[list[Fed]]:
    """The batches, in lists of as many as the runner takes in one call.

    Fewer, if the runner's threads would otherwise make fewer than four calls each: threads wait for the last
    call.
    """
    size = runner.batches_per_call
    if size > 1:
        known = list(batches)
        size, batches = max(1, min(size, len(known) // (4 * runner.concurrency))), iter(known)
    while group := list(islice(batches, size)):
        yield group


def require_finite(
    values: NDArray[np.float32], texts: Sequence[Given], runner: str, first_row: int = 0
) -> None:
    """Raise RunnerFailed, naming the sentence or pair, if an embedding or a score has NaN or infinity."""
    bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
    if len(bad):
        text = texts[bad[0]]
        what, shown = ("sentence", text[:80]) if isinstance(text, str) else ("pair", text)
        raise RunnerFailed(
            f"the runner {runner} returned numbers that are not finite for {what} "
            f"{first_row + int(bad[0]) + 1}: {shown!r:.200}"
        )


def _describe(result: object) -> str:
    if isinstance(result, np.ndarray):
        return f"{result.dtype} {list(result.shape)}"
    return f"a {type(result).__name__}"
