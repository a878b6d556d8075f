"""What the command line prints for people: no text that it quotes can control the terminal."""

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

if TYPE_CHECKING:
    from rich.console import Console

# Control characters, also as bytes of file names, what changes the direction or the lines of a text, and
# halves of surrogate pairs, except those that stand for the other bytes of file names.
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udc9f\udd00-\udfff]")


def echo(text: str = "", *, err: bool = False, nl: bool = True) -> None:
    """Print a text, without its control characters."""
    click.echo(visible(text), err=err, nl=nl)


def print_document(text: str) -> None:
    """Print JSON or another document, or a part of it: exactly, unless it is printed to a terminal."""
    sys.stdout.write(visible(text) if sys.stdout.isatty() else text)


def visible(text: str) -> str:
    """A text with its control characters, except ends of lines and tabs, as escapes."""
    return _CONTROLS.sub(_escape, text)


def one_line(text: str) -> str:
    """A visible text with the ends of lines as escapes: its author cannot write a line of the output."""
    return visible(text).replace("\n", r"\x0a")


def show(write: Callable[["Console"], None]) -> None:
    """Print through click, with style only if nothing but the style controls the terminal."""
    plain = _rendered(write, None)
    shown = visible(plain)
    click.echo(_rendered(write, "auto") if shown == plain else shown, nl=False)


def show_result(
    result: Any, path: Path | None, replace: bool, as_json: bool, write: Callable[[Any, "Console"], None]
) -> None:
    """Save a result, if there is a path, and print it: as JSON, or by `write`."""
    from minilmx.eval.document import save_document, to_json

    if path is not None:
        save_document(result, path, replace=replace)
    if as_json:
        print_document(to_json(result))
    else:
        show(lambda console: write(result, console))


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    if 0xDC80 <= code < 0xDD00:  # how surrogateescape decodes a byte
        code -= 0xDC00
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def _rendered(write: Callable[["Console"], None], colors: Literal["auto"] | None) -> str:
    from rich.console import Console

    console = Console(markup=False, emoji=False, highlight=False, color_system=colors)
    with console.capture() as shown:
        write(console)
    return shown.get()
