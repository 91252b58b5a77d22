"""Where notifications go: a list that a notebook shows, mail, and a webhook."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping

import httpx

from suite.errors import SettingsError, UpstreamError
from suite.monitoring.notification import Notification

PEOPLE = frozenset({"critical", "warning", "info"})
MAILED = frozenset({"critical", "warning"})
ALL = frozenset({"critical", "warning", "info", "none"})  # with the dead man's switch
KEPT = 200
SECONDS = 5.0


class NotebookSink:
    """The last notifications of this stack, newest first, for a panel to show."""

    name = "notebook"
    severities = PEOPLE

    def __init__(self, kept: int = KEPT) -> None:
        self._rows: deque[Notification] = deque(maxlen=kept)
        self._lock = threading.Lock()

    def send(self, notification: Notification) -> None:
        """Keep it."""
        with self._lock:
            self._rows.appendleft(notification)

    def rows(self) -> tuple[Notification, ...]:
        """What was told, newest first."""
        with self._lock:
            return tuple(self._rows)


class MailSink:
    """Mail by a function that takes subject and text and raises when it could not send them."""

    name = "mail"

    def __init__(self, send: Callable[[str, str], None], severities: frozenset[str] = MAILED) -> None:
        self.severities = severities
        self._send = send

    def send(self, notification: Notification) -> None:
        """Send it; raises what the function raises."""
        self._send(notification.title, notification.text + "\n")


class WebhookSink:
    """A POST of Alertmanager's webhook body to an address, which answers with a status below 300."""

    name = "webhook"

    def __init__(self, url: str, headers: Mapping[str, str] | None = None, severities: frozenset[str] = ALL, seconds: float = SECONDS) -> None:
        """Raises SettingsError for an address that cannot be one."""
        self.severities = severities
        self._url, self._headers, self._seconds = address(url), dict(headers or {}), seconds

    def send(self, notification: Notification) -> None:
        """Send it. Raises UpstreamError when the address refuses it, httpx' errors when it cannot be reached or takes longer than `seconds`."""
        post(self._url, notification.to_dict(), self._headers, self._seconds)


def address(url: str) -> str:
    """The URL itself. Raises SettingsError, without the URL, which may hold a secret, when nothing can be sent there."""
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        parsed = httpx.URL("")
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise SettingsError("The address for alerts is no URL of a web server; write it like https://host/path.")
    return url


def post(url: str, body: object, headers: Mapping[str, str], seconds: float) -> None:
    """POST JSON. The answer's body is not read: it could go on forever. The error of a refusal does not hold the address, which may hold a secret."""
    with httpx.stream("POST", url, json=body, headers=dict(headers), timeout=seconds, follow_redirects=False) as answer:
        if answer.status_code >= 300:
            raise UpstreamError(f"The receiver of notifications answered {answer.status_code}; look at its log.")
