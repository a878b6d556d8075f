"""What the bridge to GroqFlow's environment adds to the program that it runs.

The batches of a run cross two pipes between minilmx and the worker process, some at a time, and the
worker takes the time inside the program itself. The difference of the two clocks over the same batches is
the bridge's overhead. The program here is the stand-in of tests/groqware on the CPU: its own speed
says nothing about a GroqCard, and the bridge's milliseconds do not depend on it.

    MINILMX_GROQFLOW_PYTHON=.venv-groqflow/bin/python \\
        python benchmarks/groq_bridge.py ARTIFACT [--batches 200] [--json]
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from minilmx.models.artifact import Artifact, open_artifact
from minilmx.models.batching import feed_batches
from minilmx.models.tokenizer import open_tokenizer
from minilmx.progress import StandardErrorProgress
from minilmx.runners.registry import open_runner

GROQWARE = Path(__file__).parents[1] / "tests" / "groqware"
MESSAGES = (1, 8)  # batches in each
SENTENCES = ["A man is playing a guitar.", "Two dogs run through the snow near a fence.", "Stocks fell."]


@dataclass(frozen=True, slots=True)
class Measurement:
    """Medians of one run over its messages, in seconds per batch; `overhead_percent` is of the totals."""

    execution: str
    batches: int
    batches_per_message: int
    load_seconds: float
    batch_seconds: float
    program_seconds: float
    bridge_seconds: float
    overhead_percent: float


def use_stand_ins() -> None:
    """Set the environment variables that put tests/groqware in place of Groq's SDK."""
    python = os.environ.get("MINILMX_GROQFLOW_PYTHON")
    if not python:
        sys.exit("set MINILMX_GROQFLOW_PYTHON: a Python with GroqFlow, as `mlx groq setup` makes it")
    os.environ |= {
        "PATH": f"{GROQWARE / 'bin'}:{os.environ['PATH']}",
        "PYTHONPATH": str(GROQWARE / "site-packages"),
        "GROQWARE_PYTHON": python,
        "GROQFLOW_SKIP_SDK_CHECK": "True",
    }


def measure(artifact: Artifact, execution: str, batches: int, per_message: int) -> Measurement:
    """Run batches, some in each message, with both clocks: minilmx's and the worker's."""
    texts = (SENTENCES * batches)[: batches * artifact.shape.batch_size]
    tokenized = open_tokenizer(artifact).encode(texts)
    whole, inside = [], []
    with open_runner("groq", artifact, StandardErrorProgress(), groq_execution=execution) as runner:
        fed = [batch for batch, _ in feed_batches(tokenized, artifact)][:batches]
        runner.run(fed[0])  # what is done once is not measured
        before = _program_seconds(runner.details)
        for first in range(0, batches, per_message):
            group = fed[first : first + per_message]
            started = time.perf_counter()
            runner.run_all(group)
            whole.append((time.perf_counter() - started) / len(group))
            after = _program_seconds(runner.details)
            inside.append((after - before) / len(group))
            before = after
        load_seconds = float(runner.details["load_seconds"] or 0)
    return Measurement(
        execution=execution,
        batches=batches,
        batches_per_message=per_message,
        load_seconds=load_seconds,
        batch_seconds=statistics.median(whole),
        program_seconds=statistics.median(inside),
        bridge_seconds=statistics.median(a - b for a, b in zip(whole, inside, strict=True)),
        overhead_percent=100 * (sum(whole) / sum(inside) - 1),
    )


def _program_seconds(details: object) -> float:
    assert isinstance(details, dict)
    return float(details["program_seconds"])


def main() -> None:
    """Measure the held program, and GroqFlow's own path on a few batches, as it is slow."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("artifact", type=Path)
    parser.add_argument("--batches", type=int, default=200)
    parser.add_argument("--groqflow-batches", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    use_stand_ins()
    artifact = open_artifact(arguments.artifact)
    with tempfile.TemporaryDirectory(prefix="groq-bridge-") as cache:
        os.environ["XDG_CACHE_HOME"] = cache
        rows = [measure(artifact, "held", arguments.batches, count) for count in MESSAGES]
        rows.append(measure(artifact, "groqflow", arguments.groqflow_batches, 1))
    if arguments.json:
        load = os.getloadavg()[0]
        print(json.dumps({"load_average": load, "runs": [asdict(row) for row in rows]}, indent=2))
        return
    print(f"{'':<10} {'a message':>9} {'a batch':>10} {'program':>10} {'bridge':>10} {'overhead':>9}")
    for row in rows:
        milliseconds = (row.batch_seconds, row.program_seconds, row.bridge_seconds)
        cells = " ".join(f"{1000 * each:7.2f} ms" for each in milliseconds)
        print(f"{row.execution:<10} {row.batches_per_message:9d} {cells} {row.overhead_percent:7.2f} %")
    ratio = rows[-1].batch_seconds / rows[0].batch_seconds
    print(f"GroqFlow's own path takes {ratio:.1f} times as long per batch")


if __name__ == "__main__":
    main()
