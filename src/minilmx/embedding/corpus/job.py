"""Embedding a corpus into a folder of shards, which can be interrupted and resumed at any point."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import onnxruntime

from minilmx.embedding.corpus.inputs import find_files
from minilmx.embedding.corpus.lance import LANCE
from minilmx.embedding.corpus.ledger import Ledger, clear, locked
from minilmx.embedding.corpus.pool import Engine, W, embed_shards
from minilmx.embedding.corpus.shards import PARQUET, write_shard
from minilmx.embedding.corpus.source import Corpus, Reading, Shard, scan_corpus
from minilmx.embedding.corpus.worker import Job
from minilmx.errors import OutputError
from minilmx.files.digest import sha256_of_file
from minilmx.progress import SILENT, Progress
from minilmx.runners.registry import make_options, runner_versions

LEDGER_SCHEMA_VERSION = 2
# The packages that the bytes of a shard depend on.
_PACKAGES = ("minilmx", "numpy", "pyarrow", "tokenizers")
_FORMATS = {"parquet": PARQUET, "lance": LANCE}


@dataclass(frozen=True, slots=True)
class Output:
    """Where shards of `rows` rows are written, and how.

    `dtype` of the embeddings is "float32" or "float16"; `format` is "parquet", or "lance" for a
    folder that is a Lance dataset.
    """

    folder: Path
    rows: int = 32_768
    dtype: str = "float32"
    format: str = "parquet"


@dataclass(frozen=True, slots=True)
class Summary:
    """What a run did: all rows, the rows that it embedded itself, and where its time went.

    `rows` leaves out those that were skipped because they have no text; `empty_rows` counts all without one.

    `graph` is the kind of graph that ran. `runner_seconds` is the sum over all workers, without
    tokenizing. `reading_seconds` (finding, hashing and checking the inputs, and cutting the shards) and
    `writing_seconds` (shards and ledger) are spent in the parent process.
    """

    runner: str
    graph: str
    files: int
    rows: int
    empty_rows: int
    shards: int
    embedded_rows: int
    truncated_rows: int
    seconds: float
    runner_seconds: float
    reading_seconds: float
    writing_seconds: float


class Clock:
    """Adds up the seconds spent in its `with` blocks."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __enter__(self) -> None:
        self._started = time.perf_counter()

    def __exit__(self, *exception: object) -> None:
        self.seconds += time.perf_counter() - self._started

    def over(self, items: Iterator[Any]) -> Iterator[Any]:
        """The items, counting the time to get each."""
        while True:
            with self:
                item = next(items, None)
            if item is None:
                return
            yield item


def embed_corpus(
    inputs: Sequence[str],
    reading: Reading,
    job: Job,
    output: Output,
    open_engine: Callable[[Job], AbstractContextManager[Engine[W]]],
    *,
    restart: bool = False,
    progress: Progress = SILENT,
) -> Summary:
    """Embed all rows of the inputs into a folder; shards that already exist are kept.

    `restart` removes these first. Raises DatasetError for bad inputs, before any work; OutputError if
    the folder holds something else, is in use or cannot be written; and RunnerError.
    """
    started = time.perf_counter()
    read_clock, write_clock = Clock(), Clock()
    folder, kind = output.folder, _FORMATS[output.format]
    kind.check_installed()
    with locked(folder, progress):
        with read_clock:
            corpus = scan_corpus(find_files(inputs, folder, progress), reading, output.rows)
        kind.check_columns(list(corpus.schema))
        with write_clock:
            if restart:
                clear(folder)
            ledger = Ledger(folder, _header(corpus, job, output))
        missing = set(range(corpus.shard_count)) - set(ledger.entries)
        rows = truncated = 0
        seconds = 0.0
        if missing:
            left = corpus.rows - sum(entry.rows for entry in ledger.entries.values())
            advance = progress.start(job.runner, left)
            shards: Iterator[Shard] = read_clock.over(corpus.shards(missing))
            with open_engine(job) as engine, closing(embed_shards(engine, shards, progress)) as results:
                for shard, embedded in results:
                    with write_clock:
                        _keep(ledger, shard, embedded.values, output, corpus)
                    rows += len(shard.texts)
                    truncated += embedded.truncated_rows
                    seconds += embedded.seconds
                    advance(len(shard.texts))
        ledger.finish()
        kind.finish(folder, ledger.entries.values())
    return Summary(
        runner=job.runner,
        graph=job.artifact.graph_kind,
        files=len(corpus.files),
        rows=corpus.rows,
        empty_rows=sum(len(file.empty_rows) for file in corpus.files),
        shards=corpus.shard_count,
        embedded_rows=rows,
        truncated_rows=truncated,
        seconds=time.perf_counter() - started,
        runner_seconds=seconds,
        reading_seconds=read_clock.seconds,
        writing_seconds=write_clock.seconds,
    )


def _keep(ledger: Ledger, shard: Shard, values: Any, output: Output, corpus: Corpus) -> None:
    try:
        ledger.add(write_shard(output.folder, shard, values, output.dtype, _FORMATS[output.format]))
    except OutputError as error:
        raise OutputError(
            f"{error.message}; {len(ledger.entries)} of {corpus.shard_count} shards are complete and kept",
            "Fix the cause and run the same command again to resume.",
        ) from error


def _header(corpus: Corpus, job: Job, output: Output) -> dict[str, Any]:
    """Everything that the bytes of the shards depend on; not the number of workers, threads or cards."""
    packages = (*_PACKAGES, *_FORMATS[output.format].packages)
    options = asdict(make_options(job.runner, job.settings))
    settings = {name: _plain(value) for name, value in options.items() if name not in ("threads", "cards")}
    return {
        "schema_version": LEDGER_SCHEMA_VERSION,
        "format": output.format,
        "artifact": job.artifact.digest,
        "source": job.artifact.manifest.source.id,
        "graph": job.artifact.graph_kind,
        "graph_sha256": job.artifact.graph_sha256,
        "prompt": job.artifact.prompt_name,
        "runner": job.runner,
        **settings,
        # onnxruntime's builds for devices have names of their own.
        "versions": {name: metadata.version(name) for name in packages}
        | {"onnxruntime": onnxruntime.__version__, **runner_versions(job.runner, job.settings)},
        "dimension": job.artifact.manifest.embedding_dimension,
        "dtype": output.dtype,
        "rows": corpus.rows,
        "rows_per_shard": corpus.shard_rows,
        "id": corpus.reading.id,
        "text_kept": corpus.reading.keep_text,
        "on_empty": corpus.reading.on_empty,
        "text_format": asdict(corpus.reading.text_format),
        "columns": {field.name: str(field.type) for field in corpus.schema},
        "inputs": [
            {
                "path": file.path,
                "column": file.column,
                "rows": file.rows,
                "empty_lines": list(file.empty_lines),
                "size_bytes": file.size_bytes,
                "sha256": file.sha256,
            }
            for file in corpus.files
        ],
    }


def _plain(value: object) -> object:
    """A setting as JSON; a file is identified by its digest."""
    if isinstance(value, tuple):
        return list(value)
    if isinstance(value, Path):
        return sha256_of_file(value) if value.is_file() else str(value)
    return value
