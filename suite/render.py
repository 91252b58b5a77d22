"""The one HTML card, table and bar chart behind every rich repr; plain strings, no script, so that a saved notebook still shows them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

_FONT = "font-family:system-ui,'Noto Sans KR',sans-serif;font-size:13px;line-height:1.45"
_CELL = "padding:3px 10px 3px 0;text-align:left;vertical-align:top;border:0"
COLOURS = {"pass": "#1a7f37", "ready": "#1a7f37", "ok": "#1a7f37", "degraded": "#9a6700", "fail": "#b42318", "not ready": "#b42318",
           "not-run": "#57606a", "waived": "#9a6700", "not-applicable": "#57606a"}


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


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]], title: str = "", note: str = "") -> str:
    """A table with a header row; cells that name a state become badges."""
    head = "".join(f'<th style="{_CELL};border-bottom:1px solid #8888">{escape(column)}</th>' for column in columns)
    body = "".join("<tr>" + "".join(f'<td style="{_CELL}">{_cell(value)}</td>' for value in row) + "</tr>" for row in rows)
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


def text_table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """The same table for a terminal: columns padded with spaces, Korean counted as two cells."""
    lines = [[str(column) for column in columns], *[[_plain(value) for value in row] for row in rows]]
    widths = [max(_width(line[index]) for line in lines) for index in range(len(columns))]
    return "\n".join("  ".join(cell + " " * (widths[index] - _width(cell)) for index, cell in enumerate(line)).rstrip() for line in lines)


def _cell(value: Any) -> str:
    text = _plain(value)
    return badge(text) if text in COLOURS else escape(text).replace("\n", "<br>")


def _plain(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _width(text: str) -> int:
    return sum(2 if "ᄀ" <= char <= "ᅟ" or "⺀" <= char <= "꓏" or "가" <= char <= "힣" or "＀" <= char <= "｠" else 1 for char in text)
