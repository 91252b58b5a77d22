"""Charts: many moments at once give what each gives alone, and memory and disk together give what was seen."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from chart_histories import chart_history
from rule_scene import Scene

from suite.errors import BadRequest
from suite.monitoring.chart import draw, moments, step_for
from suite.monitoring.dashboard import Panel
from suite.monitoring.history import History
from suite.monitoring.kept import Kept
from suite.monitoring.recent import Recent
from suite.monitoring.rule import Divisor, Matcher, Query
from suite.monitoring.sample import Sample
from suite.monitoring.steps import growth_at, latest_at
from suite.monitoring.window import Semantics, increase, latest, rate

HOUR = 3600


def panel(*queries: Query) -> Panel:
    return Panel(1, "P", "Look.", "line", "count", queries)


@pytest.mark.parametrize("semantics", [Semantics(), Semantics(left_open=False), Semantics(half_first=False)])
def test_each_moment_is_what_it_is_alone(semantics: Semantics) -> None:
    chance, begin = random.Random(7), 1_700_000_040
    at = begin + np.array(sorted(chance.choice([0, 15, 15.007]) * chance.randrange(-5, 900) for _ in range(40)))
    compared = 0
    for seed in range(2):
        for rows in chart_history(begin, seed).series.values():
            for series in [one for one in _series(rows) if len(one.times)]:
                alone = [latest(series, moment, semantics) for moment in at]
                assert np.array_equal(latest_at(series, at, semantics), [np.nan if one is None else one for one in alone], equal_nan=True)
                for window in (60, 3600):
                    for per_second, one_by_one in ((True, rate), (False, increase)):
                        alone = [one_by_one(series, moment, window, semantics) for moment in at]
                        assert growth_at(series, at, window, semantics, per_second) == pytest.approx(
                            np.array([np.nan if one is None else one for one in alone]), rel=1e-9, nan_ok=True)
                        compared += sum(one is not None for one in alone)
    assert compared > 5_000


def _series(rows: list) -> list:
    from suite.monitoring.samples import Series

    return [Series(*row) for row in rows]


def test_lines_are_named_by_their_legend_and_lack_where_nothing_is() -> None:
    scene = Scene(15).add("m", [1.0, 2.0, None, *[None] * 40, 3.0], part="rag", job="x").add("m", [5.0] * 4, part="qdrant", job="y")
    found = draw(panel(Query("m", aggregate="sum", by=("part",), legend="{part}!"), Query("gone", legend="gone")), scene, moments(0, 660, 60))
    assert [(one.name, one.labels) for one in found] == [("qdrant!", {"part": "qdrant"}), ("rag!", {"part": "rag"})]
    assert found[1].times.tolist() == [0, 60, 120, 180, 240, 300, 660] and found[1].values.tolist() == [1, 2, 2, 2, 2, 2, 3]


def test_a_ratio_may_have_a_sum_below_and_a_rest_above() -> None:
    scene = Scene(15).add("m", [6.0], kind="a").add("m", [2.0], kind="b").add("n", [4.0], kind="c")
    part = Query("m", (Matcher("kind", "=", "a"),), aggregate="sum", ratio=Divisor("m", plus=Divisor("n")))
    assert draw(panel(part), scene, moments(0, 0, 1))[0].values.tolist() == [0.5]
    assert draw(panel(Query(**{**part.__dict__, "rest": True})), scene, moments(0, 0, 1))[0].values.tolist() == [0.5]
    assert draw(panel(Query("m", (Matcher("kind", "=", "b"),), aggregate="sum", ratio=Divisor("m"), rest=True)), scene, moments(0, 0, 1))[0].values == 0.75
    nothing = Scene(15).add("m", [0.0], kind="a")
    assert draw(panel(Query("m", aggregate="sum", ratio=Divisor("m"))), nothing, moments(0, 0, 1)) == [], "nothing of nothing is nothing to see"
    assert draw(panel(Query("m", age=True)), scene, moments(10, 10, 1))[0].values.tolist() == [4.0]


@pytest.mark.parametrize(("begin", "end", "step"), [(1, 0, 1), (0, 1, 0), (0, 1, -1), (0, 1e6, 1), (float("nan"), 1, 1), (0, float("inf"), 1)])
def test_a_chart_that_cannot_be_drawn_is_refused(begin: float, end: float, step: float) -> None:
    with pytest.raises(BadRequest, match="cannot be drawn; ask for a begin before its end"):
        moments(begin, end, step)


def test_steps_are_whole_and_not_shorter_than_what_is_measured() -> None:
    assert moments(5, 65, 20).tolist() == [5, 25, 45, 65] and [step_for(*one) for one in ((3600, 15), (86_400, 15), (60, 2.5), (1, 0.1))] == [15, 360, 3, 1]


def test_memory_and_disk_are_one(tmp_path: Path) -> None:
    begin = 1_700_000_000 - 1_700_000_000 % HOUR
    kept, history, written = Kept(recent := Recent(1800), History(tmp_path)), None, []
    history = kept._history

    def note(at: float, store: bool) -> None:
        samples = [Sample("m", (("job", "x"),), at - begin), Sample("m", (("job", "y"),), 1.0)]
        history.append(at, samples)
        if store:
            recent.append(at, samples)
        written.append(at - begin)

    assert kept.select("m", (), 0, 1e12) == []
    for step in range(100):
        note(begin + 60.0004 * step, store=False)  # by a host that has ended
    for step in range(100, 200):
        note(begin + 60.0004 * step, store=True)
        assert recent.since == begin + max(60.0004 * 100, 60.0004 * step - 1800)  # what was before this host began is on disk alone
        assert len(kept.select("m", (Matcher("job", "=", "x"),), 0, 1e12)[0].times) == step + 1
    for low, high in ((0, 1e12), (begin + 601, begin + 7300), (begin + 11_900, begin + 11_970), (begin + 100, begin + 700)):
        (found,) = kept.select("m", (Matcher("job", "=", "x"),), low, high)
        expected = [value for value in written if low <= begin + value <= high]
        assert found.values.tolist() == expected and found.labels == {"job": "x"} and np.all(np.diff(found.times) > 59)
    assert len(kept.select("m", (), 0, 1e12)) == 2
    history.close()
