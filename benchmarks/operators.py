"""Where onnxruntime's time goes, per operator, and how close the matrix products come to the limit.

    python benchmarks/operators.py [--workload long] [--graph packed] [--artifact int8]

The run is that of `mlx run`, with onnxruntime's profiler on. The profiler's times are by the clock, and
other programs take a part of it: they are scaled to the CPU seconds of the threads that ran the batches.
A rate is that of all cores. docs/performance.md has the figures.
"""

import argparse
import json
import math
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from folders import make_folder
from limit import Rates, count_flops, measure_rates
from numpy.typing import NDArray
from workloads import Workload, count_tokens, read_workloads

from minilmx import Embedder, open_artifact
from minilmx.cpus import available_cpus
from minilmx.models.batching import Batch

# An operator that takes less than this is not listed by its name.
_LISTED = 0.01


@dataclass(slots=True)
class Usage:
    """CPU seconds of a pass over a workload: of its parts by name, in onnxruntime's runs, and of all.

    `flops` is the work of those parts that are matrix products, padding included.
    """

    total: float = 0.0
    runs: float = 0.0
    parts: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    flops: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))


def main() -> None:
    """Measure, and print two tables in Markdown."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--workload", choices=["short", "long"], default="short")
    parser.add_argument("--artifact", choices=["artifact", "batch-4", "batch-8", "int8"], default="artifact")
    parser.add_argument("--graph", choices=["dynamic", "packed", "fixed"], default="dynamic")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    workload = read_workloads()[given.workload]
    counts = count_tokens(workload.texts, make_folder("weights") / "tokenizer.json")
    before = measure_rates()
    usage = measure(make_folder(given.artifact, keep=True), given.graph, workload, given.rounds)
    rates = _best(before, measure_rates())
    limit = max(rate for by_library in rates.values() for rate in by_library.values())
    about = f"{given.workload}, {given.artifact}, {given.graph}; {available_cpus()} cores"
    print(render(about, usage, count_flops(counts), limit))
    print(render_rates(rates))


def measure(folder: Path, graph: str, workload: Workload, rounds: int) -> Usage:
    """Usage of one pass, the mean of the rounds after one that warms up."""
    usage = Usage()
    with tempfile.TemporaryDirectory() as scratch:
        settings = onnxruntime.SessionOptions

        class Profiled(settings):  # type: ignore[misc, valid-type]
            def __init__(self) -> None:
                super().__init__()
                self.enable_profiling = True
                self.profile_file_prefix = f"{scratch}/profile"

        onnxruntime.SessionOptions = Profiled
        with Embedder(open_artifact(folder), "onnxruntime", graph) as embedder:
            onnxruntime.SessionOptions = settings
            run, cpu_seconds = embedder.runner.run, []

            def timed(batch: Batch) -> NDArray[np.float32]:
                started = time.thread_time()
                values = run(batch)
                cpu_seconds.append(time.thread_time() - started)
                return values

            embedder.runner.run = timed  # type: ignore[method-assign]
            embedder.encode(workload.texts)
            warm = len(cpu_seconds)
            started = time.process_time()
            for _ in range(rounds):
                embedder.encode(workload.texts)
            usage.total = (time.process_time() - started) / rounds
            usage.runs = sum(cpu_seconds[warm:]) / rounds
            profile = Path(embedder.runner._session.end_profiling())  # type: ignore[attr-defined]
        events = json.loads(profile.read_text())
    clock = 0.0
    for event in _after(events, warm):
        if event["name"] == "model_run":
            clock += event["dur"]
        elif event["cat"] == "Node":
            name, flops = describe(event["args"])
            usage.parts[name] += event["dur"]
            usage.flops[name] += flops
    for name in usage.parts:
        usage.parts[name] *= usage.runs / clock
        usage.flops[name] /= rounds
    return usage


def _best(before: Rates, after: Rates) -> Rates:
    return {
        shape: {library: max(rate, after[shape][library]) for library, rate in rates.items()}
        for shape, rates in before.items()
    }


def _after(events: list[dict[str, Any]], runs: int) -> Iterator[dict[str, Any]]:
    """The events that began after so many runs had ended."""
    ends = sorted(event["ts"] + event["dur"] for event in events if event["name"] == "model_run")
    return (event for event in events if event["ts"] >= ends[runs - 1])


def describe(arguments: dict[str, Any]) -> tuple[str, int]:
    """An operator's name, which says the size of a matrix product, and its work in FLOP if it is one."""
    name: str = arguments["op_name"]
    if "MatMul" not in name and "Gemm" not in name:
        return name, 0
    # A weight is not among the inputs: onnxruntime has packed it when it opened the graph.
    inputs = [shape for each in arguments["input_type_shape"] for shape in each.values()]
    output = next(iter(arguments["output_type_shape"][0].values()))
    inner = inputs[0][-1]
    flops = 2 * math.prod(output) * inner
    if len(inputs) > 1 and len(inputs[1]) > 2:
        return f"{name} in attention", flops
    return f"{name} {inner} x {output[-1]}", flops


def render(about: str, usage: Usage, flops: int, rate: float) -> str:
    """A table of the parts, most time first, then the sum that explains the share of the limit."""
    cores, total = available_cpus(), usage.total
    listed = {name: seconds for name, seconds in usage.parts.items() if seconds >= _LISTED * total}
    few = sum(usage.parts.values()) - sum(listed.values())
    between = usage.runs - sum(usage.parts.values())
    products = sum(usage.parts[name] for name in usage.flops if usage.flops[name])
    limit, with_padding = flops / rate * cores, sum(usage.flops.values()) / rate * cores
    lines = [
        f"{about}; limit {rate / 1e9:,.0f} GFLOP/s",
        "",
        "| | CPU seconds | share | GFLOP/s | share of the limit |",
        "| :--- | ---: | ---: | ---: | ---: |",
    ]
    for name, seconds in sorted(listed.items(), key=lambda item: -item[1]):
        reached = usage.flops[name] / seconds * cores
        rates = f"{reached / 1e9:,.0f} | {reached / rate:.0%}" if usage.flops[name] else " | "
        lines.append(f"| {name} | {seconds:.2f} | {seconds / total:.1%} | {rates} |")
    for name, seconds in (
        (f"{len(usage.parts) - len(listed)} other operators, each below {_LISTED:.0%}", few),
        ("onnxruntime between operators", between),
        ("tokenizer and batches", total - usage.runs),
        ("all", total),
    ):
        lines.append(f"| {name} | {seconds:.2f} | {seconds / total:.1%} | | |")
    parts = {
        "the products at the limit's rate, without padding": limit,
        "padding at that rate": with_padding - limit,
        "products below that rate": products - with_padding,
        "other operators": sum(usage.parts.values()) - products,
        "onnxruntime between operators": between,
        "tokenizer and batches": total - usage.runs,
    }
    said = ", ".join(f"{seconds / total:.0%} {name}" for name, seconds in parts.items())
    return "\n".join([*lines, "", f"All CPU seconds: {said}.", ""])


def render_rates(rates: Rates) -> str:
    """What each library reaches in products of the model's shapes, with all cores."""
    libraries = list(next(iter(rates.values())))
    lines = [
        f"| product, GFLOP/s | {' | '.join(libraries)} |",
        f"| :--- |{' ---: |' * len(libraries)}",
    ]
    for shape, by_library in rates.items():
        cells = " | ".join(f"{by_library[library] / 1e9:,.0f}" for library in libraries)
        lines.append(f"| {' x '.join(map(str, shape))} | {cells} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
