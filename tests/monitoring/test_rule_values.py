"""The evaluator's numbers against ones worked out by hand from Prometheus' documentation; test_rules_prometheus.py has the real one's."""

from __future__ import annotations

import math

import pytest
from rule_scene import GONE, Scene

from suite.monitoring.evaluate import evaluate
from suite.monitoring.quantile import histogram_quantile
from suite.monitoring.rule import Divisor, Matcher, Rule
from suite.monitoring.window import Semantics

OLD = Semantics.of_version("2.42.0")


def value(rule: Rule, scene: Scene, at: float, semantics: Semantics | None = None) -> dict[tuple[tuple[str, str], ...], float]:
    """All that the rule's expression gives, whatever its limit."""
    return {tuple(sorted(one.labels.items())): one.value for one in evaluate(rule, scene, at, semantics or Semantics())}


def growth(window: float, function: str = "increase", **more: object) -> Rule:
    return Rule("Growth", "", "info", "c", function=function, window=window, op=">=", threshold=-1, **more)  # type: ignore[arg-type]


def only(found: dict[tuple[tuple[str, str], ...], float]) -> float | None:
    assert len(found) <= 1
    return next(iter(found.values()), None)


LEVEL = Rule("Level", "", "info", "g", op=">=", threshold=0)


def test_a_sample_counts_for_five_minutes() -> None:
    scene = Scene(10).add("g", [7.0])
    assert only(value(LEVEL, scene, 299.999)) == 7 and value(LEVEL, scene, 300) == {} and value(LEVEL, scene, 300.001) == {}
    assert only(value(LEVEL, scene, 300, OLD)) == 7 and value(LEVEL, scene, 300.001, OLD) == {}


def test_nothing_is_read_from_the_future() -> None:
    assert only(value(LEVEL, Scene(10).add("g", [1.0, 2.0, 3.0]), 19.9)) == 2


def test_a_marked_series_is_gone_until_its_next_sample() -> None:
    scene = Scene(10).add("g", [1.0, GONE, None, 4.0])
    assert only(value(LEVEL, scene, 9.9)) == 1 and value(LEVEL, scene, 10) == {} and value(LEVEL, scene, 25) == {} and only(value(LEVEL, scene, 30)) == 4


def test_marks_do_not_end_an_increase() -> None:
    assert only(value(growth(60), Scene(10).add("c", [100.0, 110.0, GONE, 130.0, 140.0, GONE]), 50, OLD)) == pytest.approx(60.0)


def test_an_increase_is_continued_to_the_windows_edges() -> None:
    scene = Scene(10).add("c", [100.0 + 10 * place for place in range(20)])
    assert only(value(growth(60), scene, 103)) == pytest.approx(60.0)  # samples from 50 to 100 s grew by 50 in 50 s; the edges, 7 and 3 s away, are near
    assert only(value(growth(60, "rate"), scene, 103)) == pytest.approx(1.0)


def test_a_series_that_begins_within_the_window_is_continued_by_half_a_distance() -> None:
    scene = Scene(10).add("c", [None] * 10 + [1000.0 + 10 * place for place in range(5)])
    assert only(value(growth(300), scene, 140)) == pytest.approx(40 + 5)
    assert only(value(growth(300), scene, 200)) == pytest.approx(40 + 5 + 5)  # and one that ended long ago, to the right
    assert only(value(growth(300), scene, 200, OLD)) == pytest.approx(40 + 5 + 5)


def test_no_counter_is_continued_below_zero() -> None:
    scene = Scene(10).add("c", [None] * 10 + [2.0 + 10 * place for place in range(5)])
    assert only(value(growth(300), scene, 140)) == pytest.approx(40 + 2)


def test_versions_before_2_52_asked_for_zero_first() -> None:
    scene = Scene(10).add("c", [None] * 10 + [8.0 + 10 * place for place in range(5)])
    assert only(value(growth(300), scene, 140)) == pytest.approx(40 + 5) and only(value(growth(300), scene, 140, OLD)) == pytest.approx(40 + 8)


def test_a_counter_that_begins_anew_loses_nothing() -> None:
    assert only(value(growth(60), Scene(10).add("c", [100.0, 110.0, 120.0, 5.0, 15.0, 25.0, 35.0]), 60, OLD)) == pytest.approx(20 + 5 + 30)


def test_one_sample_grows_by_nothing_that_is_known() -> None:
    assert value(growth(60), Scene(10).add("c", [5.0]), 10) == {}


def test_a_window_leaves_out_its_first_moment_since_3_0() -> None:
    scene = Scene(30).add("c", [0.0, 100.0, 110.0])
    assert only(value(growth(60), scene, 60, OLD)) == 110 and only(value(growth(60), scene, 60)) == pytest.approx(20)


def test_sums_minima_and_maxima_are_by_label() -> None:
    scene = Scene(10).add("g", [1.0], part="a", row="1").add("g", [2.0], part="a", row="2").add("g", [4.0], part="b", row="1")
    found = {kind: value(Rule("R", "", "info", "g", aggregate=kind, by=("part",), op=">=", threshold=0), scene, 5) for kind in ("sum", "max", "min")}
    a, b = (("part", "a"),), (("part", "b"),)
    assert found == {"sum": {a: 3.0, b: 4.0}, "max": {a: 2.0, b: 4.0}, "min": {a: 1.0, b: 4.0}}
    assert value(Rule("R", "", "info", "g", aggregate="sum", op=">=", threshold=0), scene, 5) == {(): 7.0}


RATIO = Rule("Ratio", "", "info", "c", (Matcher("status", "=~", "5.."),), function="rate", window=60, aggregate="sum", by=("part",), ratio=Divisor("c"),
             threshold=0.05, unit="ratio", minimum=20)


def errors(good: float, bad: float, part: str = "rag") -> Scene:
    return Scene(10).add("c", [1000 + good * place for place in range(20)], part=part, status="200").add(
        "c", [1000 + bad * place for place in range(20)], part=part, status="500")


def test_a_ratio_needs_its_minimum_of_events() -> None:
    assert value(RATIO, errors(3, 1), 100) == {(("part", "rag"),): pytest.approx(0.25)}
    assert value(RATIO, errors(1, 1), 100) == {} and only(value(RATIO, errors(0, 10), 100)) == 1.0


def test_a_ratio_of_nothing_is_no_alert() -> None:
    assert value(RATIO, errors(0, 0), 100) == {} and value(RATIO, Scene(10).add("c", [1.0, 9.0] * 9, part="rag", status="200"), 100) == {}


def test_dividing_by_zero_is_infinite_or_nothing() -> None:
    share = Rule("Share", "", "info", "g", (Matcher("kind", "=", "used"),), aggregate="sum", ratio=Divisor("g", (Matcher("kind", "=", "total"),)),
                 threshold=0.9, unit="ratio")
    assert only(value(share, Scene().add("g", [5.0], kind="used").add("g", [0.0], kind="total"), 5)) == math.inf
    assert value(share, Scene().add("g", [0.0], kind="used").add("g", [0.0], kind="total"), 5) == {}
    assert value(share, Scene().add("g", [5.0], kind="used"), 5) == {}


def test_age_is_the_time_since_a_moment() -> None:
    assert only(value(Rule("Age", "", "info", "g", age=True, threshold=60, unit="seconds"), Scene(10).add("g", [30.0] * 20), 100)) == 70


def test_what_is_absent_is_named_by_what_was_looked_for() -> None:
    rule = Rule("Gone", "", "info", "up", (Matcher("zone", "=", "x"), Matcher("part", "!=", "y")), absent=True, each=("job", ("rag", "qdrant")))
    scene = Scene(10).add("up", [0.0], job="rag", zone="x")
    assert value(rule, scene, 5) == {(("job", "qdrant"), ("zone", "x")): 1.0} and len(value(rule, scene, 500)) == 2


@pytest.mark.parametrize(("quantile", "buckets", "expected"), [
    (0.5, [(1, 10), (2, 20), (math.inf, 20)], 1.0),
    (0.95, [(1, 10), (2, 20), (math.inf, 20)], 1.9),
    (0.25, [(1, 10), (2, 20), (math.inf, 20)], 0.5),
    (0.95, [(1, 10), (2, 10), (math.inf, 20)], 2.0),  # in the last bucket nothing is told apart
    (0.5, [(-1, 10), (1, 12), (math.inf, 12)], -1.0),  # a lowest bucket below zero has no width
    (0.5, [(math.inf, 20), (2, 20), (1, 10)], 1.0),
    (0.9, [(1, 10), (2, 8), (4, 20), (math.inf, 19)], 3.6),  # a dip is lifted
    (0.5, [(1, 4), (1, 6), (2, 20), (math.inf, 20)], 1.0),  # `1` and `1.0` are one limit
])
def test_quantiles_lie_evenly_within_a_bucket(quantile: float, buckets: list[tuple[float, float]], expected: float) -> None:
    assert histogram_quantile(quantile, buckets) == pytest.approx(expected)


@pytest.mark.parametrize("buckets", [[], [(math.inf, 5)], [(1, 5), (2, 9)], [(1, 0), (math.inf, 0)]])
def test_a_histogram_that_says_nothing_has_no_quantile(buckets: list[tuple[float, float]]) -> None:
    assert math.isnan(histogram_quantile(0.95, buckets))


def test_the_same_buckets_of_several_series_are_added() -> None:
    rule = Rule("Slow", "", "info", "h", quantile=0.5, window=60, by=("part",), op=">=", threshold=0, unit="seconds", minimum=40)
    scene = Scene(10)
    for route, quick in (("a", 1.0), ("b", 0.0)):
        for limit, count in (("1.0", quick), ("2.0", 1.0), ("+Inf", 1.0), ("broken", 9.0)):
            scene.add("h_bucket", [1000 + 4 * count * place for place in range(20)], part="rag", route=route, le=limit)
        scene.add("h_count", [1000.0 + 4 * place for place in range(20)], part="rag", route=route)
    assert value(rule, scene, 100) == {(("part", "rag"),): pytest.approx(1.0)}
    assert value(Rule(**{**vars(rule), "minimum": 49}), scene, 100) == {}
