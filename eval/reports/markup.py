"""Pieces of HTML. Whatever text goes in comes out escaped."""

import re
from collections.abc import Iterable, Sequence
from html import escape

from minilmx.eval.reports.svg import MINUS, TIMES

MAX_CHARACTERS = 400
_HYPHEN = re.compile(r"(?<![\w.])-(?=\d)")
_EXPONENT = re.compile(r"(?<![\w.])(\d(?:\.\d+)?)e([+-])0*(\d+)\b")


def clip(text: str, size: int = MAX_CHARACTERS) -> str:
    """The text, or its beginning and its length where it is long."""
    return text if len(text) <= size else f"{text[:size]}… ({len(text):,} characters)"


def sentence(text: str) -> str:
    """A sentence of the data set: of any length, direction and content."""
    return f'<p class="sentence" dir="auto">{escape(clip(text))}</p>'


def number(text: str) -> str:
    """Text with its numbers as people write them: 5.26e-04 becomes 5.26 x 10 to the -4."""
    signed = _HYPHEN.sub(MINUS, escape(text))
    return _EXPONENT.sub(_power, signed)


def table(head: Sequence[str], body: Iterable[str], style: str = "") -> str:
    """A table in a box of its own, which scrolls where the page is narrow; `body` are rows."""
    cells = "".join(f'<th scope="col">{escape(name)}</th>' for name in head)
    return (
        f'<div class="scroll" tabindex="0"><table class="{style}"><thead><tr>{cells}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )


def row(name: str, *cells: str) -> str:
    """A row with its name at its head."""
    return (
        f'<tr><th scope="row">{escape(name)}</th>{"".join(f"<td>{number(cell)}</td>" for cell in cells)}</tr>'
    )


def _power(found: re.Match[str]) -> str:
    sign = MINUS if found[2] == "-" else ""
    return f"{found[1]} {TIMES} 10<sup>{sign}{found[3]}</sup>"


def heading_row(heading: str, columns: int) -> str:
    """A row that names the rows below it."""
    return f'<tr class="group"><th scope="rowgroup" colspan="{columns}">{escape(heading)}</th></tr>'


def notes(texts: Sequence[str], style: str) -> str:
    """Plain sentences, one a paragraph, in a box; nothing where there are none."""
    if not texts:
        return ""
    return f'<div class="{style}">{"".join(f"<p>{number(text)}</p>" for text in texts)}</div>'


def tile(name: str, value: str, remark: str) -> str:
    """One number that matters, with a word about it."""
    return (
        f'<div class="tile"><h4>{escape(name)}</h4><p class="value">{number(value)}</p>'
        f"<p>{number(remark)}</p></div>"
    )


def facts(pairs: Iterable[tuple[str, str]]) -> str:
    """Names and values, such as digests."""
    rows = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in pairs)
    return f'<dl class="facts">{rows}</dl>'
