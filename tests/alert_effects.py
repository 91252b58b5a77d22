"""What can be seen of the settings that say what is watched and who is told."""

from __future__ import annotations

from typing import Any

import alertmanager_stage as stage

from suite.checks.watched import watched
from suite.errors import NotReady
from suite.monitoring.alert import FIRING, Alert
from suite.monitoring.notification import Notification
from suite.series import told, unwatched
from suite.settings import load

ALERT = Alert("GpuHot/warning", {"alertname": "GpuHot", "severity": "warning"}, FIRING, 0.0, summary="It is hot.", fired_at=0.0)


def switched_off(**settings: Any) -> set[str]:
    """The ports that a stack with these settings does not open."""
    return unwatched(load(settings, {}))


def posted(**settings: str) -> tuple[dict[str, str], Any]:
    """Headers and body of what a stack with these settings tells; `{url}` in a setting is where somebody listens."""
    with stage.receiving() as receiver:
        found = told(load({name: value.format(url=receiver.url) for name, value in settings.items()}, {}), lambda subject, text: None)
        if found.alertmanager is not None:
            found.alertmanager.update([ALERT], 1.0)
        for sink in found.sinks:
            sink.send(Notification("GpuHot", "warning", (ALERT,), (), 1.0))
        receiver.wait(lambda came: len(came) == 1)
        if found.alertmanager is not None:
            found.alertmanager.close()
        return receiver.came[0]


def asked_of(target: Any) -> str:
    """What the checks of monitoring say when the Prometheus of the settings is not there."""
    try:
        watched(target)
    except NotReady as error:
        return str(error)
    return ""


EFFECTS = {
    "monitoring_enabled": lambda odd, _: switched_off(monitoring_enabled=False) == {"monitoring", "alerts", "dashboard"} and switched_off() == set(),
    "monitoring_interval": lambda odd, _: odd.monitor.interval == 2,
    "monitoring_days": lambda odd, _: odd.monitor.history.days == 7,
    "alertmanager_enabled": lambda odd, _: switched_off(alertmanager_enabled=False) == {"alerts"} and not told(
        load({"alertmanager_enabled": False}, {}), lambda subject, text: None).telling,
    "prometheus_url": lambda odd, _: asked_of(odd.target).startswith("Nothing answers GET http://127.0.0.1:9/api/v1/"),
    "alertmanager_url": lambda odd, _: posted(alertmanager_url="{url}")[1][0]["labels"]["alertname"] == "GpuHot",
    "alert_webhook_url": lambda odd, _: posted(alert_webhook_url="{url}")[1]["alerts"][0]["annotations"]["summary"] == "It is hot.",
    "alert_webhook_token": lambda odd, _: posted(alert_webhook_url="{url}", alert_webhook_token="t-1")[0]["Authorization"] == "Bearer t-1",
}
