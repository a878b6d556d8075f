"""mlx golden create, check"""

from pathlib import Path
from typing import Any

import click

import minilmx
from minilmx.cli.console import echo
from minilmx.cli.evaluate import PRESET, finish, given_limits, judgement_options
from minilmx.cli.options import FORCE, require_writable, result_options
from minilmx.cli.progress import console_progress
from minilmx.wording import counted

_GOLDEN = click.argument("golden", type=click.Path(path_type=Path))


@click.group(short_help="Keep embeddings in a file, and check whether they changed.")
def golden() -> None:
    """Keep embeddings in a file, and find out whether anything has changed them."""


@golden.command(short_help="Embed texts, and write them with their embeddings to a file.")
@_GOLDEN
@click.option("--from", "embedder", required=True, help="What embeds the texts, as in `mlx compare`.")
@click.option(
    "--texts",
    required=True,
    help="The texts to embed: one per line, CSV, TSV, JSON, JSONL or Parquet.",
)
@click.option("--column", help="Column of --texts with the texts, if it has several beside id.")
@PRESET
@FORCE
def create(golden: Path, embedder: str, texts: str, **settings: Any) -> None:
    """Embed texts and write them with their embeddings to GOLDEN, a safetensors file.

    `mlx golden check` uses the preset unless it names another.
    """
    with console_progress() as progress:
        made = minilmx.create_golden(golden, embedder, texts, progress=progress, **settings)
    size = golden.stat().st_size / 1e3
    echo(
        f"{golden}: {counted(len(made.values), 'text')}, {counted(made.values.shape[1], 'number')} each, "
        f"{size:,.0f} kB"
    )


@golden.command(short_help="Compare an embedder with a golden file.")
@_GOLDEN
@click.argument("embedder")
@judgement_options
@result_options
def check(
    golden: Path,
    embedder: str,
    preset: str | None,
    output: Path | None,
    replace: bool,
    as_json: bool,
    **settings: Any,
) -> None:
    """Embed the texts of GOLDEN with EMBEDDER, as in `mlx compare`, and compare.

    The first line is the answer, and the exit code follows it, as in `mlx eval`. Also prints the ten texts
    that moved most. `mlx report` renders the result as JUnit or Markdown.
    """
    from minilmx.eval.golden import most_moved, read_golden

    _, rules = given_limits(settings)
    require_writable(output, replace)
    kept = read_golden(golden)
    with console_progress() as progress:
        result = minilmx.check_golden(kept, embedder, limits=rules, preset=preset, progress=progress)
    moved = [] if as_json else most_moved(kept, result)
    if moved:
        moved = ["", "moved most:", *(f"  {line}" for line in moved)]
    finish(result, output, replace, as_json, moved)
