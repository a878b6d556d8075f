"""mlx report"""

import sys
from pathlib import Path
from typing import Any

import click

from minilmx.cli.evaluate import LIMITS_FILE, limit_options, stated_rules
from minilmx.cli.options import FORCE

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
    "output's extension, otherwise table]",
)
@click.option("--runner", help="With mteb: the runner whose scores are written, if the result has several.")
@click.option(
    "--output", "-o", type=click.Path(path_type=Path), help="File to write. [default: standard output]"
)
@FORCE
@limit_options
@LIMITS_FILE
def report(
    results: tuple[Path, ...],
    form: str | None,
    runner: str | None,
    output: Path | None,
    force: bool,
    limits: Path | None,
    **settings: Any,
) -> None:
    """Render saved results of `mlx eval`, `mlx compare` or `mlx bench`, without running anything.

    Several RESULTs of one model and data set become a history, by date and runner version. Limits
    given here replace those that a single RESULT was saved with; exits with 1 if one is broken.
    """
    from minilmx import api
    from minilmx.eval.benchmark import Benchmark
    from minilmx.eval.reports.benchmark import render_benchmark
    from minilmx.eval.reports.render import render
    from minilmx.eval.results import Result
    from minilmx.files.atomic import atomic_file, check_writable

    form = form or _ENDINGS.get(output.suffix.lower() if output else "", "table")
    if runner and form != "mteb":
        raise click.UsageError("--runner needs --format mteb")
    if output is not None:
        check_writable(output, replace=force)
    given = [name for name, value in settings.items() if value is not None] + [limits] * (limits is not None)
    rules = stated_rules(settings, limits)
    found = [api.load_result(path) for path in results]
    first = found[0]
    passed = None
    if len(found) > 1 and any(isinstance(each, Benchmark) for each in found):
        raise click.UsageError("benchmarks have no history: give one RESULT")
    if given:
        if len(found) > 1 or isinstance(first, Benchmark):
            raise click.UsageError("limits are checked against one result of `mlx eval` or `mlx compare`")
        first = api.limits_of(first, rules)
        found, passed = [first], first.passed
    if isinstance(first, Benchmark):
        text = render_benchmark(form, first)
    else:
        text = render(form, [each for each in found if isinstance(each, Result)], runner)
    if output is None:
        click.echo(text, nl=False)
    else:
        with atomic_file(output, replace=force) as temporary:
            temporary.write_text(text, encoding="utf-8")
        click.echo(f"report: {output}", err=True)
    if passed is False:
        sys.exit(1)
