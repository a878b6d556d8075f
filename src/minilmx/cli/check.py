"""mlx check"""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from minilmx.cli.options import ARTIFACT

if TYPE_CHECKING:
    from minilmx.eval.consumers.check import Finding


@click.command()
@ARTIFACT
@click.option(
    "--consumer",
    "names",
    multiple=True,
    metavar="NAME",
    help="Check this consumer, which must be installed; repeatable. [default: all that are]",
)
@click.option(
    "--python",
    "pythons",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Look for consumers in this Python, too; repeatable.",
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
    help="Seconds after which a consumer is ended.",
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
    """Prove ARTIFACT in every library here that can open it.

    Each library runs the lines of `mlx inspect --snippet NAME` in a process of its own, over real
    sentences from one token to truncated, in batches of 1, 7 and 32, against the artifact's own
    embeddings (its fixed graph on onnxruntime). Exits with 1 where one fails or differs.
    """
    from minilmx.embedding.embedder import embed_texts
    from minilmx.errors import EvalError
    from minilmx.eval.consumers.check import MISSING, check_consumers
    from minilmx.eval.consumers.places import find_places
    from minilmx.eval.consumers.registry import CONSUMERS
    from minilmx.eval.consumers.snippets.template import has_fixed_settings
    from minilmx.eval.consumers.texts import varied_texts
    from minilmx.models.artifact import open_artifact
    from minilmx.models.manifest import FLOAT32
    from minilmx.runners.registry import open_runner

    for name in names:
        if name not in CONSUMERS:
            raise click.BadParameter(
                f"there is no {name!r}: expected one of {', '.join(CONSUMERS)}", param_hint="--consumer"
            )
    opened = open_artifact(artifact)
    if opened.manifest.precision != FLOAT32:
        raise EvalError(
            f"{artifact} is {opened.manifest.precision}, whose embeddings depend on what else is in a batch: "
            "check the float32 artifact of the same model"
        )
    places = find_places(pythons, node_modules)
    graphs = {"dynamic", "fixed"} if has_fixed_settings(opened) else {"dynamic"}
    chosen = [CONSUMERS[name] for name in dict.fromkeys(names)]
    consumers = chosen or [found for found in CONSUMERS.values() if found.graph in graphs]
    texts = varied_texts(opened)
    with open_runner("onnxruntime", opened) as runner:
        reference, _ = embed_texts(opened, runner, texts)
    findings = []
    for finding in check_consumers(
        opened, consumers, places, texts, reference, time_limit, lambda text: click.echo(text, err=True)
    ):
        if names and finding.state == MISSING:
            raise EvalError(f"{finding.consumer} is not installed: {finding.reason}; {finding.remedy}")
        findings.append(finding)
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        _print(findings)
    if any(finding.state in ("disagrees", "fails") for finding in findings):
        sys.exit(1)


def _print(findings: Sequence["Finding"]) -> None:
    """A table; under what does not agree, why and what to do."""
    titles = ("consumer", "version", "result", "max abs", "min cosine")
    rows = [
        (
            finding.consumer,
            finding.version or "",
            finding.state,
            "" if finding.max_abs is None else f"{finding.max_abs:.1e}",
            "" if finding.min_cosine is None else f"{finding.min_cosine:.8f}",
        )
        for finding in findings
    ]
    widths = [max(map(len, column)) for column in zip(titles, *rows, strict=True)]
    several = len({finding.place for finding in findings if finding.place}) > 1

    def line(cells: Sequence[str], place: str | None) -> str:
        padded = [cell.ljust(width) for cell, width in zip(cells, widths, strict=True)]
        return "  ".join([*padded, *([place] if place and several else [])]).rstrip()

    click.echo(line(titles, "in"))
    for finding, row in zip(findings, rows, strict=True):
        click.echo(line(row, finding.place))
        for text in (finding.reason, finding.remedy):
            if text:
                click.echo(f"{'':<{widths[0]}}  {text}")
