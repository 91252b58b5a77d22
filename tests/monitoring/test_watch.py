"""The whole way from samples to a receiver, and across a restart."""

from __future__ import annotations

from pathlib import Path

import alertmanager_stage as stage
import pytest
from rule_scene import Scene

from suite.errors import StorageError
from suite.monitoring.alertmanager import Alertmanager
from suite.monitoring.load_rules import load_rules
from suite.monitoring.sink import WebhookSink
from suite.monitoring.watch import FILE, NOBODY, Told, Watch


class Clock:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


HOT = Scene(15).add("suite_gpu_temperature_celsius", [40.0] * 20 + [91.0] * 40 + [40.0] * 200, gpu="0", instance="host:9090")
RULES = [rule for rule in load_rules() if rule.name in ("GpuHot", "Watchdog")]


def watch(clock: Clock, folder: Path, scene: Scene = HOT, told: Told = NOBODY) -> Watch:
    return Watch(RULES, scene, folder, told, clock)


def run(one: Watch, clock: Clock, begin: int, end: int) -> None:
    for moment in range(begin, end, 15):
        clock.now = float(moment)
        one.look(clock.now)


def said(*watches: Watch) -> list[tuple[float, str]]:
    """What the notebook was told in all of them, newest first; they are closed, so that nothing waits."""
    return sorted(((row.at, row.status) for one in watches for row in one.notifications()), reverse=True)


def test_an_alert_goes_from_samples_to_people_and_so_does_its_end(tmp_path: Path) -> None:
    clock = Clock()
    one = watch(clock, tmp_path)
    run(one, clock, 0, 1500)
    assert [(alert.name, alert.state) for alert in one.active()] == [("Watchdog", "firing")] and one.looked == 1485
    one.close()
    # hot at 300 s, `for` 5 m, group wait 30 s; over at 900 s, told 5 m after the first notification at the earliest
    assert said(one) == [(930, "resolved"), (630, "firing")] and one.counts() == {"notebook": {"sent": 2, "failed": 0}}


def test_a_restart_in_the_middle_changes_nothing(tmp_path: Path) -> None:
    clock, watches = Clock(), []
    for begin, end in ((0, 450), (450, 600), (600, 615), (615, 750), (750, 1500)):  # pending, firing, waiting to be told, told
        one = watch(clock, tmp_path)
        run(one, clock, begin, end)
        one.close()
        watches.append(one)
    assert said(*watches) == [(930, "resolved"), (630, "firing")]
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600


def test_a_kill_between_two_rounds_loses_nothing_either(tmp_path: Path) -> None:
    clock = Clock()
    killed = watch(clock, tmp_path)
    run(killed, clock, 0, 600)  # never closed
    one = watch(clock, tmp_path)
    run(one, clock, 600, 1500)
    one.close()
    killed.close()
    assert said(one) == [(930, "resolved"), (630, "firing")] and said(killed) == []


def test_others_are_told_too_unless_nobody_is_to_be(tmp_path: Path) -> None:
    clock = Clock()
    with stage.receiving() as receiver:
        quiet = watch(clock, tmp_path, told=Told((WebhookSink(receiver.url),), Alertmanager(receiver.url), telling=False))
        run(quiet, clock, 0, 750)
        assert [alert.name for alert in quiet.active()] == ["GpuHot", "Watchdog"]
        quiet.close()
        assert receiver.came == [] and said(quiet) == []
        loud = watch(clock, tmp_path, told=Told((WebhookSink(receiver.url),), Alertmanager(receiver.url)))
        run(loud, clock, 750, 900)
        receiver.wait(lambda came: {"alerts" if isinstance(body, dict) else "api" for _, body in came} == {"alerts", "api"})
        loud.close()
    assert set(loud.counts()) == {"notebook", "webhook", "alertmanager"} and loud.counts()["webhook"]["sent"] >= 1


def test_a_rule_that_cannot_be_evaluated_is_named_once_and_keeps_its_alerts(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:

    class Faulty(Scene):
        def select(self, *asked: object) -> list:  # type: ignore[override]
            if clock.now >= 700:
                raise StorageError("The samples are gone.")
            return HOT.select(*asked)  # type: ignore[arg-type]

    clock = Clock()
    one = watch(clock, tmp_path, Faulty())
    run(one, clock, 0, 800)
    one.close()
    assert one.failed() == {"GpuHot/warning": "The samples are gone."} and caplog.text.count("cannot be evaluated") == 1
    assert [alert.name for alert in one.active()] == ["GpuHot", "Watchdog"]


@pytest.mark.parametrize("text", ["", "[]", '{"alerts": {"alerts": [{"rule": 1}]}, "told": []}', '{"alerts": {}, "told": [{}]}'])
def test_damaged_memory_is_named_and_begins_anew(tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / FILE).write_text(text, encoding="utf-8")
    clock = Clock()
    one = watch(clock, tmp_path)
    assert "what fired before the start is not known" in caplog.text
    run(one, clock, 0, 700)
    one.close()
    assert said(one) == [(630, "firing")]


def test_a_folder_that_cannot_be_written_is_named_once_and_alerts_go_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    one = watch(clock, tmp_path / "gone")
    run(one, clock, 0, 700)
    one.close()
    assert caplog.text.count("cannot be kept") == 1 and said(one) == [(630, "firing")]
