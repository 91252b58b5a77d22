"""Alertmanager's configuration: who is told by the settings, at the pace and under the inhibitions of the suite's own notifications."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from suite.monitoring.notify import DOWN, PACES
from suite.monitoring.rule import duration
from suite.monitoring.sink import ALL, MAILED, address
from suite.monitoring.table import TABLE

WEBHOOK_TOKEN, MAIL_PASSWORD = "secrets/alert_webhook_token", "secrets/smtp_password"  # files that hold a secret and nothing else
NOBODY = "nobody"


class TellSettings(Protocol):
    """The settings that say who is told."""

    alertmanager_enabled: bool
    alert_webhook_url: str
    alert_webhook_token: str
    smtp_host: str
    smtp_port: int
    smtp_starttls: bool
    smtp_user: str
    smtp_password: str
    smtp_from: str
    smtp_to: str


def secret_files(settings: TellSettings) -> dict[str, str]:
    """The secrets of the receivers, by the file that the configuration names."""
    told = settings.alertmanager_enabled
    found = {WEBHOOK_TOKEN: settings.alert_webhook_token if settings.alert_webhook_url and told else "",
             MAIL_PASSWORD: settings.smtp_password if _mails(settings) and settings.smtp_user else ""}
    return {name: text for name, text in found.items() if text}


def alertmanager_config(settings: TellSettings, folder: str) -> dict[str, Any]:
    """The configuration for a bundle in `folder`. Raises SettingsError for a webhook's address that cannot be one."""
    routes = [{"matchers": [f'severity="{severity}"'], "receiver": severity, "group_wait": duration(pace.wait),
               "group_interval": duration(pace.interval), "repeat_interval": duration(pace.repeat)} for severity, pace in PACES.items()]
    return {"route": {"receiver": NOBODY, "group_by": ["alertname", "severity"], "routes": routes},
            "receivers": [{"name": NOBODY}, *({"name": severity, **_told(settings, severity, folder)} for severity in PACES)],
            "inhibit_rules": _inhibited()}


def _told(settings: TellSettings, severity: str, folder: str) -> Mapping[str, Any]:
    made: dict[str, Any] = {}
    files = secret_files(settings)
    if settings.alertmanager_enabled and settings.alert_webhook_url and severity in ALL:
        http = {"http_config": {"authorization": {"credentials_file": f"{folder}/{WEBHOOK_TOKEN}"}}} if WEBHOOK_TOKEN in files else {}
        made["webhook_configs"] = [{"url": address(settings.alert_webhook_url), "send_resolved": True, **http}]
    if _mails(settings) and severity in MAILED:
        login = {"auth_username": settings.smtp_user} if settings.smtp_user else {}
        password = {"auth_password_file": f"{folder}/{MAIL_PASSWORD}"} if MAIL_PASSWORD in files else {}
        made["email_configs"] = [{"to": settings.smtp_to, "from": settings.smtp_from or settings.smtp_to, "send_resolved": True, **login, **password,
                                  "smarthost": f"{settings.smtp_host}:{settings.smtp_port}", "require_tls": settings.smtp_starttls}]
    return made


def _mails(settings: TellSettings) -> bool:
    return bool(settings.alertmanager_enabled and settings.smtp_host and settings.smtp_to)


def _inhibited() -> list[dict[str, Any]]:
    """The more severe of two alerts about the same, and a part that is down over whatever else is said of it."""
    same = ["alertname", "job", "instance", *sorted({label for row in TABLE for label in row.labels} - {"severity"})]
    ranked = [("critical", "warning|info|none"), ("warning", "info|none"), ("info", "none")]
    return [*({"source_matchers": [f'severity="{high}"'], "target_matchers": [f'severity=~"{low}"'], "equal": same} for high, low in ranked),
            {"source_matchers": [f'alertname="{DOWN}"'], "target_matchers": ['severity=~"warning|info|none"', f'alertname!="{DOWN}"'],
             "equal": ["job", "instance"]}]
