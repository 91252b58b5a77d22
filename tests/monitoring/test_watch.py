"""The whole way from samples to a receiver, and across a restart."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

import alertmanager_stage as stage
import pytest
from openai_stage import until
from rule_scene import Scene

from suite.monitoring.alertmanager import Alertmanager
from suite.monitoring.alerts import Alerts
from suite.monitoring.deliver import Deliver
from suite.monitoring.load_rules import load_rules
from suite.monitoring.notify import Notify
from suite.monitoring.sink import NotebookSink, WebhookSink
from suite.monitoring.watch import FILE, Watch


class Clock:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


HOT = Scene(15).add("suite_gpu_temperature_celsius", [40.0] * 20 + [91.0] * 40 + [40.0] * 200, gpu="0", instance="host:9090")
RULES = [rule for rule in load_rules() if rule.name in ("GpuHot", "Watchdog")]


def watch(clock: Clock, notebook: NotebookSink, folder: Path | None = None, scene: Scene = HOT) -> Watch:
    return Watch(scene, Alerts(RULES), Notify(), Deliver([notebook]), folder=folder, clock=clock)


def run(one: Watch, clock: Clock, begin: int, end: int) -> None:
    for moment in range(begin, end, 15):
        clock.now = float(moment)
        one.step()


def test_an_alert_goes_from_samples_to_people_and_so_does_its_end() -> None:
    clock, notebook = Clock(), NotebookSink()
    one = watch(clock, notebook)
    run(one, clock, 0, 1500)
    assert one.counts() == {("none", "firing"): 1} and one.age == 0
    one.stop()
    # hot at 300 s, `for` 5 m, group wait 30 s; over at 900 s, told 5 m after the first notification at the earliest
    assert [(row.at, row.status) for row in notebook.rows()] == [(930, "resolved"), (630, "firing")]
    assert one.sent() == {"notebook": {"sent": 2, "failed": 0}}


def test_a_restart_in_the_middle_changes_nothing(tmp_path: Path) -> None:
    clock, notebook = Clock(), NotebookSink()
    for begin, end in ((0, 450), (450, 600), (600, 615), (615, 750), (750, 1500)):  # pending, firing, waiting to be told, told
        one = watch(clock, notebook, tmp_path)
        run(one, clock, begin, end)
        one.stop()
    assert [(row.at, row.status) for row in notebook.rows()] == [(930, "resolved"), (630, "firing")]
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600


def test_the_thread_evaluates_by_itself_and_stops() -> None:
    with stage.receiving() as receiver:
        one = Watch(Scene(), Alerts(RULES), Notify(), Deliver([WebhookSink(receiver.url)]), Alertmanager(receiver.url), interval=0.01)
        one.start()
        receiver.wait(lambda came: len(came) >= 2)
        one.stop()
        one.stop()
    assert {"alerts" if isinstance(body, dict) else "api" for _, body in receiver.came} == {"alerts", "api"}
    assert not [thread for thread in threading.enumerate() if thread.name == "suite-rules"] and set(one.sent()) == {"webhook", "alertmanager"}


def test_a_fault_of_ours_is_logged_and_the_watch_goes_on(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger("suite"), "propagate", True)

    class Faulty(Scene):
        asked = 0

        def select(self, *_: object) -> list[object]:  # type: ignore[override]
            self.asked += 1
            raise ZeroDivisionError

    scene = Faulty()
    one = Watch(scene, Alerts(RULES), Notify(), Deliver([]), interval=0.01)
    one.start()
    until(lambda: scene.asked > 2)
    one.stop()
    assert "could not be evaluated" in caplog.text and one.age > 0


@pytest.mark.parametrize("text", ["", "[]", '{"alerts": {"alerts": [{"rule": 1}]}, "told": []}', '{"alerts": {}, "told": [{}]}'])
def test_damaged_memory_is_named_and_begins_anew(tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger("suite"), "propagate", True)
    (tmp_path / FILE).write_text(text, encoding="utf-8")
    clock, notebook = Clock(), NotebookSink()
    one = watch(clock, notebook, tmp_path)
    assert "it begins anew" in caplog.text
    run(one, clock, 0, 700)
    one.stop()
    assert [row.at for row in notebook.rows()] == [630]


def test_a_folder_that_cannot_be_written_is_named_and_alerts_go_on(tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger("suite"), "propagate", True)
    clock, notebook = Clock(), NotebookSink()
    one = watch(clock, notebook, tmp_path / "gone")
    run(one, clock, 0, 700)
    one.stop()
    assert "cannot be remembered" in caplog.text and [row.at for row in notebook.rows()] == [630]
