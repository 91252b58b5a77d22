"""Rehearsals of alerts: what is on, who of this machine hears of it, and when it is over."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from alertmanager_stage import receiving
from openai_stage import until
from rule_scene import Scene

from suite.errors import BadRequest, NotFound
from suite.monitoring.alert import FIRING, Alert
from suite.monitoring.deliver import Outlet
from suite.monitoring.load_rules import load_rules
from suite.monitoring.notification import Notification
from suite.monitoring.notify import Notify
from suite.monitoring.rehearsal import LASTS, MOST, Rehearsals
from suite.monitoring.watch import Watch


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def numbers(rehearsals: Rehearsals) -> dict[str, float]:
    [family] = rehearsals.collect()
    return {sample.labels["marker"]: sample.value for sample in family.samples}


def test_one_is_on_until_it_is_ended() -> None:
    rehearsals = Rehearsals(Clock())
    assert numbers(rehearsals) == {"": 0.0}
    rehearsals.begin("c0ffee")
    rehearsals.begin("decade")
    assert numbers(rehearsals) == {"c0ffee": 1.0, "decade": 1.0}
    rehearsals.end("c0ffee")
    assert numbers(rehearsals) == {"decade": 1.0}
    with pytest.raises(NotFound, match="beef"):
        rehearsals.end("beef")


def test_one_that_nobody_ended_is_over_by_itself_and_forgotten_later() -> None:
    clock = Clock()
    rehearsals = Rehearsals(clock)
    rehearsals.begin("c0ffee")
    clock.now += LASTS - 1
    assert numbers(rehearsals) == {"c0ffee": 1.0}
    clock.now += 1
    assert numbers(rehearsals) == {"": 0.0}
    rehearsals.end("c0ffee")  # it is still known, so that its end can be told
    clock.now += LASTS
    rehearsals.begin("other")
    with pytest.raises(NotFound):
        rehearsals.end("c0ffee")


def test_no_more_than_a_few_are_on_at_once() -> None:
    rehearsals = Rehearsals(Clock())
    for number in range(MOST):
        rehearsals.begin(f"number{number}")
    with pytest.raises(BadRequest, match=f"{MOST} rehearsals are on"):
        rehearsals.begin("onemore")
    rehearsals.end("number0")
    rehearsals.begin("onemore")


@pytest.mark.parametrize(("marker", "port"), [("", 0), ("a b", 0), ('x"}', 0), ("é", 0), ("a" * 41, 0), ("fine", -1), ("fine", 65536)])
def test_what_is_no_marker_or_port_is_refused(marker: str, port: int) -> None:
    with pytest.raises(BadRequest, match="must be"):
        Rehearsals().begin(marker, port)


class Watched:
    """A watch over one number that can be changed."""

    def __init__(self, folder: Path) -> None:
        self.watch, self.at = Watch([rule for rule in load_rules() if rule.name == "AlertRehearsal"], Scene(), folder, clock=lambda: self.at), 0.0

    def look(self, *markers: str) -> None:
        self.at += 15
        scene = Scene()
        for marker in markers:
            scene.add("suite_alert_rehearsal", [1.0] * 9, marker=marker, job="monitoring", instance="here")
        self.watch._samples = scene  # type: ignore[assignment]
        self.watch.look(self.at)


@pytest.fixture
def watched(tmp_path: Path) -> Any:
    made = Watched(tmp_path)
    yield made
    made.watch.close()


def markers(came: list[Any], status: str) -> set[str]:
    return {alert["labels"]["marker"] for _, body in came for alert in body["alerts"] if alert["status"] == status}


def test_who_listens_hears_at_once_of_the_beginning_and_the_end(watched: Any) -> None:
    with receiving() as receiver:
        watched.watch.rehearsals.begin("c0ffee", receiver.server_address[1])
        with receiving() as other:
            watched.watch.rehearsals.begin("decade", other.server_address[1])
            watched.look("c0ffee")
            receiver.wait(lambda came: markers(came, "firing") == {"c0ffee"})
            watched.watch._listeners.close()  # all that was to be told has been
            assert other.came == []
        watched.watch._listeners = Outlet("rehearsal", watched.watch.rehearsals.send)
        watched.watch.rehearsals.end("c0ffee")
        watched.look()
        receiver.wait(lambda came: markers(came, "resolved") == {"c0ffee"})
    assert [one.status for one in watched.watch.notifications()] == ["resolved", "firing"]


def test_who_does_not_listen_any_more_keeps_nobody_waiting_and_is_forgotten(watched: Any) -> None:
    with receiving() as gone:
        port = gone.server_address[1]
    with receiving() as receiver:
        watched.watch.rehearsals.begin("a0", port)
        watched.watch.rehearsals.begin("b1", receiver.server_address[1])
        watched.look("a0", "b1")
        receiver.wait(lambda came: markers(came, "firing") == {"a0", "b1"})
        until(lambda: watched.watch.rehearsals._known["a0"].port == 0)
        assert watched.watch.rehearsals._known["b1"].port == receiver.server_address[1]


def test_a_rehearsal_is_told_at_once_and_other_alerts_wait_as_they_did() -> None:
    notify, label = Notify(), {"marker": "c0ffee"}
    other = Alert("PartDown/critical", {"alertname": "PartDown", "severity": "critical", **label}, FIRING, 0.0)
    rehearsal = Alert("AlertRehearsal/warning", {"alertname": "AlertRehearsal", "severity": "warning", **label}, FIRING, 0.0)
    assert [one.name for one in notify.update([other, rehearsal], 0.0)] == ["AlertRehearsal"]
    assert [one.name for one in notify.update([other, rehearsal], 10.0)] == ["PartDown"]


def test_listeners_hear_of_rehearsals_alone(watched: Any) -> None:
    sent: list[Any] = []
    watched.watch._listeners.offer = sent.append
    watched.watch._notify.update = lambda active, at: (Notification("PartDown", "critical", (), (), at), Notification("AlertRehearsal", "warning", (), (), at))
    watched.look()
    assert [one.name for one in sent] == ["AlertRehearsal"]
