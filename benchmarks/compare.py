"""Compare minilmx's speed with that of its peers, side by side on this machine (Linux).

    benchmarks/environments.sh              # each peer's own environment
    python benchmarks/compare.py            # with minilmx's Python: a result, and its tables

Every contender (contenders.py) is a long-lived process, and all stand by, asleep, while one works.
One pass over the workload warms up and gives the embeddings whose accuracy is stated; then come
the rounds. In each, every contender embeds the workload once, tokenising included, and in the next
one another is first. A speed is the median over the rounds of the baseline's seconds divided by
the contender's in the same round: what slows the machine for a while slows both. Libraries keep
their defaults, threads included. A contender that fails is listed with the reason.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from contenders import BASELINE, CONTENDERS, Contender
from folders import HERE, SetupFailed, make_folder, python_of
from limit import count_flops
from machine import describe_machine, list_versions
from numpy.typing import NDArray
from race import Entrant, race, say
from table import render
from workloads import MAX_TOKENS, Workload, count_tokens, read_calibration, read_workloads

from minilmx.eval.metrics.correlation import score_pairs
from minilmx.eval.metrics.drift import measure_drift

SCHEMA_VERSION = 1


def main() -> None:
    """Run what is asked for; the result goes to a file, its tables to standard output."""
    arguments = _parse_arguments()
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
    weights = make_folder("weights")
    document["workloads"] = found = {}
    for name in arguments.workload:
        say(f"{name}: {workloads[name].about}")
        present = [contender for contender in chosen if name in contender.workloads]
        entrants, rates = race(present, folders, workloads[name].texts, arguments.rounds, arguments.starts)
        counts = count_tokens(workloads[name].texts, weights / "tokenizer.json")
        found[name] = describe_workload(workloads[name], counts, rates, entrants)
    output = arguments.output or HERE / "results" / f"{date:%Y-%m-%d}.json"
    output.parent.mkdir(exist_ok=True)
    output.write_text(json.dumps(document, indent=2, allow_nan=False) + "\n")
    print(render(document))
    say(f"result: {output}")


def describe_workload(
    workload: Workload, token_counts: NDArray[np.int64], rates: Sequence[float], entrants: Sequence[Entrant]
) -> dict[str, Any]:
    """A workload's part of the result. `rates` are FLOP/s, and `limit_seconds` is by the best one."""
    flops = count_flops(token_counts)
    named = {entrant.contender.name: entrant for entrant in entrants}
    size = {"texts": len(token_counts), "tokens": int(token_counts.sum()), "flops": flops}
    limit = flops / max(rates)
    return {
        "about": workload.about,
        **size,
        "fp32_flops_per_second": list(rates),
        "limit_seconds": limit,
        "contenders": {
            name: {
                "about": entrant.contender.about,
                **describe_entrant(entrant, named[BASELINE], workload.gold, size, limit),
                **describe_beside(entrant, named),
            }
            for name, entrant in named.items()
        },
    }


def describe_entrant(
    entrant: Entrant,
    baseline: Entrant,
    gold: NDArray[np.float64] | None,
    size: dict[str, int],
    limit: float,
) -> dict[str, Any]:
    """A contender's speed and accuracy, or why there is none."""
    if entrant.failed or entrant.values is None or baseline.values is None:
        return {"failed": entrant.failed}
    if entrant.values.shape != baseline.values.shape or not np.isfinite(entrant.values).all():
        return {"failed": f"its embeddings are {list(entrant.values.shape)} or not finite"}
    seconds = [run.seconds for run in entrant.runs]
    median = statistics.median(seconds)
    ratios = divide_rounds(baseline, entrant)
    return {
        "ratio": statistics.median(ratios),
        "median_seconds": median,
        "texts_per_second": size["texts"] / median,
        "tokens_per_second": size["tokens"] / median,
        "share_of_fp32_limit": limit / median,
        **describe_accuracy(entrant.values, baseline.values, gold),
        "first_embedding_seconds": statistics.median(entrant.first_seconds),
        "peak_mib": max(run.peak_mib for run in entrant.runs),
        "ratios": ratios,
        "seconds": seconds,
        "others_share_of_cores": [run.others for run in entrant.runs],
    }


def describe_beside(entrant: Entrant, named: Mapping[str, Entrant]) -> dict[str, Any]:
    """The ratio to the other contender that this one is compared with, where both were measured."""
    other = named.get(entrant.contender.beside or "")
    if other is None or other.failed or entrant.failed:
        return {}
    ratio = statistics.median(divide_rounds(other, entrant))
    return {"beside": {"name": other.contender.name, "about": other.contender.about, "ratio": ratio}}


def divide_rounds(other: Entrant, entrant: Entrant) -> list[float]:
    """The other's seconds by the entrant's, round by round."""
    return [theirs.seconds / mine.seconds for theirs, mine in zip(other.runs, entrant.runs, strict=True)]


def describe_accuracy(
    values: NDArray[np.float32], reference: NDArray[np.float32], gold: NDArray[np.float64] | None
) -> dict[str, float | None]:
    """How far embeddings, float32 [N, D], are from the reference's, and their score on the pairs."""
    drift = measure_drift(reference, values)
    spearman = None
    if gold is not None:
        first, second = np.split(values, 2)
        spearman = score_pairs(first, second, gold).spearman
    return {
        "max_abs": drift.max_abs,
        "min_cosine": drift.min_cosine,
        "spearman_x100": None if spearman is None else 100 * spearman,
    }


def _make_folders(contenders: Sequence[Contender], *, keep: bool) -> dict[str, Path | SetupFailed]:
    """Every model folder that is wanted, or why it could not be made."""
    folders: dict[str, Path | SetupFailed] = {}
    for name in dict.fromkeys(contender.folder for contender in contenders):
        say(f"model {name}")
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
    parser.add_argument("--starts", type=int, default=3, help="fresh processes for the first embedding")
    parser.add_argument("--workload", nargs="+", choices=["short", "long"], default=["short", "long"])
    parser.add_argument("--keep", action="store_true", help="use minilmx's artifacts of the last time")
    parser.add_argument(
        "--contenders", nargs="+", choices=names, default=names, metavar="NAME", help=", ".join(names)
    )
    parser.add_argument(
        "--output", type=Path, help="the result's JSON file [default: results/DATE.json here]"
    )
    arguments = parser.parse_args()
    if arguments.rounds < 1 or arguments.starts < 1:
        sys.exit("--rounds and --starts are at least 1")
    return arguments


if __name__ == "__main__":
    main()
