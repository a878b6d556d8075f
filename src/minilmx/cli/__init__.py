"""The command line: parse, call one function, print.

Exit codes: 0 success; 1 embeddings that are not SAME, a broken limit, or a number that is not finite; 2 wrong
usage; 3 an error; 130 interrupted.
"""

import io
import os
import signal
import sys
import threading
from typing import Any, NoReturn

import click

import minilmx
from minilmx.cli.bench import bench
from minilmx.cli.bisect import bisect
from minilmx.cli.check import check
from minilmx.cli.compare import compare
from minilmx.cli.evaluate import evaluate
from minilmx.cli.export import export
from minilmx.cli.groq import groq
from minilmx.cli.inspect import inspect
from minilmx.cli.lists import models, runners
from minilmx.cli.report import report
from minilmx.cli.run import run
from minilmx.cli.watchdog import watched
from minilmx.errors import MinilmxError

EXIT_USAGE = 2
EXIT_ERROR = 3
EXIT_INTERRUPTED = 130

_EPILOG = (
    "Exit codes: 0 success, 1 embeddings that are not SAME, a broken limit, or a number that is not finite, "
    "2 wrong usage, 3 an error, 130 interrupted."
)


class _Commands(click.Group):
    """A group in which a closed pipe is an error of ours: click would exit with 1."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError as error:
            raise _PipeClosed from error
        return result


class _PipeClosed(Exception):
    """The reader of our output went away, as `head` does."""


@click.group(cls=_Commands, epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(minilmx.__version__, prog_name="mlx")
def cli() -> None:
    """Are the embeddings still the same on the accelerator?

    Export a MiniLM sentence-embedding model to one fixed-shape ONNX artifact, run it on any
    runner, and measure how much the runners' embeddings differ.
    """


_COMMANDS = (
    export,
    run,
    evaluate,
    compare,
    bisect,
    report,
    bench,
    inspect,
    check,
    groq,
    models,
    runners,
)
for _command in _COMMANDS:
    cli.add_command(_command)


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run `mlx` and exit with its documented code."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:  # `nohup` ignores SIGHUP
            signal.signal(number, _interrupt)
    for stream in (sys.stdout, sys.stderr):  # UTF-8 whatever the locale; file names pass through as bytes
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="surrogateescape")
    with watched(EXIT_INTERRUPTED) as told:
        _run(arguments, told)


def _run(arguments: list[str] | None, told: threading.Event) -> NoReturn:
    try:
        code = cli.main(arguments, prog_name="mlx", standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        told.set()
        _fail("interrupted", EXIT_INTERRUPTED)
    except MinilmxError as error:
        _fail(str(error), EXIT_USAGE if error.unused else EXIT_ERROR)
    except _PipeClosed:
        # Nothing is left to say, and the interpreter must not try when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(EXIT_ERROR)
    except Exception as error:
        if os.environ.get("MLX_TRACEBACK"):
            raise
        _fail(
            f"unexpected {type(error).__name__}: {error} (a fault in minilmx: set MLX_TRACEBACK=1 "
            "to see where)",
            EXIT_ERROR,
        )


def _interrupt(*_: Any) -> NoReturn:
    raise KeyboardInterrupt


def _fail(message: str, code: int) -> NoReturn:
    click.echo(f"Error: {' '.join(message.split())}", err=True)
    sys.exit(code)
