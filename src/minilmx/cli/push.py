"""mlx push"""

from pathlib import Path

import click

import minilmx
from minilmx.cli.console import echo
from minilmx.cli.options import ARTIFACT


@click.command(short_help="Upload an artifact to the hub.")
@ARTIFACT
@click.argument("repository")
@click.option(
    "--result",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Result of `mlx eval` on ARTIFACT, whose correlations the model card states.",
)
def push(artifact: Path, repository: str, result: Path | None) -> None:
    """Upload ARTIFACT to REPOSITORY, ORG/NAME on the hub, in one commit.

    What `mlx check` refuses to open is not uploaded: a damaged artifact, and files that the export does not
    write. A repository that does not exist is made. The token is that of `hf auth login`. Prints the name by
    which every command opens the artifact: hf://ORG/NAME@COMMIT.
    """
    from minilmx.cli.progress import console_progress

    with console_progress() as progress:
        name = minilmx.push(artifact, repository, result=result, progress=progress)
    echo(name)
