"""mlx models, mlx runners"""

import json
from dataclasses import asdict

import click

from minilmx.cli.console import echo
from minilmx.errors import RunnerError


@click.command(short_help="List the known models and the architectures.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def models(as_json: bool) -> None:
    """List the models that are known by name, and the architectures.

    Any other sentence-transformers folder or hub id of one of these architectures can be exported as well,
    and cross-encoders of some of them.
    """
    from minilmx.models.architectures import ARCHITECTURES
    from minilmx.models.cross_encoder import HEADS
    from minilmx.models.known import KNOWN_MODELS

    if as_json:
        click.echo(json.dumps([asdict(model) for model in KNOWN_MODELS.values()], indent=2))
        return
    width = max(map(len, KNOWN_MODELS))
    for model in KNOWN_MODELS.values():
        pinned = model.revision[:12] if model.revision else "resolved at export"
        score = f"STSb {model.spearman:.2f}" if model.spearman else "STSb unknown"
        echo(f"{model.name:<{width}}  {score:<12}  {pinned:<22}  {model.about}")
    echo("\nSTSb: published Spearman x100 on STSBenchmark, English test split (MTEB).\n")
    width = max(map(len, ARCHITECTURES))
    for name, architecture in ARCHITECTURES.items():
        echo(f"architecture {name:<{width}}  {architecture.models}")
    echo(f"\ncross-encoders with one score: {', '.join(HEADS)} (ms-marco-MiniLM-L6-v2 is bert)")


@click.command(short_help="List the runners, and whether each can run here.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def runners(as_json: bool) -> None:
    """List the runners, whether each can run here and, if not, what is missing."""
    from minilmx.runners.devices import find_clash
    from minilmx.runners.registry import find_runner, runner_names

    rows: list[tuple[str, str, str | None]] = []
    for name in runner_names():
        try:
            entry = find_runner(name)
            missing = entry.missing(entry.options())
            if name == "onnxruntime":
                missing = missing or find_clash()
            rows.append((name, entry.about, missing))
        except RunnerError as error:
            rows.append((name, "a broken plug-in", str(error)))
    if as_json:
        names = ("name", "about", "missing")
        click.echo(json.dumps([dict(zip(names, row, strict=True)) for row in rows], indent=2))
        return
    width = max(len(name) for name, _, _ in rows)
    for name, about, missing in rows:
        echo(f"{name:<{width}}  {'missing' if missing else 'ready':<7}  {about}")
        if missing:
            echo(f"{'':<{width}}           {missing}")
