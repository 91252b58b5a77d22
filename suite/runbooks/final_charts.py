"""The charts of the final report as SVG: they take the colours of the page around them, on screen and on paper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from typing import Any

from suite.render import text_width
from suite.runbooks.margin import conditions, number, spent

NEAREST = 12  # conditions that are drawn, of those nearest to their limits
WIDTH, LINE = 620, 24
FONT = "font-family=\"system-ui,'Noto Sans','Noto Sans CJK KR',sans-serif\" font-size=\"12\""


def bars(rows: Sequence[tuple[str, float | None, str, str]], title: str, most: float, limit: float | None = None, limit_name: str = "") -> str:
    """Horizontal bars: (name, value or None, the number in words, state that gives the colour); `most` is the whole width, `limit` a line."""
    label = min(300.0, 16 + 7.0 * max((text_width(name) for name, *_ in rows), default=0))
    room, top = WIDTH - label - 76, 34 if limit is not None else 24
    parts = [_opening(title, top + LINE * len(rows) + 4), _text(0, 13, title, weight=600)]
    for place, (name, value, words, state) in enumerate(rows):
        y = top + place * LINE
        length = 0.0 if value is None else max(1.0, room * min(max(value, 0.0), most) / most)
        parts += [_text(label - 8, y + 14, _cut(name, int((label - 8) / 6.6)), "end"),
                  f'<path d="M{label:.0f} {y + 10}h{room:.0f}" stroke="currentColor" opacity=".16"/>',
                  f'<rect x="{label:.0f}" y="{y + 3}" width="{length:.1f}" height="14" rx="2" class="{state}" fill="currentColor"/>',
                  _text(label + room + 8, y + 14, words)]
    if limit is not None:
        x = label + room * limit / most
        parts += [f'<path d="M{x:.1f} {top - 4}v{LINE * len(rows) + 4}" stroke="currentColor" class="fail" stroke-dasharray="4 3"/>',
                  _text(x, top - 8, limit_name, "middle")]
    return "".join(parts) + "</svg>"


def scores(score: Mapping[str, Any], words: Any) -> str:
    """One bar per category; an unverified one has none."""
    rows = []
    for name, row in score["categories"].items():
        value = row["score"]
        lowest = value is not None and value == score["lowest"]
        shown = words("unverified") if value is None else f"{100 * value:.0f} %" + (" ◂" if lowest else "")
        rows.append((words(name), None if value is None else 100 * value, shown, "pass" if value == 1 else "fail" if lowest else "degraded"))
    return bars(rows, words("chart_scores"), 100.0)


def nearest(checks: Sequence[Mapping[str, Any]], words: Any) -> str:
    """The conditions that come nearest to their limits, or go beyond; nothing where no limit has an order."""
    found = sorted(((share, f"{check['id']} {item['name']}") for check in checks for item in conditions(check)
                    if (share := spent(item)) is not None and (share > 1 or not _counted(item))), key=lambda row: (-row[0], row[1]))[:NEAREST]
    rows = [(name, share, f"{100 * share:.0f} %" if share < 10 else "> 10 ×", "fail" if share > 1 else "degraded" if share > 0.8 else "pass")
            for share, name in found]
    most = max(1.25, min(2.0, max((share for share, _ in found), default=1.0)))  # what is far beyond its limit does not make the rest invisible
    return bars(rows, words("chart_margin"), most, 1.0, words("limit")) if rows else ""


def _counted(condition: Mapping[str, Any]) -> bool:
    """Whether it is a count: one of one demanded is no measurement that comes near to its limit."""
    return isinstance(condition["observed"], int) and isinstance(condition["limit"], int)


def started(checks: Sequence[Mapping[str, Any]], words: Any) -> str:
    """Seconds from start to ready of each part, as the host recorded them."""
    parts = {item["part"]: item["start_to_ready_s"] for check in checks for item in check.get("evidence") or []
             if item.get("name") == "part" and isinstance(item.get("start_to_ready_s"), (int, float))}
    rows = [(name, seconds, f"{seconds:.2f} s", "accent") for name, seconds in parts.items()]
    return bars(rows, words("chart_ready"), max(1e-9, *parts.values())) if rows else ""


def times(runs: Sequence[Mapping[str, Any]], words: Any) -> str:
    """When each runbook ran, on one axis: those side by side are seen to be so."""
    known = [(run, begun, ended) for run in runs if (begun := _moment(run.get("started_at"))) and (ended := _moment(run.get("ended_at")))]
    if not known:
        return ""
    first, last = min(begun for _, begun, _ in known), max(ended for *_, ended in known)
    length, label = max(last - first, 1e-9), 180
    room = WIDTH - label - 60
    parts = [_opening(words("chart_time"), 52 + LINE * len(known)), _text(0, 13, words("chart_time"), weight=600)]
    for place, (run, begun, ended) in enumerate(known):
        x, y = label + room * (begun - first) / length, 24 + place * LINE
        parts += [_text(label - 8, y + 14, _cut(str(run["runbook"]), 26), "end"),
                  f'<rect x="{x:.1f}" y="{y + 3}" width="{max(2.0, room * (ended - begun) / length):.1f}" height="14" rx="2" '
                  f'class="{"accent" if run["state"] == "finished" else "fail"}" fill="currentColor"/>',
                  _text(max(x + room * (ended - begun) / length, x + 2) + 6, y + 14, f"{ended - begun:.1f} s")]
    y = 24 + LINE * len(known) + 4
    parts += [f'<path d="M{label} {y}h{room}" stroke="currentColor" opacity=".4"/>', _text(label, y + 16, _clock(first)),
              _text(label + room, y + 16, f"{_clock(last)} UTC", "end")]
    return "".join(parts) + "</svg>"


def seconds(checks: Sequence[Mapping[str, Any]], words: Any) -> str:
    """How long answers took, as the checks measured it by the user's clock: the median, the 95th percentile and the slowest of each."""
    rows = []
    for check in checks:
        for item in check.get("evidence") or []:
            if item.get("name") == "seconds" and item.get("n"):
                name = f"{check['id']} {item.get('state') or ''}".rstrip()
                rows += [(f"{name} {key} ({item['n']})", value, f"{value:.2f} s", "accent") for key in ("p50", "p95", "max")
                         if (value := number(item.get(key))) is not None]
    return bars(rows, words("chart_seconds"), max(1e-9, *(value for _, value, *_ in rows))) if rows else ""


def _opening(title: str, height: float) -> str:
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" role="img" fill="currentColor" {FONT}>'
            f"<title>{escape(title)}</title>")


def _text(x: float, y: float, words: str, anchor: str = "start", weight: int = 400) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-weight="{weight}">{escape(words)}</text>'


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[:most - 1] + "…"


def _moment(text: Any) -> float | None:
    try:
        return datetime.fromisoformat(str(text)).timestamp()
    except ValueError:
        return None


def _clock(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%H:%M:%S")
