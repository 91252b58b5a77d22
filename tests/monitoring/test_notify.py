"""Who is told what, and when: groups, repeats, silences, more severe alerts, and a restart."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from suite.errors import BadRequest, NotFound, StorageError
from suite.monitoring.alert import Alert
from suite.monitoring.notify import Notify
from suite.monitoring.silence import FILE, Silences


def alert(name: str = "GpuHot", severity: str = "warning", state: str = "firing", **labels: str) -> Alert:
    return Alert(f"{name}/{severity}", {"alertname": name, "severity": severity, **labels}, state, 0.0, summary=f"{name} of {labels}.")


def told(notify: Notify, active: list[Alert], *moments: float) -> list[tuple[float, str, str, int, int]]:
    """When, title's name, status, how many fire and how many are over."""
    return [(moment, one.name, one.status, len(one.firing), len(one.resolved)) for moment in moments for one in notify.update(active, moment)]


def test_what_fails_together_is_told_together() -> None:
    notify = Notify()
    assert told(notify, [alert(gpu="0")], 0, 15) == []
    assert told(notify, [alert(gpu="0"), alert(gpu="1")], 29, 30, 45) == [(30, "GpuHot", "firing", 2, 0)]


def test_a_change_is_told_after_the_interval_and_sameness_after_the_repeat() -> None:
    notify, one, two = Notify(), alert(gpu="0"), alert(gpu="1")
    assert told(notify, [one], 0, 30) == [(30, "GpuHot", "firing", 1, 0)]
    assert told(notify, [one, two], 45, 315, 330, 345) == [(330, "GpuHot", "firing", 2, 0)]
    assert told(notify, [one, two], 330 + 43_199, 330 + 43_200) == [(330 + 43_200, "GpuHot", "firing", 2, 0)]


def test_the_end_is_told_once() -> None:
    notify = Notify()
    told(notify, [alert(gpu="0")], 0, 30)
    assert told(notify, [], 330, 345, 99_999) == [(330, "GpuHot", "resolved", 0, 1)]


def test_what_ended_before_it_was_told_is_never_told() -> None:
    notify = Notify()
    assert told(notify, [alert()], 0) == told(notify, [], 15, 60) == []
    assert told(notify, [alert(state="pending")], 0, 300) == []


def test_critical_alerts_do_not_wait_long_and_the_dead_mans_switch_is_heard_often() -> None:
    assert told(Notify(), [alert(severity="critical")], 0, 10, 3609, 3610) == [(10, "GpuHot", "firing", 1, 0), (3610, "GpuHot", "firing", 1, 0)]
    assert [row[0] for row in told(Notify(), [alert("Watchdog", "none")], *range(0, 901, 60))] == [0, 300, 600, 900]


def test_a_critical_alert_mutes_the_warning_of_the_same_name_and_target() -> None:
    warning, other = alert("HostMemoryLow", instance="a"), alert("HostMemoryLow", instance="b")
    critical = alert("HostMemoryLow", "critical", instance="a")
    assert told(Notify(), [warning, critical], 0, 30) == [(30, "HostMemoryLow", "firing", 1, 0)]
    assert sorted(row[3] for row in told(Notify(), [warning, critical, other], 0, 30)) == [1, 1]
    assert {one.severity for one in Notify().update([warning, critical], 0)} == set()


def test_a_part_that_is_down_mutes_warnings_about_it() -> None:
    down, slow = alert("PartDown", "critical", job="rag", instance="x"), alert("PartNotReady", job="rag", instance="x")
    elsewhere = alert("PartNotReady", job="qdrant", instance="y")
    assert {(row[1], row[3]) for row in told(Notify(), [down, slow, elsewhere], 0, 30)} == {("PartDown", 1), ("PartNotReady", 1)}


def test_a_silence_mutes_and_what_it_mutes_is_not_over() -> None:
    notify = Notify()
    told(notify, [alert(gpu="0")], 0, 30)
    notify.silences.add(['gpu="0"'], at=40, until=500, by="operator", reason="new fans")
    assert told(notify, [alert(gpu="0")], 330, 345, 499) == []
    assert told(notify, [alert(gpu="0")], 500, 530) == [(530, "GpuHot", "firing", 1, 0)], "it lasts when the silence is over"


def test_a_restart_tells_nothing_twice_and_the_end_all_the_same() -> None:
    before, after = Notify(), Notify()
    told(before, [alert(gpu="0")], 0, 30)
    after.restore(json.loads(json.dumps(before.state())))
    assert told(after, [alert(gpu="0")], 45, 345) == [] and told(after, [], 360) == [(360, "GpuHot", "resolved", 0, 1)]


def test_a_clock_that_is_put_back_keeps_nothing_quiet() -> None:
    notify = Notify()
    assert told(notify, [alert()], 100_000, 0, 30) == [(30, "GpuHot", "firing", 1, 0)]


def test_silences_outlive_a_restart_and_can_be_ended(tmp_path: Path) -> None:
    silence = Silences(tmp_path).add(['alertname=~"Gpu.*"'], at=0, until=100, by="operator", reason="new fans")
    again = Silences(tmp_path)
    assert again.all() == (silence,) and again.muting({"alertname": "GpuHot"}, 99) == silence
    assert again.muting({"alertname": "GpuHot"}, 100) is None and again.muting({"alertname": "HostBusy"}, 50) is None
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600
    again.end(silence.id, 60)
    assert Silences(tmp_path).muting({"alertname": "GpuHot"}, 60) is None
    with pytest.raises(NotFound, match="no silence"):
        again.end(silence.id, 70)


@pytest.mark.parametrize(("changes", "said"), [({"matchers": []}, "would mute everything"), ({"matchers": ["gpu=0"]}, "cannot be read"),
                                               ({"until": 5.0}, "is not after"), ({"by": " "}, "needs somebody"), ({"reason": ""}, "and a reason")])
def test_a_silence_says_what_until_when_who_and_why(changes: dict[str, object], said: str) -> None:
    with pytest.raises(BadRequest, match=said):
        Silences().add(**{"matchers": ['gpu="0"'], "at": 10.0, "until": 20.0, "by": "operator", "reason": "new fans"} | changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["{", "[1]", '[{"id": "x"}]', "\x00"])
def test_damaged_silences_are_an_error_not_silence(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).write_text(text, encoding="utf-8")
    with pytest.raises(StorageError, match="mend or remove the file"):
        Silences(tmp_path)
