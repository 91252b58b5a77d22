"""Alerts go from pending to firing to resolved, each label set for itself, across a restart too."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
from rule_scene import GONE, Scene

from suite.errors import StorageError
from suite.monitoring.alerts import Alerts
from suite.monitoring.rule import Matcher, Rule
from suite.monitoring.samples import Series
from suite.monitoring.sentence import fill

DOWN = Rule("PartDown", "{job} is down; start it.", "critical", "up", op="==", threshold=0, unit="state", hold=60)
HOT = Rule("GpuHot", "{value} °C.", "warning", "heat", threshold=87, unit="celsius")


def states(alerts: Alerts) -> list[tuple[str, str, float]]:
    return [(alert.labels.get("job", alert.name), alert.state, alert.active_since) for alert in alerts.active()]


def run(alerts: Alerts, scene: Scene, *moments: float) -> list[tuple[float, str, str]]:
    """The alerts that began to fire or were resolved, and when."""
    told = []
    for moment in moments:
        changes = alerts.evaluate(scene, moment)
        told += [(moment, alert.state, alert.labels.get("job", alert.name)) for alert in (*changes.fired, *changes.resolved)]
    return told


def test_an_alert_fires_when_it_has_held_long_enough_and_its_end_is_told_once() -> None:
    alerts = Alerts([DOWN])
    scene = Scene(30).add("up", [1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0], job="rag")
    assert run(alerts, scene, 0, 30, 60) == [] and states(alerts) == [("rag", "pending", 30)]
    assert run(alerts, scene, 89.999) == [] and run(alerts, scene, 90, 120, 150, 180) == [(90, "firing", "rag"), (150, "resolved", "rag")]
    assert states(alerts) == []


def test_a_pause_begins_anew_and_a_pending_alert_that_ends_is_not_told() -> None:
    scene = Scene(30).add("up", [0.0, 0.0, 1.0, 0.0, 0.0, 0.0], job="rag")
    assert run(Alerts([DOWN]), scene, 0, 30, 60, 90, 120, 150) == [(150, "firing", "rag")]


def test_each_label_set_is_an_alert_of_its_own() -> None:
    scene = Scene(30).add("up", [0.0] * 9, job="rag").add("up", [1.0, 1.0, *[0.0] * 7], job="qdrant").add("up", [1.0] * 9, job="embedding")
    assert run(Alerts([DOWN]), scene, 0, 30, 60, 90, 120) == [(60, "firing", "rag"), (120, "firing", "qdrant")]


def test_a_series_that_goes_ends_its_alert() -> None:
    assert run(Alerts([HOT]), Scene(30).add("heat", [90.0, 90.0, GONE], job="a"), 0, 30, 60) == [(0, "firing", "a"), (60, "resolved", "a")]


def test_alerts_carry_name_severity_and_a_sentence_that_follows_the_value() -> None:
    alerts, scene = Alerts([HOT, DOWN]), Scene(30).add("heat", [88.0, 91.5], gpu="0").add("up", [0.0] * 5, job="rag", severity="of the series")
    alerts.evaluate(scene, 0)
    alerts.evaluate(scene, 61)
    down, hot = alerts.active()
    assert hot.labels == {"alertname": "GpuHot", "severity": "warning", "gpu": "0"} and hot.summary == "91.5 °C." and hot.value == 91.5
    assert down.labels["severity"] == "critical" and down.summary == "rag is down; start it." and hot.fired_at == 0


def test_a_restart_keeps_since_when_an_alert_is_active() -> None:
    scene = Scene(30).add("up", [0.0] * 20, job="rag").add("heat", [90.0] * 20)
    before = Alerts([DOWN, HOT])
    run(before, scene, 0, 30)
    after = Alerts([DOWN, HOT])
    assert after.restore(json.loads(json.dumps(before.state())), 45) == ()
    assert states(after) == [("GpuHot", "firing", 0), ("rag", "pending", 0)]
    assert run(after, scene, 60) == [(60, "firing", "rag")], "what fired before the restart is not told again"


def test_after_a_long_outage_what_was_pending_begins_anew() -> None:
    before, after = Alerts([DOWN, HOT]), Alerts([DOWN, HOT])
    run(before, Scene(30).add("up", [0.0], job="rag").add("heat", [90.0]), 0)
    after.restore(before.state(), 3601)
    assert states(after) == [("GpuHot", "firing", 0)]
    assert run(after, Scene(30), 3615) == [(3615, "resolved", "GpuHot")], "what is over meanwhile is told"


def test_an_alert_whose_rule_is_gone_is_resolved() -> None:
    before = Alerts([DOWN, HOT])
    run(before, Scene(30).add("up", [0.0], job="rag").add("heat", [90.0]), 0)
    assert [(alert.name, alert.state) for alert in Alerts([DOWN]).restore(before.state(), 10)] == [("GpuHot", "resolved")]


def test_a_clock_that_is_put_back_does_not_hold_an_alert_off() -> None:
    alerts, scene = Alerts([DOWN]), Scene(30).add("up", [0.0] * 400, job="rag")
    assert run(alerts, scene, 10_000, 100, 130, 160) == [(160, "firing", "rag")]


def test_what_cannot_be_read_leaves_alerts_as_they_are() -> None:
    class Torn(Scene):
        def select(self, metric: str, matchers: Sequence[Matcher], begin: float, end: float) -> list[Series]:
            if metric == "up":
                raise StorageError("The history is corrupt; remove it.")
            return super().select(metric, matchers, begin, end)

    alerts = Alerts([DOWN, HOT])
    run(alerts, Scene(30).add("up", [0.0] * 4, job="rag"), 0, 60)
    changes = alerts.evaluate(Torn(30).add("heat", [90.0] * 9), 120)
    assert changes.failed == {"PartDown/critical": "The history is corrupt; remove it."} and [alert.name for alert in changes.fired] == ["GpuHot"]
    assert ("rag", "firing", 0) in states(alerts) and changes.resolved == ()


@pytest.mark.parametrize(("unit", "value", "words"), [
    ("count", 12.0, "12"), ("count", 123456.0, "1.235e+05"), ("ratio", 0.0525, "5.25%"), ("ratio", float("inf"), "+Inf%"), ("seconds", 0.0, "0s"),
    ("seconds", 0.25, "250ms"), ("seconds", 2.5, "2.5s"), ("seconds", 93_661.0, "1d 2h 1m 1s"), ("seconds", -3661.0, "-1h 1m 1s"),
    ("seconds", 61.5, "1m 1s"), ("bytes", 19e9, "17.7Gi"), ("bytes", 0.5, "0.5"), ("celsius", float("nan"), "NaN")])
def test_values_are_said_as_prometheus_says_them(unit: str, value: float, words: str) -> None:
    assert fill("{value}", unit, {}, value) == words
