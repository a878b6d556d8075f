"""mlx report"""

from pathlib import Path
from typing import Any

import click

import minilmx
from minilmx.cli.console import echo, print_document
from minilmx.cli.evaluate import given_limits, judgement_options, require_comparison
from minilmx.cli.options import FORCE, require_writable
from minilmx.errors import EvalError, boundary
from minilmx.files.atomic import atomic_file

# The formats, as minilmx.eval.reports.render.FORMATS has them, and the file endings that mean them.
_FORMATS = ("table", "html", "markdown", "junit", "mteb")
_ENDINGS = {".html": "html", ".md": "markdown", ".xml": "junit"}


@click.command("report", short_help="Render saved results: a table, a page, Markdown or JUnit.")
@click.argument(
    "results",
    metavar="RESULT...",
    nargs=-1,
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
)
@click.option(
    "--format",
    "form",
    type=click.Choice(_FORMATS),
    help="html: one page that needs no network. markdown: for a CI step summary. junit: XML that CI "
    "systems show as tests. mteb: the scores as mteb's own loader reads them. [default: by the "
    "output's extension, otherwise table]",
)
@click.option("--runner", help="With mteb: the runner whose scores to write, if the result has several.")
@click.option(
    "--output", "-o", type=click.Path(path_type=Path), help="File to write. [default: standard output]"
)
@FORCE
@judgement_options
def report(
    results: tuple[Path, ...],
    form: str | None,
    runner: str | None,
    output: Path | None,
    replace: bool,
    preset: str | None,
    **settings: Any,
) -> None:
    """Render saved results of `mlx eval`, `mlx compare` or `mlx bench`, without running anything.

    Several RESULTs of one model and data set are drawn as a history, by date and runner version. Limits or
    a preset replace those that one RESULT was saved with; the exit code is then as in `mlx eval`. Exits
    with 1 in any case if a RESULT has embeddings that are not finite.
    """
    from minilmx.api.report import limits_of
    from minilmx.eval.benchmark import Benchmark
    from minilmx.eval.reports.benchmark import render_benchmark
    from minilmx.eval.reports.cells import first_lines
    from minilmx.eval.reports.render import render
    from minilmx.eval.results import Result
    from minilmx.eval.verdict import not_finite

    form = form or _ENDINGS.get(output.suffix.lower() if output else "", "table")
    if runner and form != "mteb":
        raise click.UsageError("--runner needs --format mteb")
    require_writable(output, replace)
    limited = preset is not None or settings["limits"] is not None
    stated, rules = given_limits(settings)
    limited = limited or bool(stated)
    found = [minilmx.load_result(path) for path in results]
    judged = [each for each in found if isinstance(each, Result)]
    benchmarks = [each for each in found if isinstance(each, Benchmark)]
    if benchmarks and len(found) > 1:
        raise click.UsageError("benchmarks cannot be drawn as a history; expected one RESULT.")
    if limited:
        if len(judged) != 1:
            raise click.UsageError(
                "limits and a preset judge one result of `mlx eval` or `mlx compare`: "
                f"{len(judged)}; expected one"
            )
        require_comparison(preset, stated, len(judged[0].evaluations[0].runners))
        judged = [limits_of(judged[0], rules, preset)]
    # A document may follow its schema and contradict itself.
    with boundary(EvalError, f"{', '.join(map(str, results))} cannot be shown"):
        text = render_benchmark(form, benchmarks[0]) if benchmarks else render(form, judged, runner)
        broken = any(not_finite(each.evaluations) for each in judged)
    if output is None:
        if form in ("table", "markdown"):
            echo(text, nl=False)
        else:
            print_document(text)
    else:
        with atomic_file(output, replace=replace) as temporary:
            temporary.write_text(text, encoding="utf-8")
        if broken:
            for line in first_lines(judged):
                echo(line, err=True)
        echo(f"report: {output}", err=True)
    if broken or (limited and judged[0].passed is False):
        raise click.exceptions.Exit(1)
