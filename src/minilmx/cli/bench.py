"""mlx bench"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from minilmx.cli.console import show
from minilmx.cli.options import ARTIFACT, as_runner_options, runner_settings


@click.command()
@ARTIFACT
@click.argument("texts", required=False)
@click.option("--column", help="CSV, TSV or Parquet column, or JSONL field, with the texts.")
@click.option(
    "--runner",
    "runners",
    multiple=True,
    metavar="RUNNER[:GRAPH]",
    help="A runner, and fixed, packed or dynamic; repeatable, and the first is the baseline. "
    "[default: onnxruntime with every graph of ARTIFACT]",
)
@click.option(
    "--rounds", type=click.IntRange(min=1), default=5, show_default=True, help="After one to warm up."
)
@click.option("--output", "-o", type=click.Path(path_type=Path), help="JSON file for the result.")
@click.option("--force", is_flag=True, help="Replace the output where it exists.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON, not as a table.")
@runner_settings
def bench(
    artifact: Path,
    texts: str | None,
    column: str | None,
    runners: Sequence[str],
    rounds: int,
    output: Path | None,
    force: bool,
    as_json: bool,
    **settings: Any,
) -> None:
    """Measure runners of ARTIFACT side by side on TEXTS, in interleaved rounds.

    TEXTS is a file as `mlx run` takes; without it the bundled sentences are used. A page with a
    plot: `mlx report RESULT.json --output RESULT.html`.
    """
    from minilmx.errors import EvalError
    from minilmx.eval.benchmark import measure, parse_contender
    from minilmx.eval.datasets.pairs import BUNDLED, load_pairs
    from minilmx.eval.document import save_document, to_json
    from minilmx.eval.reports.benchmark import print_benchmark
    from minilmx.files.atomic import check_writable
    from minilmx.files.texts import read_texts
    from minilmx.models.artifact import open_artifact

    if output is not None:
        check_writable(output, replace=force)
    opened = open_artifact(artifact)
    graphs = ("fixed", "dynamic", *(("packed",) if opened.manifest.packed else ()))
    wanted = list(runners) or [f"onnxruntime:{graph}" for graph in graphs]
    contenders = [parse_contender(text, opened) for text in wanted]
    if len(set(contenders)) != len(contenders):
        raise EvalError(f"expected contenders that differ, got {', '.join(wanted)}")
    sentences = read_texts(texts, column) if texts else load_pairs(BUNDLED).texts
    result = measure(
        opened,
        contenders,
        sentences,
        Path(texts).name if texts else BUNDLED,
        as_runner_options(**settings),
        rounds,
        lambda message: click.echo(message, err=True),
    )
    if output is not None:
        save_document(result, output, replace=force)
    if as_json:
        click.echo(to_json(result), nl=False)
    else:
        show(lambda console: print_benchmark(result, console))
