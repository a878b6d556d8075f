"""What `mlx run` costs beside the runner itself: memory, rate, reading and writing, workers.

    python benchmarks/scale.py ARTIFACT folder              # 1,000,000 sentences into shards
    python benchmarks/scale.py ARTIFACT file                # 10,000, 100,000 and 1,000,000 into .npy
    python benchmarks/scale.py ARTIFACT workers --engine ray  # one worker against two, in turns

The sentences are the package's own pairs, over and over. docs/scale.md has the figures.
"""

import argparse
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, nullcontext
from importlib import resources
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from minilmx.embedding.corpus.job import Output, Summary, embed_corpus
from minilmx.embedding.corpus.local_engine import ProcessEngine
from minilmx.embedding.corpus.ray_engine import RayEngine
from minilmx.embedding.corpus.source import Columns
from minilmx.embedding.corpus.worker import Job
from minilmx.files.texts import read_table
from minilmx.models.artifact import Artifact, open_artifact


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("artifact", type=Path)
    parser.add_argument("what", choices=["folder", "file", "workers"])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--engine", choices=["local", "ray"], default="local")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--threads", type=int, help="of each worker")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    artifact = open_artifact(given.artifact).with_graph("dynamic")
    with tempfile.TemporaryDirectory(dir=".") as name:
        folder = Path(name)
        if given.what == "file":
            measure_file(given.artifact, given.rows, given.threads, folder)
        elif given.what == "workers":
            measure_workers(artifact, given.rows, given.engine, given.rounds, folder)
        else:
            write_sentences(folder / "in.txt", given.rows)
            done = run(artifact, folder, given.engine, given.workers, given.threads)
            say(done)


def sentences() -> Iterator[str]:
    pairs = read_table(str(resources.files("minilmx.eval.datasets") / "pairs.csv"))
    return cycle([*pairs.column("sentence1"), *pairs.column("sentence2")])


def write_sentences(path: Path, rows: int) -> None:
    with path.open("w", encoding="utf-8") as stream:
        stream.writelines(f"{text}\n" for text in islice(sentences(), rows))


def run(
    artifact: Artifact, folder: Path, engine: str, workers: int, threads: int | None, shard_rows: int = 32_768
) -> Summary:
    def open_engine(job: Job) -> AbstractContextManager[Any]:
        if engine == "ray":
            return closing(RayEngine.open(job, None, workers, 1))
        return nullcontext(ProcessEngine(job, workers))

    job = Job(artifact, "onnxruntime", {"threads": threads})
    output = folder / "out"
    shutil.rmtree(output, ignore_errors=True)
    return embed_corpus([str(folder / "in.txt")], Columns(), job, Output(output, shard_rows), open_engine)


def say(done: Summary) -> None:
    share = (done.reading_seconds + done.writing_seconds) / done.runner_seconds
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{done.rows:,} rows in {done.seconds:.1f} s ({done.rows / done.seconds:,.0f}/s): runner "
        f"{done.runner_seconds:.1f} s, reading {done.reading_seconds:.2f} s, writing "
        f"{done.writing_seconds:.2f} s ({share:.2%} of the runner); peak of the parent {peak:,.0f} MiB"
    )


def measure_file(artifact: Path, most: int, threads: int | None, folder: Path) -> None:
    """One process a size; its peak is its own, as it has no workers."""
    for rows in (size for size in (10_000, 100_000, 1_000_000) if size <= most):
        write_sentences(folder / "in.txt", rows)
        command = [sys.executable, "-m", "minilmx", "run", str(artifact), str(folder / "in.txt"), "--force"]
        command += ["--output", str(folder / "out.npy"), *(["--threads", str(threads)] if threads else [])]
        before = time.perf_counter()
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        said = process.communicate()[1].strip()
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        print(f"{time.perf_counter() - before:.1f} s, peak {peak:,.0f} MiB: {said}", flush=True)


def measure_workers(artifact: Artifact, rows: int, engine: str, rounds: int, folder: Path) -> None:
    """Two workers against one, a thread each, in turns; a round's ratio is of its two runs."""
    write_sentences(folder / "in.txt", rows)
    ratios = []
    for turn in range(rounds):
        seconds, made = {}, {}
        for workers in (1, 2) if turn % 2 else (2, 1):
            # Many shards a worker: a last one that is waited for would count as much as the workers.
            done = run(artifact, folder, engine, workers, 1, shard_rows=4096)
            seconds[workers] = done.seconds
            made[workers] = (folder / "out" / "_ledger.jsonl").read_bytes()
        same = "same bytes" if made[1] == made[2] else "OTHER BYTES"
        ratios.append(seconds[1] / seconds[2])
        print(f"{engine}: {seconds[1]:.1f} s, {seconds[2]:.1f} s, {ratios[-1]:.2f} times, {same}", flush=True)
    print(f"median {statistics.median(ratios):.2f} times")


if __name__ == "__main__":
    main()
