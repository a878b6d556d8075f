"""mlx push"""

from pathlib import Path

import click

import minilmx
from minilmx.cli.console import echo
from minilmx.cli.options import ARTIFACT
from minilmx.cli.progress import console_progress


@click.command(short_help="Upload an artifact to the hub.")
@ARTIFACT
@click.argument("repository")
@click.option(
    "--result",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Result of `mlx eval` on ARTIFACT: adds its correlations to the model card.",
)
def push(artifact: Path, repository: str, result: Path | None) -> None:
    """Upload ARTIFACT to REPOSITORY, ORG/NAME on the hub, in one commit.

    Refuses what `mlx check` refuses: a damaged artifact, and files that the export does not write. Creates
    the repository if it does not exist. Uses the token of `hf auth login`. Prints the artifact's name,
    hf://ORG/NAME@COMMIT, which every command accepts.
    """
    with console_progress() as progress:
        name = minilmx.push(artifact, repository, result=result, progress=progress)
    echo(name)
