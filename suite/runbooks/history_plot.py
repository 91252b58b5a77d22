"""States of checks over releases as a field of colours, and the figures of one check as lines; one SVG with colours of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from itertools import pairwise

from suite.render import COLOURS

WIDTH, LEFT, LINE, HEIGHT = 760, 66, 15, 96
MISSING = "#d9dde3"
INK, SOFT, LIMIT = "#1f2328", "#57606a", "#b42318"
SHADES = {**COLOURS, "not-run": "#8b949e", "not-applicable": "#c4cad2", "waived": "#c98a1b", "degraded": "#e0a22a"}
_MARKS = {"fail": "✗", "degraded": "~", "not-run": "–", "waived": "w"}  # so that nobody has to tell red from green


def states(releases: Sequence[str], checks: Mapping[str, Sequence[str]],
           figures: Mapping[str, Sequence[tuple[str, float | None, float | None]]]) -> str:
    """A line per check with a box per release, then a chart per measured condition of (release, observed, limit)."""
    top = 24
    height = top + LINE * len(checks) + 42 + HEIGHT * len(figures)
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img" '
             f'font-family="system-ui,sans-serif" font-size="11" style="background:#fff;max-width:100%"><title>States over releases</title>']
    if not releases or not checks:
        return "".join(parts) + _text(8, 16, "No release is sealed yet.") + "</svg>"
    step = (WIDTH - LEFT - 12) / len(releases)
    parts.append(_text(LEFT, 14, f"{releases[0]} … {releases[-1]}" if len(releases) > 1 else releases[0], colour=SOFT))
    for place, (name, row) in enumerate(checks.items()):
        y = top + place * LINE
        parts.append(_text(LEFT - 8, y + 11, name, "end"))
        parts += [_box(LEFT + index * step, y, step, state, releases[index]) for index, state in enumerate(row)]
    y = top + LINE * len(checks) + 18
    parts.append(_legend(y, [state for row in checks.values() for state in row]))
    for place, (name, points) in enumerate(figures.items()):
        parts.append(_figure(y + 14 + place * HEIGHT, name, points))
    return "".join(parts) + "</svg>"


def _box(x: float, y: float, step: float, state: str, release: str) -> str:
    mark = _MARKS.get(state, "")
    word = _text(x + step / 2, y + 10.5, mark, "middle", "#fff") if mark and step >= 9 else ""
    return (f'<rect x="{x:.1f}" y="{y}" width="{max(0.8, step - 1):.1f}" height="{LINE - 2}" fill="{SHADES.get(state, MISSING)}">'
            f"<title>{escape(release)}: {escape(state)}</title></rect>{word}")


def _legend(y: float, found: Sequence[str]) -> str:
    parts, x = [], float(LEFT)
    for state in dict.fromkeys(found):
        parts += [f'<rect x="{x:.0f}" y="{y - 8}" width="9" height="9" fill="{SHADES.get(state, MISSING)}"/>', _text(x + 13, y, state, colour=SOFT)]
        x += 26 + 6.4 * len(state)
    return "".join(parts)


def _figure(y: float, name: str, points: Sequence[tuple[str, float | None, float | None]]) -> str:
    """One condition: what was observed as a line with dots, its limit as a broken one that steps where it was changed."""
    values = [value for _, observed, limit in points for value in (observed, limit) if value is not None]
    low, high = min([0.0, *values]), max([0.0, *values])
    span, top, foot = high - low or 1.0, y + 22, y + HEIGHT - 8
    step = (WIDTH - LEFT - 12) / len(points)

    def height(value: float) -> float:
        return foot - (foot - top) * (value - low) / span

    where = [(LEFT + (index + 0.5) * step, observed, limit) for index, (_, observed, limit) in enumerate(points)]
    parts = [_text(LEFT, y + 12, name), *(_text(LEFT - 8, height(value) + 4, f"{value:.3g}", "end", SOFT) for value in (high, low))]
    parts += [f'<path d="M{x - step / 2:.1f} {height(limit):.1f}h{step:.1f}" stroke="{LIMIT}" stroke-dasharray="4 3"/>' for x, _, limit in where
              if limit is not None]
    for (x, one, _), (x2, other, _) in pairwise(where):
        if one is not None and other is not None:
            parts.append(f'<path d="M{x:.1f} {height(one):.1f}L{x2:.1f} {height(other):.1f}" stroke="#3b6fb6" stroke-width="1.5"/>')
    parts += [f'<circle cx="{x:.1f}" cy="{height(observed):.1f}" r="2.2" fill="#3b6fb6"/>' for x, observed, _ in where if observed is not None]
    return "".join(parts)


def _text(x: float, y: float, words: str, anchor: str = "start", colour: str = INK) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{escape(words)}</text>'
