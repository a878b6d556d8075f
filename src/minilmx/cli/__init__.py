"""The command line: parse, call one function, print.

Exit codes: 0 success; 1 embeddings that are not SAME, a broken limit, or a number that is not finite; 2 wrong
usage; 3 an error; 130 interrupted.
"""

import io
import os
import sys
from collections import UserDict
from importlib import import_module
from typing import Any, NoReturn

import click

from minilmx.cli.console import echo
from minilmx.cli.streams import OutputLost, prepare_streams
from minilmx.cli.watchdog import EXIT_ERROR, Interruption, end, watched
from minilmx.errors import MinilmxError
from minilmx.runners.groq.pythonpath import explain_missing

EXIT_USAGE = 2
EXIT_INTERRUPTED = 130

_EPILOG = (
    "Exit codes: 0 success, 1 embeddings that are not SAME, a broken limit, or a number that is not finite, "
    "2 wrong usage, 3 an error, 130 interrupted."
)


# Where each command is in this package.
_HOMES = {
    "export": "export.export",
    "run": "run.run",
    "eval": "evaluate.evaluate",
    "compare": "compare.compare",
    "bisect": "bisect.bisect",
    "report": "report.report",
    "bench": "bench.bench",
    "inspect": "inspect.inspect",
    "check": "check.check",
    "push": "push.push",
    "golden": "golden.golden",
    "groq": "groq.groq",
    "models": "lists.models",
    "runners": "lists.runners",
}


class _Commands(UserDict[str, Any]):
    """Commands by name. One is imported when it is looked up: `mlx run` imports no other."""

    def __getitem__(self, name: str) -> click.Command:
        module, _, attribute = self.data[name].partition(".")
        command: click.Command = getattr(import_module(f"minilmx.cli.{module}"), attribute)
        return command


@click.group(
    commands=_Commands(_HOMES), epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.version_option(package_name="minilmx", prog_name="mlx")
def cli() -> None:
    """Are the embeddings still the same on the accelerator?

    Export a sentence-embedding model to one fixed-shape ONNX artifact, run it on any runner, and
    measure how much the runners' embeddings differ.
    """


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run `mlx` and exit with its documented code."""
    prepare_streams()
    if "_MLX_COMPLETE" in os.environ:
        cli.main(prog_name="mlx")  # click completes a line of the shell, and exits
    with watched(EXIT_INTERRUPTED) as interruption:
        try:
            code = _finish(*_run(sys.argv[1:] if arguments is None else arguments, interruption))
        except KeyboardInterrupt:  # while output is flushed
            code = interruption.code
        if interruption.is_handled and code == interruption.code:
            end(interruption)
    sys.exit(code)


def _finish(code: int, message: str) -> int:
    """Write all output; the exit code."""
    try:
        sys.stdout.flush()
    except OutputLost as error:
        code, message = (code, message) if code > 1 else (EXIT_ERROR, str(error))
    if message:
        echo(f"Error: {' '.join(message.split())}", err=True)
    return code


def _run(arguments: list[str], interruption: Interruption) -> tuple[int, str]:
    """The exit code of a command, and what went wrong.

    This is what cli.main does, which would exit with 1, a broken limit's code, if a pipe is closed.
    """
    try:
        with cli.make_context("mlx", list(arguments), obj=interruption) as context:
            cli.invoke(context)
    except click.exceptions.Exit as error:
        return error.exit_code, ""
    except BaseException as error:  # noqa: BLE001 - a panic of Rust, or another's sys.exit: 1 is a broken limit
        # A library may make an error of its own from the KeyboardInterrupt.
        if interruption.is_handled or isinstance(error, click.Abort | KeyboardInterrupt):
            interruption.is_told = True
            return interruption.code, interruption.message
        return _explained(error)
    return 0, ""


def _explained(error: BaseException) -> tuple[int, str]:
    match error:
        case click.ClickException():
            usage = io.StringIO()
            error.show(usage)
            echo(usage.getvalue(), err=True, nl=False)
            return error.exit_code, ""
        case MinilmxError():
            return EXIT_USAGE if error.unused else EXIT_ERROR, str(error)
        case OutputLost():
            return EXIT_ERROR, str(error)
        case MemoryError():
            return EXIT_ERROR, "there is not enough memory"
    if os.environ.get("MLX_TRACEBACK"):
        raise error
    if isinstance(error, ModuleNotFoundError) and (why := explain_missing(error)):
        return EXIT_ERROR, why
    fault = f"unexpected {type(error).__name__}: {error}"
    return EXIT_ERROR, f"{fault} (a fault in minilmx: set MLX_TRACEBACK=1 to see where)"
