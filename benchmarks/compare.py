"""Compare minilmx's speed with that of its peers, side by side on this machine (Linux).

    benchmarks/environments.sh              # each peer's own environment
    python benchmarks/compare.py            # with minilmx's Python: a result, and its tables

The harness is that of `mlx bench`: every contender (contenders.py) is a long-lived process, and all
are idle while one works. One pass over the workload warms up and gives the embeddings whose accuracy
is stated; then come the rounds. In each, every contender embeds the workload once, tokenizing
included, and in the next one another is first. A speed is the median over the rounds of the
baseline's seconds divided by the contender's in the same round: what slows the machine for a while
slows both. Libraries keep their defaults, threads included. A contender that does not start is
listed with the reason.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from contenders import BASELINE, CONTENDERS, Contender
from folders import HERE, SCRATCH, SetupFailed, make_folder, python_of
from limit import count_flops
from machine import describe_machine, list_versions, seconds_of_others
from numpy.typing import NDArray
from table import render
from workloads import MAX_TOKENS, Workload, count_tokens, read_calibration, read_workloads

from minilmx.cpus import available_cpus
from minilmx.errors import EvalError
from minilmx.eval.benchmark import Lap, Program, median_ratio, race, warm_up
from minilmx.eval.metrics.correlation import correlate, pair_similarities
from minilmx.eval.metrics.drift import measure_drift
from minilmx.models.manifest import COSINE
from minilmx.progress import StandardErrorProgress

SCHEMA_VERSION = 2
PROGRESS = StandardErrorProgress()


@dataclass(frozen=True, slots=True)
class Entrant:
    """A contender in one workload's rounds; `values` is float32 [N, D], from the pass before them."""

    contender: Contender
    first_embedding: float
    values: NDArray[np.float32]
    laps: Sequence[Lap] = ()

    @property
    def seconds(self) -> list[float]:
        """Of each round."""
        return [lap.seconds for lap in self.laps]


def main() -> None:
    """Run what is asked for; the result goes to a file, its tables to standard output."""
    arguments = _parse_arguments()
    os.environ["HF_HUB_OFFLINE"] = "1"
    workloads = read_workloads()
    chosen = [contender for contender in CONTENDERS if contender.name in {BASELINE, *arguments.contenders}]
    date = datetime.now().astimezone().replace(microsecond=0)
    document = {
        "schema_version": SCHEMA_VERSION,
        "date": date.isoformat(),
        "machine": describe_machine(),
        "settings": {"baseline": BASELINE, "rounds": arguments.rounds, "max_tokens": MAX_TOKENS},
        "versions": _list_environments(chosen),
    }
    folders = _make_folders(chosen, keep=arguments.keep)
    document["workloads"] = {
        name: measure_workload(
            workloads[name],
            [contender for contender in chosen if name in contender.workloads],
            folders,
            arguments.rounds,
        )
        for name in arguments.workload
    }
    output = arguments.output or HERE / "results" / f"{date:%Y-%m-%d}.json"
    output.parent.mkdir(exist_ok=True)
    output.write_text(json.dumps(document, indent=2, allow_nan=False) + "\n")
    print(render(document))
    PROGRESS.message(f"result: {output}")


def measure_workload(
    workload: Workload,
    contenders: Sequence[Contender],
    folders: Mapping[str, Path | SetupFailed],
    rounds: int,
) -> dict[str, Any]:
    """A workload's part of the result."""
    PROGRESS.message(f"{workload.name}: {workload.about}")
    started, others = time.perf_counter(), seconds_of_others()
    rates = [_measure_rate()]
    entrants, failed = race_all(contenders, folders, workload.texts, rounds)
    rates.append(_measure_rate())
    others = (seconds_of_others() - others) / (time.perf_counter() - started) / available_cpus()
    counts = count_tokens(workload.texts, make_folder("weights") / "tokenizer.json")
    size = {"texts": len(counts), "tokens": int(counts.sum()), "flops": count_flops(counts)}
    limit = size["flops"] / max(rates)
    described: dict[str, Any] = {
        name: describe_entrant(entrant, entrants, workload.gold, size, limit)
        for name, entrant in entrants.items()
    } | {name: {"failed": reason} for name, reason in failed.items()}
    return {
        "about": workload.about,
        **size,
        "fp32_flops_per_second": rates,
        "limit_seconds": limit,
        "others_share_of_cores": max(0.0, others),
        "contenders": {each.name: {"about": each.about, **described[each.name]} for each in contenders},
    }


def race_all(
    contenders: Sequence[Contender],
    folders: Mapping[str, Path | SetupFailed],
    texts: Sequence[str],
    rounds: int,
) -> tuple[dict[str, Entrant], dict[str, str]]:
    """Those that were measured, by name, and why the others were not."""
    entrants: dict[str, Entrant] = {}
    failed: dict[str, str] = {}
    children = []
    saved = SCRATCH / "values.npy"
    with ExitStack() as stack:
        for contender in contenders:
            PROGRESS.message(f"  starting {contender.name}")
            try:
                child, first_embedding = warm_up(_program(contender, folders), texts, saved)
                stack.enter_context(child)
                values = np.load(saved)
                expected = entrants[BASELINE].values.shape if entrants else values.shape
                if values.shape != expected or not np.isfinite(values).all():
                    raise EvalError(f"its embeddings are {list(values.shape)} or not finite")
            except (SetupFailed, EvalError) as error:
                PROGRESS.message(f"  {contender.name} failed: {error}")
                if contender.name == BASELINE:
                    sys.exit("there is nothing to compare with")
                failed[contender.name] = str(error)
            else:
                entrants[contender.name] = Entrant(contender, first_embedding, values)
                children.append(child)
        laps = race(children, texts, rounds, PROGRESS)
    return {
        name: replace(entrant, laps=mine)
        for (name, entrant), mine in zip(entrants.items(), laps, strict=True)
    }, failed


def describe_entrant(
    entrant: Entrant,
    entrants: Mapping[str, Entrant],
    gold: NDArray[np.float64] | None,
    size: dict[str, int],
    limit: float,
) -> dict[str, Any]:
    """A contender's speed and accuracy, and its speed against the other one that it is compared with."""
    baseline, other = entrants[BASELINE], entrants.get(entrant.contender.beside or "")
    median = statistics.median(entrant.seconds)
    described: dict[str, Any] = {
        "ratio": median_ratio(baseline.seconds, entrant.seconds),
        "median_seconds": median,
        "texts_per_second": size["texts"] / median,
        "tokens_per_second": size["tokens"] / median,
        "share_of_fp32_limit": limit / median,
        **describe_accuracy(entrant.values, baseline.values, gold),
        "first_embedding_seconds": entrant.first_embedding,
        "peak_mib": entrant.laps[-1].peak_bytes / 2**20,
        "seconds": entrant.seconds,
    }
    if other:
        ratio = median_ratio(other.seconds, entrant.seconds)
        described["beside"] = {"name": other.contender.name, "about": other.contender.about, "ratio": ratio}
    return described


def describe_accuracy(
    values: NDArray[np.float32], reference: NDArray[np.float32], gold: NDArray[np.float64] | None
) -> dict[str, float | None]:
    """How far embeddings, float32 [N, D], are from the reference's, and their score on the pairs."""
    drift = measure_drift(reference, values)
    spearman = None if gold is None else correlate(pair_similarities(values, COSINE), gold).spearman
    return {
        "max_abs": drift.max_abs,
        "min_cosine": drift.min_cosine,
        "spearman_x100": None if spearman is None else 100 * spearman,
    }


def _program(contender: Contender, folders: Mapping[str, Path | SetupFailed]) -> Program:
    """What its process runs. Raises SetupFailed."""
    folder = folders[contender.folder]
    if isinstance(folder, SetupFailed):
        raise folder
    options = {"model": str(folder), "max_tokens": MAX_TOKENS, **contender.options}
    python = python_of(contender.environment)
    return Program(contender.name, f"workers.{contender.library}", options, python, HERE)


def _measure_rate() -> float:
    """limit.py in a process of its own, while no contender works: FLOP/s."""
    command = [sys.executable, str(HERE / "limit.py")]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def _make_folders(contenders: Sequence[Contender], *, keep: bool) -> dict[str, Path | SetupFailed]:
    """Every model folder that is wanted, or why it could not be made."""
    folders: dict[str, Path | SetupFailed] = {}
    for name in dict.fromkeys(contender.folder for contender in contenders):
        PROGRESS.message(f"model {name}")
        try:
            folders[name] = make_folder(name, read_calibration(), keep=keep)
        except SetupFailed as error:
            folders[name] = error
    return folders


def _list_environments(contenders: Sequence[Contender]) -> dict[str, dict[str, str]]:
    """Versions by environment; one that is not there shows in its contenders' failures."""
    versions = {}
    for environment in dict.fromkeys(contender.environment for contender in contenders):
        try:
            versions[environment or "minilmx"] = list_versions(python_of(environment))
        except SetupFailed:
            continue
    return versions


def _parse_arguments() -> argparse.Namespace:
    names = [contender.name for contender in CONTENDERS]
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workload", nargs="+", choices=["short", "long"], default=["short", "long"])
    parser.add_argument("--keep", action="store_true", help="use minilmx's artifacts of the last time")
    parser.add_argument(
        "--contenders", nargs="+", choices=names, default=names, metavar="NAME", help=", ".join(names)
    )
    parser.add_argument(
        "--output", type=Path, help="the result's JSON file [default: results/DATE.json here]"
    )
    arguments = parser.parse_args()
    if arguments.rounds < 1:
        sys.exit("--rounds is at least 1")
    return arguments


if __name__ == "__main__":
    main()
