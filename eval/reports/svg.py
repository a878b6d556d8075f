"""Plots as inline SVG with the colours of the page's style sheet, so they follow dark mode."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import NDArray

MINUS, TIMES = "\N{MINUS SIGN}", "\N{MULTIPLICATION SIGN}"
WIDTH, HEIGHT = 360, 216
_LEFT, _RIGHT, _TOP, _BOTTOM = 50, 10, 8, 40
_SUPERSCRIPTS = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Axis:
    """A linear scale from `low` to `high`, its title, and ticks: a position and a label each."""

    low: float
    high: float
    title: str
    ticks: tuple[tuple[float, str], ...]

    def share(self, value: float) -> float:
        """Where the value lies between low (0) and high (1)."""
        return (value - self.low) / (self.high - self.low)


@dataclass(frozen=True, slots=True)
class Series:
    """Points of one style sheet class."""

    style: str
    x: Sequence[float]
    y: Sequence[float]


def power_of_ten(exponent: int) -> str:
    """10 to the exponent, with a superscript."""
    return f"10{str(exponent).translate(_SUPERSCRIPTS)}"


def linear_axis(low: float, high: float, title: str) -> Axis:
    """An axis with round ticks; tiny or huge numbers share a power of ten, which the title states."""
    if not low < high:
        high = low + (abs(low) or 1.0)
    largest = max(abs(low), abs(high))
    exponent = math.floor(math.log10(largest))
    exponent = 0 if -2 <= exponent <= 4 else exponent
    rough = (high - low) / 5
    base = 10.0 ** math.floor(math.log10(rough))
    step = next(base * factor for factor in (1, 2, 2.5, 5, 10) if base * factor >= rough * 0.999)
    places = np.arange(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1) * step
    labels = places / 10.0**exponent
    digits = max(0, -math.floor(math.log10(step / 10.0**exponent) + 1e-9))
    digits += 1 if round(step / base, 1) == 2.5 else 0
    texts = (f"{label:,.{digits}f}".replace("-", MINUS) for label in labels)
    unit = f" ({TIMES} {power_of_ten(exponent)})" if exponent else ""
    return Axis(low, high, title + unit, tuple(zip(places.tolist(), texts, strict=True)))


def decade_axis(low: float, high: float, title: str) -> Axis:
    """An axis over log10 of a quantity, labelled with the quantity."""
    exponents = range(math.floor(low), math.ceil(high) + 1)
    every = max(1, math.ceil((high - low) / 6))
    ticks: list[tuple[float, str]] = []
    for factors in ((1,), (1, 3), (1, 2, 5), (1, 2, 3, 5)):
        ticks = [
            (place, power_of_ten(exponent) if factor == 1 else f"{factor} {TIMES} {power_of_ten(exponent)}")
            for exponent in exponents
            for factor in factors
            if low <= (place := exponent + math.log10(factor)) <= high and exponent % every == 0
        ]
        if len(ticks) > 2:
            break
    return Axis(low, high, title, tuple(ticks))


def histogram(edges: Sequence[float], counts: Sequence[int], x: Axis, y: Axis, name: str) -> str:
    """A bar between each two neighbouring edges."""
    parts = []
    for left, right, count in zip(edges[:-1], edges[1:], counts, strict=True):
        start, end = sorted((_x(x, left), _x(x, right)))
        top = _y(y, count)
        parts.append(
            f'<rect class="bar" x="{start:.1f}" y="{top:.1f}" width="{max(end - start - 0.8, 0.4):.1f}" '
            f'height="{_y(y, 0) - top:.1f}"><title>{count:,}</title></rect>'
        )
    return _drawing(x, y, parts, name)


def columns(
    labels: Sequence[str], tall: Sequence[float], low: Sequence[float], y: Axis, name: str, below: str
) -> str:
    """A wide pale bar and a narrow strong one for each label: the largest and the mean.

    `below` is the title of the labels.
    """
    x = Axis(0, len(labels), below, tuple((i + 0.5, label) for i, label in enumerate(labels)))
    room = _x(x, 1) - _x(x, 0)
    width = min(room * 0.6, 56)
    parts = []
    for index, values in enumerate(zip(tall, low, strict=True)):
        for value, style, size in zip(values, ("bar pale", "bar"), (width, width * 0.4), strict=True):
            top = _y(y, value)
            parts.append(
                f'<rect class="{style}" x="{_x(x, index + 0.5) - size / 2:.1f}" y="{top:.1f}" '
                f'width="{size:.1f}" height="{_y(y, 0) - top:.1f}"><title>{value:.2e}</title></rect>'
            )
    return _drawing(x, y, parts, name)


def bars(labels: Sequence[str], long: Sequence[float], low: Sequence[float], name: str) -> str:
    """A horizontal bar for each label, with its text above: pale to the median, strong to the lowest."""
    room, thickness = 38, 14
    scale = (WIDTH - 2) / max(long)
    parts = []
    for index, (label, value, least) in enumerate(zip(labels, long, low, strict=True)):
        top = index * room
        parts.append(f'<text x="0" y="{top + 12}">{escape(label)}</text>')
        for style, end in (("bar pale", value), ("bar", least)):
            parts.append(
                f'<rect class="{style}" x="0" y="{top + 17}" width="{end * scale:.1f}" height="{thickness}">'
                f"<title>{end:,.1f}</title></rect>"
            )
    return (
        f'<svg viewBox="0 0 {WIDTH} {room * len(labels)}" role="img" aria-label="{escape(name)}">'
        f"{''.join(parts)}</svg>"
    )


def skyline(tall: Sequence[float], low: Sequence[float], x: Axis, y: Axis, name: str) -> str:
    """Many thin bars as one filled outline: the largest, pale, and the mean in front of it."""
    parts = []
    for values, style in ((tall, "bar pale"), (low, "bar")):
        steps = [f"V{_y(y, value):.1f}H{_x(x, index + 1):.1f}" for index, value in enumerate(values)]
        parts.append(
            f'<path class="{style}" d="M{_x(x, 0):.1f} {_y(y, 0):.1f}{"".join(steps)}V{_y(y, 0):.1f}Z"/>'
        )
    return _drawing(x, y, parts, name)


def scatter(series: Sequence[Series], x: Axis, y: Axis, name: str, guide: str) -> str:
    """Points, with a `guide` line: "diagonal" for x = y, or "zero" for y = 0."""
    low, high = (max(x.low, y.low), min(x.high, y.high)) if guide == "diagonal" else (x.low, x.high)
    ends = ((low, low), (high, high)) if guide == "diagonal" else ((low, 0.0), (high, 0.0))
    line = "L".join(f"{_x(x, a):.1f} {_y(y, b):.1f}" for a, b in ends)
    parts = [f'<path class="guide" d="M{line}"/>']
    for each in series:
        dots = "".join(f"M{_x(x, a):.1f} {_y(y, b):.1f}h0" for a, b in zip(each.x, each.y, strict=True))
        if dots:
            parts.append(f'<path class="dots {each.style}" d="{dots}"/>')
    return _drawing(x, y, parts, name)


def lines(series: Sequence[Series], x: Axis, y: Axis, name: str) -> str:
    """A line with a dot at each point for each series."""
    parts = []
    for each in series:
        places = [f"{_x(x, a):.1f} {_y(y, b):.1f}" for a, b in zip(each.x, each.y, strict=True)]
        if places:
            parts.append(f'<path class="line {each.style}" d="M{"L".join(places)}"/>')
            dots = "".join(f"M{place}h0" for place in places)
            parts.append(f'<path class="dots large {each.style}" d="{dots}"/>')
    return _drawing(x, y, parts, name)


def _x(axis: Axis, value: float) -> float:
    return _LEFT + axis.share(value) * (WIDTH - _LEFT - _RIGHT)


def _y(axis: Axis, value: float) -> float:
    return HEIGHT - _BOTTOM - axis.share(value) * (HEIGHT - _TOP - _BOTTOM)


def _drawing(x: Axis, y: Axis, marks: Sequence[str], name: str) -> str:
    """The marks within axes. `name` is for screen readers."""
    base = HEIGHT - _BOTTOM
    parts = []
    for place, label in y.ticks:
        at = _y(y, place)
        parts.append(f'<path class="grid" d="M{_LEFT} {at:.1f}H{WIDTH - _RIGHT}"/>')
        parts.append(f'<text class="end" x="{_LEFT - 6}" y="{at + 3.5:.1f}">{escape(label)}</text>')
    parts += marks
    parts.append(f'<path class="axis" d="M{_LEFT} {base}H{WIDTH - _RIGHT}"/>')
    for place, label in x.ticks:
        at = _x(x, place)
        parts.append(f'<text class="middle" x="{at:.1f}" y="{base + 15}">{escape(label)}</text>')
    middle = (_LEFT + WIDTH - _RIGHT) / 2
    parts.append(f'<text class="middle" x="{middle}" y="{HEIGHT - 5}">{escape(x.title)}</text>')
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(name)}">{"".join(parts)}</svg>'
    )
