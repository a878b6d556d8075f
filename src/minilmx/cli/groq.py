"""mlx groq setup, doctor, selftest, build, job, reproduce"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from minilmx.cli.console import echo
from minilmx.cli.options import ARTIFACT, FORCE
from minilmx.cli.progress import console_progress
from minilmx.files.atomic import atomic_file
from minilmx.wording import counted

_GRAPH = click.option(
    "--graph",
    type=click.Choice(["auto", "fixed", "packed"]),
    default="auto",
    show_default=True,
    help="Graph of the artifact to build or run. auto: the packed one if the artifact has it.",
)

if TYPE_CHECKING:
    from minilmx.runners.groq.doctor import MachineCheck


@click.group()
def groq() -> None:
    """Set up, check and build for a GroqCard through GroqFlow."""


@groq.command()
@click.option(
    "--size",
    type=click.Choice(["full", "lean"]),
    default="lean",
    show_default=True,
    help="full: what Groq's guide installs, 3 GB; lean: what the ONNX path needs, 44 MB.",
)
@click.option(
    "--python",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A Python 3.8 to 3.10. [default: the version that the SDK needs, from PATH, pyenv, uv or conda]",
)
@click.option(
    "--prefix",
    type=click.Path(path_type=Path),
    help="Folder for the environment. [default: ~/.local/share/minilmx/groqflow]",
)
def setup(size: str, python: Path | None, prefix: Path | None) -> None:
    """Create GroqFlow's own Python environment and try it.

    GroqFlow 4.3.1 needs Python 3.8 to 3.10 and packages that cannot be installed beside
    minilmx. If the same environment already exists, it is only tried.
    """
    from minilmx.runners.groq.environment import PYTHON_VARIABLE
    from minilmx.runners.groq.installation import set_up

    with console_progress() as progress:
        outcome = set_up(size, python, prefix, progress)
    environment = outcome.environment
    echo(f"GroqFlow {environment.versions['groqflow']} ({size}) in {environment.python.parent.parent}")
    echo(f"trial build: {outcome.trial}")
    if prefix is not None:
        echo(f"to use it in minilmx: export {PYTHON_VARIABLE}={environment.python}")


@groq.command(short_help="Check everything that a run on a GroqCard needs.")
@click.option("--json", "as_json", is_flag=True, help="Print the checks as JSON.")
@click.option(
    "--deep", is_flag=True, help="Also run `mlx groq selftest`, about a minute, if nothing is missing."
)
def doctor(as_json: bool, deep: bool) -> None:
    """Check everything that a run on a GroqCard needs, one line per check.

    Exits with 0 only if this machine could build for a card and run on it, otherwise with 3.
    Warnings do not change the exit code.
    """
    from minilmx.api.groq import selftest_groq
    from minilmx.runners.groq.doctor import card_status, examine

    checks, answers = [*examine(), *card_status()], []
    if not as_json:
        _print_checks(checks, "MISSING")
    if deep and all(check.ok for check in checks):
        with console_progress() as progress:
            answers = selftest_groq(progress=progress)
        if not as_json:
            _print_checks(answers, "FAILED")
    if as_json:
        click.echo(json.dumps([asdict(check) for check in (*checks, *answers)], indent=2))
    if not all(check.ok for check in (*checks, *answers)):
        raise click.exceptions.Exit(3)


def _print_checks(checks: "list[MachineCheck]", failed: str) -> None:
    width = max(len(check.name) for check in checks)
    for check in checks:
        state = failed if not check.ok else "warning" if check.warning else "ok"
        remedy = "" if state == "ok" else f": {check.remedy}"
        text = check.found.replace("\n", "\n" + (11 + width) * " ")
        echo(f"{state:<7}  {check.name:<{width}}  {text}{remedy}")


@groq.command(short_help="Try small graphs on the GroqCard, in about a minute.")
def selftest() -> None:
    """Try small graphs on the GroqCard: types, repeatability, speed and accuracy.

    Compiles the fixed and the packed graph of a one-layer BERT with random weights, which ships with
    minilmx, and calls each program 100 times, in about a minute. Exits with 3 if a check fails.
    """
    from minilmx.api.groq import selftest_groq

    with console_progress() as progress:
        checks = selftest_groq(progress=progress)
    _print_checks(checks, "FAILED")
    if not all(check.ok for check in checks):
        raise click.exceptions.Exit(3)


@groq.command()
@ARTIFACT
@click.option(
    "--bundle",
    type=click.Path(path_type=Path),
    help="Also write the build to one file, for `mlx run --bundle` on the machine with the card.",
)
@click.option(
    "--time-limit",
    type=click.FloatRange(min=0, min_open=True),
    default=60.0,
    show_default=True,
    help="Minutes after which the build is stopped.",
)
@click.option(
    "--effort",
    type=click.Choice(["standard", "high"]),
    default="standard",
    show_default=True,
    help="Effort of Groq's compiler.",
)
@click.option("--groqview", is_flag=True, help="Also write the folder that Groq's viewer opens.")
@click.option("--power", is_flag=True, help="Also let the compiler analyse power and utilization.")
@click.option("--force", "replace", is_flag=True, help="Build again, and replace the bundle if it exists.")
@_GRAPH
def build(artifact: Path, bundle: Path | None, time_limit: float, **settings: Any) -> None:
    """Build ARTIFACT with GroqFlow, or find its build in the cache.

    --effort, --groqview and --power create a separate build, which runs only with --bundle. Runs without
    --bundle use the plain build.
    """
    from minilmx.api.groq import build_for_groq

    with console_progress() as progress:
        groq_build = build_for_groq(
            artifact, bundle, time_limit_seconds=60 * time_limit, progress=progress, **settings
        )
    facts = groq_build.facts
    rows = [
        ("build", str(groq_build.folder)),
        ("sdk", groq_build.sdk or "unknown"),
        ("ops", ", ".join(f"{name} {count}" for name, count in sorted(groq_build.op_counts.items()))),
        ("unsupported", ", ".join(facts["info"].get("opt_onnx_unsupported_ops") or []) or "none"),
        ("chips", str(facts["chips"])),
        ("compiler flags", " ".join(facts["compiler_flags"])),
        ("program", ", ".join(f"{name} {size:,} bytes" for name, size in facts["program_bytes"].items())),
    ]
    cycles = f"{facts['total_cycles'] or 0:,} cycles at 900 MHz"
    latencies = (
        ("on-chip compute", groq_build.on_chip_compute_seconds, cycles),
        ("with PCIe", groq_build.with_pcie_seconds, "GroqFlow's estimate"),
    )
    for name, seconds, source in latencies:
        if seconds:
            speed = f"{1000 * seconds:.3f} ms per batch, {1 / seconds:,.0f} inferences/s"
            rows.append((name, f"{speed} ({source})"))
    if facts["warning"]:
        rows.append(("warning", facts["warning"]))
    if settings["groqview"]:
        rows.append(("groqview", str(groq_build.groqview)))
    if bundle is not None:
        rows.append(("bundle", f"{bundle}  {bundle.stat().st_size:,} bytes"))
    if groq_build.is_stand_in:
        rows.append(("caution", "built by a stand-in for Groq's SDK, not for a GroqCard"))
    for name, value in rows:
        echo(f"{name:<15} {value}")


@groq.command()
@ARTIFACT
@click.argument("texts", required=False)
@click.option(
    "--bundle",
    type=click.Path(path_type=Path),
    required=True,
    help="The bundle that the build writes and the run reads.",
)
@click.option(
    "--scheduler", type=click.Choice(["pbs", "slurm"]), help="The scheduler that the script is for."
)
@click.option(
    "--embeddings",
    type=click.Path(path_type=Path),
    help="File for the embeddings. [default: card.npy]",
)
@click.option("--column", help="CSV, TSV or Parquet column, or JSONL field, with the sentences.")
@_GRAPH
@click.option(
    "--standalone",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Instead of a script, write a folder that runs on the machine with the card, without minilmx.",
)
@click.option(
    "--output", "-o", type=click.Path(path_type=Path), help="File for the script. [default: standard output]"
)
@FORCE
def job(
    artifact: Path,
    texts: str | None,
    bundle: Path,
    scheduler: str | None,
    embeddings: Path | None,
    column: str | None,
    graph: str,
    standalone: Path | None,
    output: Path | None,
    replace: bool,
) -> None:
    """Write a batch script for PBS or Slurm. Nothing is started.

    Without TEXTS, a file of sentences, the script builds ARTIFACT and writes the bundle. With TEXTS,
    it embeds them with the bundle on a node with a card.

    --standalone FOLDER writes the bundle, the token batches of TEXTS and run.py, which needs only
    numpy below 2 and Groq's runtime: `python run.py card.npy` there, and
    `mlx compare cpu.npy card.npy` here.
    """
    from minilmx.api.groq import groq_build_job, groq_run_job, groq_standalone

    if standalone is not None:
        if texts is None:
            raise click.UsageError("--standalone needs TEXTS.")
        unused = {"--scheduler": scheduler, "--embeddings": embeddings, "--output": output}
        for name, value in unused.items():
            if value is not None:
                raise click.UsageError(f"{name} would change nothing with --standalone.")
        count = groq_standalone(
            artifact, bundle, texts, standalone, column=column, graph=graph, replace=replace
        )
        echo(f"{standalone}: {counted(count, 'text')}; on the machine with the card: python run.py card.npy")
        return
    if scheduler is None:
        raise click.UsageError("Name the --scheduler, or a folder with --standalone.")
    how = {"scheduler": scheduler, "graph": graph}
    if texts is not None:
        script = groq_run_job(artifact, bundle, texts, embeddings or "card.npy", column=column, **how)
    else:
        for name, value in {"--embeddings": embeddings, "--column": column}.items():
            if value is not None:
                raise click.UsageError(f"{name} would change nothing without TEXTS.")
        script = groq_build_job(artifact, bundle, **how)
    if output is None:
        if replace:
            raise click.UsageError("--force would change nothing without --output.")
        click.echo(script, nl=False)
    else:
        with atomic_file(output, replace=replace) as temporary:
            temporary.write_text(script, encoding="utf-8")


@groq.command(short_help="Run Groq's own proof point beside its published figures.")
@click.argument("artifact", required=False, type=click.Path(path_type=Path))
@click.option(
    "--dataset",
    default="stsb",
    show_default=True,
    help="stsb (Groq's data set), bundled, a hub id, or a file of pairs (CSV, TSV, JSON, JSONL, Parquet).",
)
@click.option("--limit", type=click.IntRange(min=2), help="Use only the first pairs.")
@click.option(
    "--bundle",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Build of the artifact from another machine (see `mlx groq build --bundle`).",
)
def reproduce(artifact: Path | None, dataset: str, limit: int | None, bundle: Path | None) -> None:
    """Run Groq's own proof point, and print its table beside Groq's published figures.

    Runs all-MiniLM-L6-v2 at [2, 128] as Groq does: drops pairs of more than 128 tokens, pools on the host,
    and computes scipy's Spearman correlation. Without ARTIFACT, it exports the model with a bool mask, like
    Groq's, to ./all-MiniLM-L6-v2-b2-s128-bool, or reuses that artifact if it exists.
    """
    from minilmx.api.groq import reproduce_groq
    from minilmx.eval.reports.proof_point import proof_point_text

    with console_progress() as progress:
        reproduction = reproduce_groq(artifact, dataset, limit=limit, bundle=bundle, progress=progress)
    echo(proof_point_text(reproduction))
