"""What the command line prints for people: no text that it quotes can control the terminal."""

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

import click

if TYPE_CHECKING:
    from rich.console import Console

# Control characters, also as bytes of file names, and what changes the direction or the lines of a text.
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\udc80-\udc9f]")


def echo(text: str = "", *, err: bool = False, nl: bool = True) -> None:
    """Print a text, without its control characters. JSON and other documents are printed by click.echo."""
    click.echo(visible(text), err=err, nl=nl)


def visible(text: str) -> str:
    """A text with its control characters, except ends of lines and tabs, as escapes."""
    return _CONTROLS.sub(_escape, text)


def show(write: Callable[["Console"], None]) -> None:
    """Print through click, with style only if nothing but the style controls the terminal."""
    plain = _rendered(write, None)
    shown = visible(plain)
    click.echo(_rendered(write, "auto") if shown == plain else shown, nl=False)


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    if code >= 0xDC80:  # how surrogateescape decodes a byte
        code -= 0xDC00
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def _rendered(write: Callable[["Console"], None], colors: Literal["auto"] | None) -> str:
    from rich.console import Console

    console = Console(markup=False, emoji=False, highlight=False, color_system=colors)
    with console.capture() as shown:
        write(console)
    return shown.get()
