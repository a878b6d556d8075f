"""mlx check"""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

import minilmx
from minilmx.cli.console import echo
from minilmx.cli.options import ARTIFACT
from minilmx.cli.progress import console_progress

if TYPE_CHECKING:
    from minilmx.eval.consumers.check import Finding


@click.command(short_help="Open an artifact in every library that is installed here.")
@ARTIFACT
@click.option(
    "--consumer",
    "names",
    multiple=True,
    metavar="NAME",
    help="Check only this installed consumer; repeatable. [default: all that are installed]",
)
@click.option(
    "--python",
    "pythons",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Also look for consumers in this Python; repeatable.",
)
@click.option(
    "--node-modules",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder with transformers.js. [default: node_modules here]",
)
@click.option(
    "--time-limit",
    type=click.FloatRange(min=0, min_open=True),
    default=300,
    show_default=True,
    help="Seconds after which a consumer is stopped.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def check(
    artifact: Path,
    names: Sequence[str],
    pythons: Sequence[Path],
    node_modules: Path | None,
    time_limit: float,
    as_json: bool,
) -> None:
    """Check that every installed library opens ARTIFACT and returns its embeddings.

    Each library runs the code that `mlx inspect --snippet NAME` prints, in a separate process, over
    sentences of every length, in batches of 1, 7 and 32. Its embeddings must equal those of the
    artifact's fixed graph on onnxruntime, and its token ids, if it shows them, those of the artifact's
    tokenizer. The first line is the answer. Exits with 1 if a library fails or differs.
    """
    with console_progress() as progress:
        findings = minilmx.check(
            artifact,
            names,
            pythons=pythons,
            node_modules=node_modules,
            time_limit_seconds=time_limit,
            progress=progress,
        )
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        _print(findings)
    if any(finding.state in ("disagrees", "fails") for finding in findings):
        raise click.exceptions.Exit(1)


def _print(findings: Sequence["Finding"]) -> None:
    """The answer and a table; below each consumer that does not agree, the reason and what to do."""
    from minilmx.eval.consumers.check import answer

    titles = ("consumer", "version", "result", "max abs", "min cosine", "ids")
    ids = {None: "", True: "same", False: "differ"}
    rows = [
        (
            finding.consumer,
            finding.version or "",
            finding.state,
            "" if finding.max_abs is None else f"{finding.max_abs:.1e}",
            "" if finding.min_cosine is None else f"{finding.min_cosine:.8f}",
            ids[finding.same_ids],
        )
        for finding in findings
    ]
    widths = [max(map(len, column)) for column in zip(titles, *rows, strict=True)]
    several = len({finding.place for finding in findings if finding.place}) > 1

    def line(cells: Sequence[str], place: str | None) -> str:
        padded = [cell.ljust(width) for cell, width in zip(cells, widths, strict=True)]
        return "  ".join([*padded, *([place] if place and several else [])]).rstrip()

    echo(answer(findings))
    echo(line(titles, "in"))
    for finding, row in zip(findings, rows, strict=True):
        echo(line(row, finding.place))
        for text in (finding.reason, finding.remedy):
            if text:
                echo(f"{'':<{widths[0]}}  {text}")
