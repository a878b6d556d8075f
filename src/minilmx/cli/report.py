"""mlx report"""

from pathlib import Path

import click

# The formats, as minilmx.eval.reports.render.FORMATS has them, and the file endings that mean them.
_FORMATS = ("table", "html", "markdown", "junit", "mteb")
_ENDINGS = {".html": "html", ".md": "markdown", ".xml": "junit"}


@click.command("report")
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
    "output's ending, else table]",
)
@click.option("--runner", help="With mteb: whose scores, where the result has several runners.")
@click.option(
    "--output", "-o", type=click.Path(path_type=Path), help="File to write. [default: standard output]"
)
@click.option("--force", is_flag=True, help="Replace the output where it exists.")
def report(
    results: tuple[Path, ...], form: str | None, runner: str | None, output: Path | None, force: bool
) -> None:
    """Render saved results of `mlx eval` or one of `mlx bench` again, without running anything.

    Of several RESULTs of one model and data set it draws the history, by date and runner
    version. The exit code says nothing of limits: `mlx eval --from` does.
    """
    from minilmx.eval.benchmark import Benchmark
    from minilmx.eval.document import load_document
    from minilmx.eval.reports.benchmark import render_benchmark
    from minilmx.eval.reports.render import render
    from minilmx.eval.results import Result
    from minilmx.files.atomic import atomic_file, check_writable

    form = form or _ENDINGS.get(output.suffix.lower() if output else "", "table")
    if runner and form != "mteb":
        raise click.UsageError("--runner goes with --format mteb")
    if output is not None:
        check_writable(output, replace=force)
    kinds = (Result, Benchmark) if len(results) == 1 else (Result,)
    found = [load_document(path, *kinds) for path in results]
    first = found[0]
    text = render_benchmark(form, first) if isinstance(first, Benchmark) else render(form, found, runner)
    if output is None:
        click.echo(text, nl=False)
        return
    with atomic_file(output, replace=force) as temporary:
        temporary.write_text(text, encoding="utf-8")
    click.echo(f"report: {output}", err=True)
