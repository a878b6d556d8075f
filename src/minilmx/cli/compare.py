"""mlx compare"""

from pathlib import Path
from typing import Any

import click

from minilmx.cli.evaluate import LIMITS_FILE, finish, limit_options, stated_rules
from minilmx.cli.options import FORCE, JSON


@click.command()
@click.argument(
    "runs",
    metavar="FILE FILE...",
    nargs=-1,
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
)
@limit_options
@LIMITS_FILE
@click.option("--output", "-o", type=click.Path(path_type=Path), help="JSON file for the result.")
@FORCE
@JSON
def compare(
    runs: tuple[Path, ...],
    limits: Path | None,
    output: Path | None,
    force: bool,
    as_json: bool,
    **settings: Any,
) -> None:
    """Compare embeddings that `mlx run` saved, perhaps on different machines.

    FILE is a file of embeddings (.npy, .npz, .parquet or .jsonl), with its record FILE.run.json if there
    is one; the first is the reference. Exits with 1 if a limit is broken or a number is not finite.
    """
    from minilmx import api
    from minilmx.files.atomic import check_writable

    rules = stated_rules(settings, limits)
    if output is not None:
        check_writable(output, replace=force)
    result = api.compare(*runs, limits=rules)
    finish(result, output, force, as_json, save=output is not None)
