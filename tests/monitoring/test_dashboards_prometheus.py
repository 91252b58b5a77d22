"""The charts and a real Prometheus agree about generated histories, in every query of every panel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import prometheus_stage as stage
import pytest
from chart_histories import SCRAPE, SCRAPES, chart_history

from suite.monitoring.chart import draw, moments
from suite.monitoring.dashboard import Panel
from suite.monitoring.load_dashboards import load_dashboards
from suite.monitoring.promql import query_expression
from suite.monitoring.table import ROWS

pytestmark = pytest.mark.skipif(not stage.installed(), reason=stage.MISSING)
BEGIN, STEP, SEEDS = 1_700_000_040, 600, range(5)
PANELS = [(board.uid, panel) for board in load_dashboards(ROWS) for panel in board.panels]


def theirs(server: stage.Server, panel: Panel, begin: float, end: float) -> dict[Any, float]:
    """By query, labels and moment; what is no number is not there."""
    found = {}
    for place, query in enumerate(panel.queries):
        for row in server.range(query_expression(query), begin, end, STEP):
            labels = tuple(sorted((name, value) for name, value in row["metric"].items() if name != "__name__"))
            found |= {(place, labels, float(at)): float(value) for at, value in row["values"] if value != "NaN"}
    return found


def ours(panel: Panel, store: Any, at: Any) -> dict[Any, float]:
    found = {}
    for place, query in enumerate(panel.queries):
        one = Panel(panel.id, panel.title, panel.sentence, panel.kind, panel.unit, (query,))
        for line in draw(one, store, at, stage.semantics()):
            labels = tuple(sorted(line.labels.items()))
            found |= {(place, labels, moment): value for moment, value in zip(line.times.tolist(), line.values.tolist(), strict=True)}
    return found


def test_every_panel_shows_what_prometheus_would(tmp_path: Path) -> None:
    begin, end = BEGIN, BEGIN + SCRAPE * SCRAPES + 2 * STEP  # a while past the last samples
    at, seen = moments(begin, end, STEP), set()
    for seed in SEEDS:
        store = chart_history(begin, seed)
        with stage.running(tmp_path / str(seed)) as server:
            server.write([({**labels, "__name__": metric}, np.rint(times * 1000).astype(np.int64), values)
                          for metric, rows in store.series.items() for labels, times, values in rows if len(times)])
            for uid, panel in PANELS:
                mine, real = ours(panel, store, at), theirs(server, panel, begin, end)
                assert mine.keys() == real.keys(), f"seed {seed}, {uid}, {panel.title}: {sorted(mine.keys() ^ real.keys())[:3]}"
                for key, value in real.items():
                    assert mine[key] == pytest.approx(value, rel=1e-9, abs=1e-12), f"seed {seed}, {uid}, {panel.title}, {key}"
                seen |= {(uid, panel.id, place) for place, _, _ in real}
                if len(real) < len(at) * len({key[:2] for key in real}):
                    seen.add("gap")
    assert seen == {(uid, panel.id, place) for uid, panel in PANELS for place in range(len(panel.queries))} | {"gap"}
