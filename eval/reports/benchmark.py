"""A benchmark as a table and as a page with a plot."""

from collections.abc import Sequence
from dataclasses import asdict

from markupsafe import Markup
from rich import box
from rich.console import Console
from rich.table import Table

from minilmx.errors import EvalError
from minilmx.eval.benchmark import Benchmark, ContenderTiming
from minilmx.eval.reports.cells import in_words
from minilmx.eval.reports.html import render_page
from minilmx.eval.reports.svg import bars
from minilmx.eval.reports.terminal import print_wide, to_text
from minilmx.wording import counted

FORMATS = ("table", "html")
_COLUMNS = (
    *("times the first", "sentences/s", "tokens/s", "median s", "padding", "batch ms median"),
    *("batch ms p95", "first embedding s", "peak MiB"),
)


def render_benchmark(form: str, benchmark: Benchmark) -> str:
    """The benchmark in one of FORMATS. Raises EvalError for another."""
    if form not in FORMATS:
        raise EvalError(f"format of a benchmark: {form}; expected {' or '.join(FORMATS)}")
    if form == "html":
        return _page(benchmark)
    return to_text(lambda console: print_benchmark(benchmark, console))


def print_benchmark(benchmark: Benchmark, console: Console) -> None:
    """Print a row for each contender, and the remarks that belong to the figures."""
    shown = Table("", *_COLUMNS, box=box.SIMPLE_HEAD)
    for timing in benchmark.timings:
        shown.add_row(timing.contender.name, *_cells(benchmark, timing))
    console.print(_describe(benchmark), soft_wrap=True)
    print_wide(shown, console)
    for remark in _remarks(benchmark):
        console.print(remark, soft_wrap=True)


def _page(benchmark: Benchmark) -> str:
    names = [timing.contender.name for timing in benchmark.timings]
    speeds = [timing.sentences_per_second for timing in benchmark.timings]
    least = [benchmark.sentences / max(timing.rounds) for timing in benchmark.timings]
    labels = [f"{name}: {speed:,.0f}" for name, speed in zip(names, speeds, strict=True)]
    return render_page(
        "benchmark.html.j2",
        title=f"{benchmark.model.rsplit('/', 1)[-1]}: speed of its runners",
        version=benchmark.provenance.minilmx,
        about=_describe(benchmark),
        drawing=Markup(bars(labels, speeds, least, "sentences per second")),  # svg escapes
        columns=("", *_COLUMNS),
        rows=[(timing.contender.name, *_cells(benchmark, timing)) for timing in benchmark.timings],
        remarks=_remarks(benchmark),
        settings=[
            (timing.contender.name, in_words({**timing.versions, **timing.details}))
            for timing in benchmark.timings
        ],
        provenance=[(name, str(value)) for name, value in asdict(benchmark.provenance).items()],
    )


def _cells(benchmark: Benchmark, timing: ContenderTiming) -> Sequence[str]:
    """One contender's row, as _COLUMNS."""
    return (
        f"{benchmark.ratio(timing):.2f}",
        f"{timing.sentences_per_second:,.0f}",
        f"{timing.tokens_per_second:,.0f}",
        f"{timing.seconds:.2f}",
        f"{timing.padding_share:.0%}",
        f"{1000 * timing.latency_median:,.2f}",
        f"{1000 * timing.latency_p95:,.2f}",
        f"{timing.first_embedding:.2f}",
        f"{timing.peak_bytes / 2**20:,.0f}",
    )


def _describe(benchmark: Benchmark) -> str:
    machine = f"{benchmark.provenance.processor} ({benchmark.provenance.cpus} CPUs)"
    return (
        f"{benchmark.artifact}: {counted(benchmark.sentences, 'sentence')} of {benchmark.dataset}, "
        f"{counted(benchmark.tokens, 'token')}, {benchmark.truncated_sentences:,} truncated, "
        f"{counted(len(benchmark.timings[0].rounds), 'round')} on {machine}, "
        "tokenizing included"
    )


def _remarks(benchmark: Benchmark) -> list[str]:
    """The remarks that belong to the figures."""
    remarks = []
    for timing in benchmark.timings:
        name = timing.contender.name
        latencies = (
            ("inside the SDK call (measured)", timing.sdk_call_seconds),
            ("with PCIe (GroqFlow's estimate)", timing.with_pcie_seconds),
            ("of on-chip compute (cycles)", timing.on_chip_compute_seconds),
        )
        if any(seconds is not None for _, seconds in latencies):
            stated = [("per batch from end to end (measured)", timing.latency_median), *latencies]
            parts = (f"{1000 * seconds:,.3f} ms {what}" for what, seconds in stated if seconds is not None)
            remarks.append(f"{name}: {', '.join(parts)}")
        for key in ("emulation", "caution"):
            if key in timing.details:
                remarks.append(f"{name}: {timing.details[key]}; its times say nothing about a GroqCard")
    return remarks
