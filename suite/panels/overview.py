"""The overview panel: the charts of a dashboard, drawn anew as samples come; beside it the same as images and numbers."""

from __future__ import annotations

import math
import threading
import time
from dataclasses import dataclass
from html import escape

import ipywidgets as widgets
import pandas as pd

from suite import render
from suite.bench import Bench
from suite.panels import curves
from suite.panels.curves import Curve, figure
from suite.panels.live import Moving

TITLE = "AI Suite Overview"
SPANS = (("15 minutes", 900), ("1 hour", 3600), ("6 hours", 21_600), ("1 day", 86_400), ("7 days", 604_800))
EVERY = 3  # ticks between two questions whether there is anything new
SHORTEST = 60.0  # seconds that are drawn at least, of a stack that has just begun
NOW = 60  # seconds back, of charts that show no more than the newest values
PATIENCE = 200  # times the processor time of a look that nothing is looked at again: it takes half a hundredth of a core at most
COLUMNS = ("chart", "line", "now", "least", "most")
GOOD, BAD = render.COLOURS["ok"], render.COLOURS["fail"]


@dataclass(frozen=True)
class Chart:
    """A chart of the dashboard as it is now; `kind` and `unit` as in `bench.monitoring.dashboards()`."""

    title: str
    sentence: str
    kind: str
    unit: str
    lines: tuple[Curve, ...]


def overview(bench: Bench, dashboard: str = TITLE) -> OverviewPanel:
    """A panel over one of a bench's dashboards, to be shown by a cell; raises nothing: what goes wrong is said in it."""
    return OverviewPanel(bench, dashboard)


class OverviewPanel(Moving):
    """The widgets and what they show: `charts` as they were drawn last, `said` a sentence of trouble."""

    def __init__(self, bench: Bench, dashboard: str) -> None:
        super().__init__(bench, "suite-panel-overview")
        self.charts: list[Chart] = []
        self._ticks, self._seen, self._not_before, self._span = 0, 0.0, 0.0, (0.0, 1.0)
        self.dashboard = widgets.Dropdown(options=[dashboard], value=dashboard, tooltip="which dashboard", layout={"width": "240px"})
        self.span = widgets.Dropdown(options=SPANS, value=900, tooltip="how far back", layout={"width": "120px"})
        self.picture = widgets.HTML()
        self.box = widgets.VBox([widgets.HBox([self.dashboard, self.span]), self.notice, self.picture])
        self._guarded(self._open)
        for each in (self.dashboard, self.span):
            each.observe(lambda _change: self.refresh(), "value")

    def refresh(self) -> threading.Thread:
        """Look anew, in a thread; gives the thread."""
        return self._later(self._look)

    def renew(self) -> None:
        """Look anew when there are new samples, and the last look is not too short a time ago."""
        self._ticks += 1
        if self._ticks % EVERY == 0 and time.monotonic() >= self._not_before:
            newest = self._newest()
            if newest != self._seen:
                self._look()
                self._seen = newest

    def recovered(self) -> None:
        """Say nothing more, and draw anew."""
        super().recovered()
        self._look()

    def _open(self) -> None:
        wanted = self.dashboard.value
        found = list(dict.fromkeys(self._bench.monitoring.dashboards()["dashboard"]))
        self.dashboard.options = found if wanted in found else [wanted, *found]
        self.dashboard.value = wanted
        self._seen = self._newest()
        self._look()

    def _newest(self) -> float:
        """When targets were looked at last."""
        at = self._bench.monitoring.targets()["at"].dropna()
        return float(at.max().timestamp()) if len(at) else 0.0

    def _look(self) -> None:
        mine, began, watched = self._next_turn(), time.thread_time(), self._bench.monitoring
        dashboard, back = self.dashboard.value, self.span.value
        end, rows = time.time(), watched.dashboards()
        charts = [Chart(row.title, row.sentence, row.kind, row.unit,
                        _lines(watched.chart(dashboard, row.id, back) if row.kind == "line" else watched.chart(dashboard, row.id, NOW, NOW)))
                  for row in rows[rows["dashboard"] == dashboard].itertuples()]
        if not charts:  # so that whoever knows the dashboards says which there are
            watched.chart(dashboard, 1, back)
        with self._asked:
            if mine == self._turn:  # nobody has asked again meanwhile
                first = min((line.times[0] for chart in charts for line in chart.lines), default=end - back)
                self.charts, self._span = charts, (min(max(end - back, first), end - SHORTEST), end)
                self.picture.value = self._picture(still=False)
                self._not_before = time.monotonic() + PATIENCE * (time.thread_time() - began)
                self.moved()

    def _picture(self, still: bool) -> str:
        """The charts side by side, as SVG, or as images where they are to last."""
        drawn = "".join(f'<div style="width:{curves.WIDTH}px" title="{escape(chart.sentence, quote=True)}">{self._drawn(chart, still)}</div>'
                        for chart in self.charts)
        return f'<div style="display:flex;flex-wrap:wrap;gap:12px">{drawn}</div>'

    def _drawn(self, chart: Chart, still: bool) -> str:
        if chart.unit == "state":
            return _states(chart)
        most = 1.0 if chart.unit == "ratio" else None
        svg = (curves.curves(chart.title, chart.lines, chart.unit, self._span, most=most, still=still) if chart.kind == "line"
               else curves.amounts(chart.title, chart.lines, chart.unit, still))
        words = ", ".join(f"{line.name} {figure(line.last, chart.unit)}" for line in chart.lines)
        return curves.still(svg, f"{chart.title}: {words or 'no data yet'}") if still else svg

    def twin(self) -> tuple[str, str]:
        """The charts as images, the numbers as a table."""
        title = str(self.dashboard.value)
        rows = [(chart.title, *row) for chart in self.charts for row in curves.table(chart.lines, chart.unit) or [("no data yet", "–", "–", "–")]]
        until = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(self._span[1]))
        note = " ".join(text for text in (f"The last {_named(self.span.value)} until {until}." if rows else "", self.said) if text)
        html = f'<div><strong>{escape(title)}</strong>{self._picture(still=True)}<div style="opacity:.75">{escape(note)}</div></div>'
        return html, f"{title}\n{render.text_table(COLUMNS, rows)}\n{note}"


def _lines(found: pd.DataFrame) -> tuple[Curve, ...]:
    times = found["at"].astype("int64") / 1e9 if len(found) else None
    return tuple(Curve(str(name), times[rows.index].tolist(), rows["value"].tolist()) for name, rows in found.groupby("line", sort=False)) \
        if times is not None else ()


def _states(chart: Chart) -> str:
    """What is yes or no, as coloured marks with words."""
    marks = []
    for line in chart.lines:
        good = line.last is not None and math.isclose(line.last, 1.0)
        marks.append(f'<span style="white-space:nowrap;color:{GOOD if good else BAD}">{"●" if good else "○ NOT:"}</span> '
                     f'<span style="white-space:nowrap">{escape(line.name)}</span>')
    inside = "".join(f'<div style="width:190px">{mark}</div>' for mark in marks) or "no data yet"
    return (f'<div style="font-size:11px;line-height:1.25;padding:3px 4px"><b>{escape(chart.title)}</b>'
            f'<div style="display:flex;flex-wrap:wrap">{inside}</div></div>')


def _named(seconds: int) -> str:
    return next(name for name, value in SPANS if value == seconds)
