"""A result of compare.py as Markdown.

python benchmarks/table.py RESULT.json
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# Embeddings within this of the baseline's are the same but for the order of float32 sums.
FP32_MAX_ABS = 1e-5
# Less of the cores than this for anything but the benchmark is the system's own housekeeping.
_QUIET = 0.05
_HEADINGS = (
    *("", "times baseline", "seconds", "texts/s", "tokens/s", "share of fp32 limit", "max abs"),
    *("min cosine", "Spearman x100", "first embedding s", "peak MiB"),
)


def render(document: Mapping[str, Any]) -> str:
    """Markdown: a table per workload, by class of accuracy with the fastest in bold, then the conditions."""
    parts = [_workload(name, workload) for name, workload in document["workloads"].items()]
    return "\n\n".join([*parts, _conditions(document)])


def _workload(name: str, workload: Mapping[str, Any]) -> str:
    rate = max(workload["fp32_flops_per_second"]) / 1e9
    lines = [
        f"**{name}**: {workload['about']}, {workload['texts']:,} texts, {workload['tokens']:,} tokens, "
        f"{workload['flops'] / 1e9:,.0f} GFLOP without padding: {workload['limit_seconds']:.2f} s at this "
        f"machine's {rate:,.0f} GFLOP/s in fp32.",
        "",
        _row(_HEADINGS),
        _row([":---", *["---:"] * (len(_HEADINGS) - 1)]),
    ]
    entries = list(workload["contenders"].values())
    measured = sorted(
        (entry for entry in entries if "failed" not in entry), key=lambda entry: -entry["ratio"]
    )
    exact = [entry for entry in measured if entry["max_abs"] <= FP32_MAX_ABS]
    reduced = [entry for entry in measured if entry["max_abs"] > FP32_MAX_ABS]
    for title, group in ((f"max abs up to {FP32_MAX_ABS:.0e}", exact), ("reduced precision", reduced)):
        if group:
            best = max(entry["ratio"] for entry in group)
            lines += [_row([f"*{title}*", *[""] * (len(_HEADINGS) - 1)])]
            lines += [_contender(entry, bold=entry["ratio"] == best) for entry in group]
    lines += [
        f"\n{entry['about']}: {entry['beside']['ratio']:.2f} times as fast as {entry['beside']['about']}"
        for entry in measured
        if "beside" in entry
    ]
    lines += [f"\n{entry['about']} failed: {entry['failed']}" for entry in entries if "failed" in entry]
    return "\n".join(lines)


def _contender(entry: Mapping[str, Any], *, bold: bool) -> str:
    spearman = entry["spearman_x100"]
    return _row(
        [
            f"**{entry['about']}**" if bold else entry["about"],
            f"{entry['ratio']:.2f}",
            f"{entry['median_seconds']:.2f}",
            f"{entry['texts_per_second']:,.0f}",
            f"{entry['tokens_per_second']:,.0f}",
            f"{entry['share_of_fp32_limit']:.0%}",
            f"{entry['max_abs']:.1e}",
            f"{entry['min_cosine']:.6f}",
            "" if spearman is None else f"{spearman:.4f}",
            f"{entry['first_embedding_seconds']:.2f}",
            f"{entry['peak_mib']:,.0f}",
        ]
    )


def _conditions(document: Mapping[str, Any]) -> str:
    machine = document["machine"]
    flags = [flag for flag in machine["instructions"] if flag.startswith(("avx512_", "avx_vnni", "amx"))]
    lines = [
        f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB; "
        f"{', '.join(flags) or 'no AVX-512 extensions, no AMX'}; "
        f"{document['date'][:10]}; medians of {document['settings']['rounds']} rounds.",
        "",
    ]
    others = max(workload.get("others_share_of_cores", 0) for workload in document["workloads"].values())
    if others > _QUIET:
        lines[0] += f" Not a quiet machine: other work took {others:.0%} of its cores."
    for environment, versions in document["versions"].items():
        packages = ", ".join(f"{name} {version}" for name, version in versions.items())
        lines.append(f"- {environment}: {packages}")
    return "\n".join(lines)


def _row(cells: Any) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    print(render(json.loads(Path(sys.argv[1]).read_text())))
