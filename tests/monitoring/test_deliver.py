"""Notifications arrive; a place that hangs, refuses or is gone delays nobody and is counted."""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path

import alertmanager_stage as stage
import httpx
import pytest
from openai_stage import until

from suite.errors import SettingsError
from suite.monitoring.alert import Alert
from suite.monitoring.alertmanager import EVERY, Alertmanager
from suite.monitoring.deliver import Deliver, Outlet
from suite.monitoring.notification import Notification
from suite.monitoring.sink import MailSink, NotebookSink, WebhookSink

HOT = Alert("GpuHot/warning", {"alertname": "GpuHot", "severity": "warning", "gpu": "0"}, "firing", 1_700_000_000.0, 91.0, "celsius", "GPU 0 is at 91 °C.")
OVER = Alert(**{**vars(HOT), "state": "resolved", "resolved_at": 1_700_000_060.5, "labels": {**HOT.labels, "gpu": "1"}, "summary": "GPU 1 is at 88 °C."})
NOTE = Notification("GpuHot", "warning", (HOT,), (OVER,), 1_700_000_060.5)


def test_a_webhook_gets_what_alertmanager_would_send() -> None:
    with stage.receiving() as receiver:
        deliver = Deliver([WebhookSink(receiver.url, {"Authorization": "Bearer x"})])
        deliver.tell([NOTE])
        receiver.wait(lambda came: len(came) == 1)
        deliver.close()
    headers, body = receiver.came[0]
    assert headers["Authorization"] == "Bearer x" and (body["version"], body["status"]) == ("4", "firing")
    assert body["commonLabels"] == {"alertname": "GpuHot", "severity": "warning"}
    assert [(row["status"], row["labels"]["gpu"], row["startsAt"], row["endsAt"], row["annotations"]["summary"]) for row in body["alerts"]] == [
        ("firing", "0", "2023-11-14T22:13:20.000Z", "0001-01-01T00:00:00Z", "GPU 0 is at 91 °C."),
        ("resolved", "1", "2023-11-14T22:13:20.000Z", "2023-11-14T22:14:20.500Z", "GPU 1 is at 88 °C.")]
    assert deliver.counts() == {"webhook": {"sent": 1, "failed": 0}}


def test_mail_has_one_line_for_each_alert_and_the_notebook_keeps_the_newest_first() -> None:
    letters: list[tuple[str, str]] = []
    notebook = NotebookSink(kept=2)
    deliver = Deliver([MailSink(lambda *letter: letters.append(letter)), notebook])
    deliver.tell([NOTE, *(Notification(name, "info", (HOT,), (), 0.0) for name in ("A", "B"))])
    deliver.close()
    assert letters == [("[FIRING:1] warning GpuHot", "GPU 0 is at 91 °C.\nOver: GPU 1 is at 88 °C.\n")], "mail is not sent for what is only info"
    assert [one.name for one in notebook.rows()] == ["B", "A"]
    assert deliver.counts() == {"mail": {"sent": 1, "failed": 0}, "notebook": {"sent": 3, "failed": 0}}


def test_a_place_that_hangs_delays_nobody() -> None:
    with stage.receiving() as receiver:
        receiver.held.set()
        notebook, hanging = NotebookSink(), Outlet("hanging", WebhookSink(receiver.url, seconds=0.1).send, pause=0.0, waiting=2)
        assert hanging.offer(NOTE) and receiver.asked.acquire(timeout=20)
        assert [hanging.offer(NOTE) for _ in range(4)] == [True, True, False, False], "the queue is bounded, and full at once"
        deliver = Deliver([notebook])
        deliver.tell([NOTE])
        until(lambda: notebook.rows())
        deliver.close()
        until(lambda: hanging.failed == 5)
        hanging.close()
    assert hanging.sent == 0


@pytest.mark.parametrize("status", [301, 404, 500])
def test_a_place_that_refuses_is_tried_again_and_then_counted(status: int, caplog: pytest.LogCaptureFixture,
                                                                     monkeypatch: pytest.MonkeyPatch) -> None:
    caplog.set_level(logging.WARNING, "suite.monitoring")
    monkeypatch.setattr(logging.getLogger("suite"), "propagate", True)
    with stage.receiving() as receiver:
        receiver.status = status
        outlet = Outlet("webhook", WebhookSink(receiver.url + "?token=secret").send, pause=0.0)
        outlet.offer(NOTE)
        until(lambda: outlet.failed == 1)
        receiver.status = 200
        outlet.offer(NOTE)
        until(lambda: outlet.sent == 1)
        outlet.close()
    assert len(receiver.came) == 4
    assert f"answered {status}" in caplog.text and "secret" not in caplog.text


def test_a_place_that_is_gone_is_counted_and_the_end_does_not_wait_for_it() -> None:
    begun, stop = threading.Event(), threading.Event()

    def stuck(_: Notification) -> None:
        begun.set()
        stop.wait(60)

    outlet = Outlet("stuck", stuck)
    outlet.offer(NOTE)
    assert begun.wait(20)
    outlet.offer(NOTE)
    outlet.close(0.0)
    assert outlet.failed == 1 and not outlet.offer(NOTE), "one is being sent, one waited, and no more are taken"
    stop.set()
    gone = Outlet("gone", WebhookSink("http://127.0.0.1:9/hook").send, pause=0.0)
    gone.offer(NOTE)
    until(lambda: gone.failed == 1)
    gone.close()


def test_an_error_that_holds_an_address_is_logged_without_it(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger("suite"), "propagate", True)

    def refuse(_: Notification) -> None:
        raise ValueError("https://chat.example/hooks/s3cret is not known")

    outlet = Outlet("webhook", refuse, pause=0.0)
    outlet.offer(NOTE)
    until(lambda: outlet.failed == 1)
    outlet.close()
    assert "ValueError" in caplog.text and "s3cret" not in caplog.text


@pytest.mark.parametrize("url", ["", "s3cret", "ftp://host/s3cret", "http://", "http://host:s3cret"])
def test_an_address_that_cannot_be_one_is_refused_at_once(url: str) -> None:
    for make in (WebhookSink, Alertmanager):
        with pytest.raises(SettingsError, match="write it like https://host/path") as raised:
            make(url)
        assert "s3cret" not in raised.value.message


@pytest.mark.skipif(stage.PROGRAM is None, reason=stage.MISSING)
def test_a_real_alertmanager_gets_alerts_and_their_end(tmp_path: Path) -> None:
    now = time.time()
    with stage.receiving() as receiver, stage.alertmanager(tmp_path, receiver.url) as url:
        forward = Alertmanager(url, pause=0.0)
        alert = Alert(**{**vars(HOT), "active_since": now - 60})
        forward.update([alert, Alert(**{**vars(OVER), "state": "pending", "resolved_at": None})], now)
        receiver.wait(lambda came: any(body["status"] == "firing" for _, body in came))
        shown = httpx.get(url + "/api/v2/alerts").json()
        assert [(row["labels"], row["annotations"], row["status"]["state"]) for row in shown] == [
            ({"alertname": "GpuHot", "severity": "warning", "gpu": "0"}, {"summary": "GPU 0 is at 91 °C."}, "active")]
        forward.update([], now)
        receiver.wait(lambda came: any(body["status"] == "resolved" for _, body in came))
        assert httpx.get(url + "/api/v2/alerts").json() == []
        forward.close()
        assert forward.counts() == {"alertmanager": {"sent": 2, "failed": 0}}


def test_alerts_that_last_are_sent_again_and_their_end_for_a_while() -> None:
    with stage.receiving() as receiver:
        forward = Alertmanager(receiver.url, pause=0.0)
        for moment in (0.0, 15.0, 30.0, EVERY, EVERY + 15):
            forward.update([HOT], moment)
        for moment in (90.0, 105.0, 150.0, 90.0 + 901, 90.0 + 1000):
            forward.update([], moment)
        forward.close()
        bodies = [body for _, body in receiver.came]
    assert [(len(body), body[0]["endsAt"]) for body in bodies] == [
        (1, "1970-01-01T00:04:00.000Z"), (1, "1970-01-01T00:05:00.000Z"), (1, "1970-01-01T00:01:30.000Z"), (1, "1970-01-01T00:01:30.000Z")]
