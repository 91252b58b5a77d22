"""The one HTML card, table and bar chart behind every rich repr; plain strings, no script, so that a saved notebook still shows them."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

_FONT = "font-family:system-ui,'Noto Sans KR',sans-serif;font-size:13px;line-height:1.45"
_CELL = "padding:3px 10px 3px 0;text-align:left;vertical-align:top;border:0"
SERIES = ("#3b6fb6", "#b5651d", "#4f7f4f", "#7a5195")  # one per panel; told apart by its place and its name too
COLOURS = {"pass": "#1a7f37", "ready": "#1a7f37", "ok": "#1a7f37", "degraded": "#9a6700", "fail": "#b42318", "not ready": "#b42318",
           "rehearsal": "#9a6700", "could not run": "#b42318", "not-run": "#57606a", "waived": "#9a6700", "not-applicable": "#57606a"}


def badge(text: str) -> str:
    """A coloured word; the colour follows the state, and the word alone carries the meaning."""
    colour = COLOURS.get(text, "#57606a")
    return f'<span style="color:#fff;background:{colour};border-radius:3px;padding:1px 7px;font-size:12px">{escape(text)}</span>'


def card(title: str, rows: Sequence[tuple[str, Any]], note: str = "", badge_text: str = "") -> str:
    """A titled box of name and value rows, with an optional state badge and a closing note."""
    head = f"<strong>{escape(title)}</strong>" + (f" {badge(badge_text)}" if badge_text else "")
    lines = "".join(f'<tr><td style="{_CELL};opacity:.7">{escape(str(name))}</td><td style="{_CELL}">{_cell(value)}</td></tr>'
                    for name, value in rows)
    foot = f'<div style="opacity:.75;margin-top:4px">{escape(note)}</div>' if note else ""
    frame = f"{_FONT};border:1px solid #8884;border-radius:6px;padding:8px 12px;display:inline-block"
    return f'<div style="{frame}">{head}<table>{lines}</table>{foot}</div>'


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]], title: str = "", note: str = "", whole: int = 0) -> str:
    """A table with a header row; cells that name a state become badges; those of the first `whole` columns stay on one line."""
    head = "".join(f'<th style="{_CELL};border-bottom:1px solid #8888">{escape(column)}</th>' for column in columns)
    body = "".join("<tr>" + "".join(f'<td style="{_CELL}{";white-space:nowrap" * (place < whole)}">{_cell(value)}</td>'
                                    for place, value in enumerate(row)) + "</tr>" for row in rows)
    above = f"<strong>{escape(title)}</strong>" if title else ""
    below = f'<div style="opacity:.75">{escape(note)}</div>' if note else ""
    return f'<div style="{_FONT}">{above}<table><tr>{head}</tr>{body}</table>{below}</div>'


def bars(rows: Sequence[tuple[str, float]], unit: str, title: str = "") -> str:
    """A horizontal bar chart as one SVG; each bar carries its own number, so nothing depends on the scale."""
    width, label, line = 640, 170, 22
    longest = max((value for _, value in rows), default=0) or 1.0
    top = 24 if title else 4
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{top + line * len(rows) + 4}" role="img" '
             f'style="{_FONT};background:#fff"><title>{escape(title or unit)}</title>']
    if title:
        parts.append(f'<text x="4" y="16" font-weight="600" fill="#1f2328">{escape(title)}</text>')
    for index, (name, value) in enumerate(rows):
        y = top + index * line
        length = max(1.0, (width - label - 110) * max(0.0, value) / longest)
        parts.append(f'<text x="{label - 8}" y="{y + 15}" text-anchor="end" fill="#1f2328">{escape(name)}</text>'
                     f'<rect x="{label}" y="{y + 4}" width="{length:.1f}" height="14" fill="#3b6fb6"/>'
                     f'<text x="{label + length + 6:.1f}" y="{y + 15}" fill="#1f2328">{value:.2f} {escape(unit)}</text>')
    return "".join(parts) + "</svg>"


def panels(labels: Sequence[str], measures: Sequence[tuple[str, Sequence[float | None]]], title: str = "") -> str:
    """Bar charts side by side as one SVG: a line per label, a panel per (name, values), each with a scale of its own; None is drawn as a dash."""
    line, panel, gap, head = 24, 180, 16, 52 if title else 30
    label = 16 + 7.4 * max((text_width(text) for text in labels), default=0)
    width, height = label + len(measures) * (panel + gap), head + line * len(labels) + 6
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height}" width="{width:.0f}" height="{height}" role="img" '
             f'style="{_FONT};background:#fff;max-width:100%"><title>{escape(title or ", ".join(name for name, _ in measures))}</title>',
             _words(8, 18, title, weight=600) if title else ""]
    parts += [_words(label - 10, head + index * line + 16, text, anchor="end") for index, text in enumerate(labels)]
    for place, (name, values) in enumerate(measures):
        x = label + place * (panel + gap)
        longest = max((value for value in values if value is not None), default=0) or 1.0
        parts.append(_words(x, head - 8, name, weight=600))
        for index, value in enumerate(values):
            y = head + index * line
            length = 0.0 if value is None else max(1.0, (panel - 52) * max(0.0, value) / longest)
            parts.append(f'<rect x="{x:.1f}" y="{y + 4}" width="{length:.1f}" height="16" fill="{SERIES[place % len(SERIES)]}"/>'
                         + _words(x + length + 6, y + 16, _figure(value)))
    return "".join(parts) + "</svg>"


def columns(places: Sequence[float], parts: Sequence[tuple[str, Sequence[float]]], unit: str, title: str = "",
            marks: Sequence[tuple[float, str]] = ()) -> str:
    """Stacked columns as one SVG, one per place on the line below (evenly apart, in `unit`), with a key and marked moments."""
    width, height, left, top = 720, 220, 44, 56
    if not places:
        return ""
    step = places[1] - places[0] if len(places) > 1 else 1.0
    scale = (width - left - 16) / (step * len(places))
    most = max((sum(values[at] for _, values in parts) for at in range(len(places))), default=0) or 1.0
    drawn = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
             f'style="{_FONT};background:#fff;max-width:100%"><title>{escape(title)}</title>', _words(8, 18, title, weight=600)]
    for number, (name, _) in enumerate(parts):
        drawn.append(f'<rect x="{left + 130 * number}" y="28" width="12" height="12" fill="{SERIES[number % len(SERIES)]}"/>'
                     + _words(left + 130 * number + 18, 38, name))
    floor = height - 34
    for at, place in enumerate(places):
        x, y = left + (place - places[0]) * scale, float(floor)
        for number, (_, values) in enumerate(parts):
            tall = (floor - top) * values[at] / most
            y -= tall
            drawn.append(f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(1.0, step * scale - 2):.1f}" height="{tall:.1f}" '
                         f'fill="{SERIES[number % len(SERIES)]}"/>')
        if at % max(1, len(places) // 8) == 0:
            drawn.append(_words(x, floor + 14, f"{place:g}"))
    for moment, name in marks:
        x = left + (moment - places[0]) * scale
        drawn.append(f'<line x1="{x:.1f}" y1="{top - 8}" x2="{x:.1f}" y2="{floor}" stroke="#1f2328" stroke-dasharray="3 2"/>'
                     + _words(x + 4, top, name))
    drawn += [_words(left, height - 4, unit), _words(left - 8, top + 8, _figure(most), anchor="end"), _words(left - 8, floor, "0", anchor="end")]
    return "".join(drawn) + "</svg>"


@dataclass(frozen=True, repr=False)
class Drawing:
    """An SVG as a notebook cell shows it, and the same in words where there are no pictures.

    As an image, because a notebook that is not trusted yet shows neither an SVG output nor SVG inside HTML.
    """

    svg: str
    words: str

    def __repr__(self) -> str:
        return self.words

    def _repr_html_(self) -> str:
        data = b64encode(self.svg.encode("utf-8")).decode("ascii")
        return f'<img src="data:image/svg+xml;base64,{data}" alt="{escape(self.words, quote=True)}" style="max-width:100%">'


def chart(labels: Sequence[str], measures: Sequence[tuple[str, Sequence[float | None]]], title: str = "") -> Drawing:
    """`panels` for a notebook cell; its words are the table of the numbers."""
    rows = [[label, *(_figure(values[index]) for _, values in measures)] for index, label in enumerate(labels)]
    return Drawing(panels(labels, measures, title), f"{title}\n{text_table(['', *(name for name, _ in measures)], rows)}".lstrip())


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _words(x: float, y: float, text: str, anchor: str = "start", weight: int = 400) -> str:
    return f'<text x="{x:.1f}" y="{y}" text-anchor="{anchor}" font-weight="{weight}" fill="#1f2328">{escape(text)}</text>'


def prose(text: str, note: str = "") -> str:
    """A model's text as it was written, lines in ``` fences as code, with a closing note; no markup of the text itself is obeyed."""
    shown = []
    for index, part in enumerate(re.split(r"^```[^\n]*\n?", text, flags=re.MULTILINE)):
        style = "font-family:monospace;background:#8882;border-radius:4px;padding:6px 10px;margin:4px 0" if index % 2 else ""
        if part.strip():
            shown.append(f'<div style="white-space:pre-wrap;overflow-wrap:anywhere;{style}">{escape(part.strip(chr(10)))}</div>')
    below = f'<div style="opacity:.75;font-size:12px;margin-top:4px">{escape(note)}</div>' if note else ""
    return f'<div style="{_FONT}">{"".join(shown)}{below}</div>'


def text_table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """The same table for a terminal: columns padded with spaces, Korean counted as two cells."""
    lines = [[str(column) for column in columns], *[[_plain(value) for value in row] for row in rows]]
    widths = [max(text_width(line[index]) for line in lines) for index in range(len(columns))]
    return "\n".join("  ".join(cell + " " * (widths[index] - text_width(cell)) for index, cell in enumerate(line)).rstrip() for line in lines)


def _cell(value: Any) -> str:
    text = _plain(value)
    return badge(text) if text in COLOURS else escape(text).replace("\n", "<br>")


def _plain(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def text_width(text: str) -> int:
    """Columns of a terminal that a text takes: a Korean letter takes two."""
    return sum(2 if "ᄀ" <= char <= "ᅟ" or "⺀" <= char <= "꓏" or "가" <= char <= "힣" or "＀" <= char <= "｠" else 1 for char in text)
