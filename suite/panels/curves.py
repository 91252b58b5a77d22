"""Charts of panels as SVG: lines over time, and a bar with a limit. They take the colours of the page around them, light or dark."""

from __future__ import annotations

import math
import time
from base64 import b64encode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

WIDTH = 400
LEFT, RIGHT, TOP, LOW = 58, 388, 26, 126  # of the area that the lines are drawn in
POINTS = 200  # of a line, at most: there are not many more pixels
NAMED = 6  # lines that are drawn; the others are counted
GAP = 4.0  # times the usual step: a longer one is no line but a gap
LIMIT = "#c9515f"
COLOURS = ("#4a86d0", "#d07a2a", "#4f9d5a", "#a06cc4", "#2f9e9e", "#9a8a2c")  # legible on white and on black
STILL = "background:#fff;color:#1f2328;"  # an image has no page around it whose colours it could take
_PLAIN = {"per_second": "/s", "per_hour": "/h", "celsius": " °C", "watts": " W"}


@dataclass(frozen=True)
class Curve:
    """A line: its name, `times` (UTC seconds, ascending) and `values`; a value that is no number is a gap."""

    name: str
    times: Sequence[float]
    values: Sequence[float]

    @property
    def last(self) -> float | None:
        """The newest value; None where there is none, or where the line has ended in a gap."""
        return self.values[-1] if len(self.values) and math.isfinite(self.values[-1]) else None


def curves(title: str, lines: Sequence[Curve], unit: str, span: tuple[float, float], limit: float | None = None, most: float | None = None,
           still: bool = False) -> str:
    """A chart of lines from `span[0]` to `span[1]`, with a broken line at `limit`; the scale ends at `most` or where the values do.

    `still` is for an image, which has colours of its own.
    """
    largest = sorted(lines, key=lambda line: -(line.last or 0.0))[:NAMED]
    shown = [line for line in lines if line in largest][:NAMED]  # in their own order, so that a line keeps its colour
    top = most or _round_up(max([limit or 0.0, *(value for line in shown for value in line.values if math.isfinite(value))]), unit)
    parts = [_opening(title, LOW + 24 + 13 * max(1, -(-len(shown) // 2)), still)]
    for step in range(3):
        y = LOW - (LOW - TOP) * step / 2
        parts.append(f'<path d="M{LEFT} {y:.0f}H{RIGHT}" stroke="currentColor" opacity=".18"/>'
                     + _text(LEFT - 6, y + 4, figure(top * step / 2, unit), "end"))
    parts += [_text(LEFT, LOW + 14, _clock(span[0])), _text(RIGHT, LOW + 14, f"{_clock(span[1])} UTC", "end")]
    if limit is not None:
        y = _height(limit, top)
        parts.append(f'<path d="M{LEFT} {y:.1f}H{RIGHT}" stroke="{LIMIT}" stroke-dasharray="5 3"/>')
    for place, line in enumerate(shown):
        parts.append(_drawn(_points(line, span, top), COLOURS[place]))
    parts.append(_legend(shown, len(lines) - len(shown), unit) if lines else _text((LEFT + RIGHT) / 2, (TOP + LOW) / 2 + 4, "no data yet", "middle"))
    return "".join(parts) + "</svg>"


def amounts(title: str, lines: Sequence[Curve], unit: str, still: bool = False) -> str:
    """The newest values of lines as bars, each with its number; a single value as a number alone."""
    found = [(line.name, line.last) for line in lines if line.last is not None][:2 * NAMED - 4]
    parts = [_opening(title, LOW + 37, still)]
    if len(found) == 1:
        parts.append(f'<text x="4" y="70" font-size="34">{escape(figure(found[0][1], unit))}</text>' + _text(4, 92, found[0][0]))
    elif not found:
        parts.append(_text((LEFT + RIGHT) / 2, (TOP + LOW) / 2 + 4, "no data yet", "middle"))
    else:
        longest = 1.0 if unit == "ratio" else max(value for _, value in found) or 1.0
        for place, (name, value) in enumerate(found):
            y, length = 24 + 19 * place, max(1.0, 180 * value / longest)
            parts.append(_text(112, y + 12, _cut(name, 20), "end") + f'<rect x="120" y="{y}" width="{length:.1f}" height="15" fill="{COLOURS[0]}"/>'
                         + _text(126 + length, y + 12, figure(value, unit)))
    return "".join(parts) + "</svg>"


def bar(share: float, limit: float, still: bool = False) -> str:
    """A bar that is full at a share of 1, with a line at `limit`, beyond which it has another colour."""
    width, colour = 240, LIMIT if share > limit else COLOURS[0]
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width + 2} 20" width="{width + 2}" height="20" role="img" fill="currentColor" '
            f'style="{STILL if still else ""}vertical-align:middle"><title>{share:.0%}</title>'
            f'<rect x="1" y="3" width="{width}" height="14" rx="2" fill="none" stroke="currentColor" opacity=".4"/>'
            f'<rect x="1" y="3" width="{width * min(max(share, 0.0), 1.0):.1f}" height="14" rx="2" fill="{colour}"/>'
            f'<path d="M{1 + width * limit:.0f} 0V20" stroke="{LIMIT}" stroke-dasharray="3 2"/></svg>')


def still(svg: str, words: str) -> str:
    """A picture that a notebook shows even where it is not trusted: as an image; `words` are for whoever does not see it."""
    data = b64encode(svg.encode("utf-8")).decode("ascii")
    return f'<img src="data:image/svg+xml;base64,{data}" alt="{escape(words, quote=True)}" style="max-width:100%">'


def table(lines: Sequence[Curve], unit: str) -> list[tuple[str, str, str, str]]:
    """The same in numbers: name, newest, least and most of each line."""
    rows = []
    for line in lines:
        finite = [value for value in line.values if math.isfinite(value)]
        rows.append((line.name, *(figure(value, unit) for value in (line.last, min(finite, default=None), max(finite, default=None)))))
    return rows


def figure(value: float | None, unit: str) -> str:
    """A number with its unit, as short as it can be read: 1536 bytes are 1.5 kB, a ratio of 0.25 is 25 %, 0.012 seconds are 12 ms."""
    if value is None or not math.isfinite(value):
        return "–"
    if unit == "ratio":
        return f"{100 * value:.3g} %"
    if unit == "seconds":
        return f"{1000 * value:.3g} ms" if abs(value) < 1 else f"{value:.3g} s"
    if unit == "bytes":
        return _bytes(value)
    return f"{value:,.0f}{_PLAIN.get(unit, '')}" if value == round(value) or abs(value) >= 1000 else f"{value:.3g}{_PLAIN.get(unit, '')}"


def _bytes(value: float) -> str:
    """Bytes in the unit that gives a short number, a step being 1024 of them."""
    for unit in ("B", "KiB", "MiB"):
        if abs(value) < 1024:
            return f"{value:.3g} {unit}" if abs(value) < 1000 else f"{value:.0f} {unit}"
        value /= 1024
    return f"{value:.3g} GiB" if abs(value) < 1000 else f"{value:,.0f} GiB"


def _opening(title: str, height: int, still: bool) -> str:
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img" '
            f'font-family="system-ui,\'Noto Sans KR\',sans-serif" font-size="11" fill="currentColor" style="{STILL if still else ""}max-width:100%">'
            f"<title>{escape(title)}</title>" + _text(4, 14, title, weight=600))


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[:most - 1] + "…"


def _points(line: Curve, span: tuple[float, float], top: float) -> Iterator[tuple[bool, float, float]]:
    """Whether a stretch of the line begins there, x, y; a point that is no number, or comes late, ends a stretch."""
    begin, length = span[0], max(span[1] - span[0], 1e-9)
    stride = -(-len(line.times) // POINTS) or 1
    points = [(line.times[place], _peak(line.values[place:place + stride])) for place in range(0, len(line.times), stride)]
    steps = sorted(after[0] - before[0] for before, after in pairwise(points))
    usual = steps[len(steps) // 2] if steps else 0.0
    before = -math.inf
    for at, value in points:
        if not math.isfinite(value) or at < begin:
            before = -math.inf
            continue
        yield at - before > GAP * usual, LEFT + (RIGHT - LEFT) * min(1.0, (at - begin) / length), _height(value, top)
        before = at


def _drawn(points: Iterator[tuple[bool, float, float]], colour: str) -> str:
    """The line, and a dot where it is now."""
    found = list(points)
    if not found:
        return ""
    path = "".join(f"{'M' if begins else 'L'}{x:.1f} {y:.1f}" for begins, x, y in found)
    return (f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="1.6" stroke-linejoin="round"/>'
            f'<circle cx="{found[-1][1]:.1f}" cy="{found[-1][2]:.1f}" r="2.2" fill="{colour}"/>')


def _peak(values: Sequence[float]) -> float:
    """What is drawn of samples that share a pixel: the largest, so that no peak is lost."""
    return max((value for value in values if math.isfinite(value)), default=math.nan)


def _legend(lines: Sequence[Curve], others: int, unit: str) -> str:
    parts, column = [], RIGHT / 2
    for place, line in enumerate(lines):
        x, y, number = 4 + column * (place % 2), LOW + 28 + 13 * (place // 2), figure(line.last, unit)
        parts.append(f'<rect x="{x:.0f}" y="{y - 8}" width="8" height="8" fill="{COLOURS[place]}"/>'
                     + _text(x + 12, y, f"{_cut(line.name, 30 - len(number))} {number}"))
    return "".join(parts) + (_text(RIGHT, 14, f"and {others} more", "end") if others else "")


def _height(value: float, top: float) -> float:
    return LOW - (LOW - TOP) * min(max(value / top, 0.0), 1.0)


def _round_up(value: float, unit: str) -> float:
    """The next of 1, 2, 5, 10 … that is no less; of bytes, in the unit that they are written in."""
    if value <= 0:
        return 1.0
    whole = 1024.0 ** math.floor(math.log(value, 1024)) if unit == "bytes" and value >= 1 else 1.0
    power = 10.0 ** math.floor(math.log10(value / whole))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= value / whole * 0.999) * whole


def _clock(moment: float) -> str:
    return time.strftime("%H:%M:%S", time.gmtime(moment))


def _text(x: float, y: float, words: str, anchor: str = "start", weight: int = 400) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-weight="{weight}">{escape(words)}</text>'
