"""mlx compare"""

from pathlib import Path
from typing import Any

import click

from minilmx.cli.evaluate import LIMITS_FILE, PRESET, finish, limit_options, rules_under, stated_limits
from minilmx.cli.options import FORCE, JSON, require_output


@click.command()
@click.argument(
    "runs",
    metavar="FILE FILE...",
    nargs=-1,
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
)
@PRESET
@limit_options
@LIMITS_FILE
@click.option("--output", "-o", type=click.Path(path_type=Path), help="JSON file for the result.")
@FORCE
@JSON
def compare(
    runs: tuple[Path, ...],
    preset: str | None,
    limits: Path | None,
    output: Path | None,
    force: bool,
    as_json: bool,
    **settings: Any,
) -> None:
    """Compare embeddings that `mlx run` saved, perhaps on different machines.

    FILE is a file of embeddings (.npy, .npz, .parquet or .jsonl), with its record FILE.run.json if there
    is one; the first is the reference. The first line is the answer, and the exit code follows it, as in
    `mlx eval`.
    """
    from minilmx import api
    from minilmx.files.atomic import check_writable

    rules = rules_under(stated_limits(settings), limits)
    require_output(output, force)
    if output is not None:
        check_writable(output, replace=force)
    result = api.compare(*runs, limits=rules, preset=preset)
    finish(result, output, force, as_json, save=output is not None)
