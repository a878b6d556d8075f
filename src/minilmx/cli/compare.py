"""mlx compare"""

from pathlib import Path

import click

from minilmx.cli.console import show
from minilmx.cli.options import FORCE, JSON


@click.command()
@click.argument(
    "runs",
    metavar="FILE FILE...",
    nargs=-1,
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
)
@click.option("--output", "-o", type=click.Path(path_type=Path), help="JSON file for the result.")
@FORCE
@JSON
def compare(runs: tuple[Path, ...], output: Path | None, force: bool, as_json: bool) -> None:
    """Compare embeddings that `mlx run` saved, perhaps on different machines.

    FILE is a file of embeddings with its record, FILE.run.json; the first is the reference.
    """
    from minilmx import api
    from minilmx.eval.reports.terminal import print_comparison
    from minilmx.eval.saved import save_comparison

    comparison = api.compare(*runs)
    if output is not None:
        save_comparison(comparison, output, replace=force)
        click.echo(f"result: {output}", err=True)
    if as_json:
        click.echo(comparison.to_json(), nl=False)
    else:
        show(lambda console: print_comparison(comparison, console))
