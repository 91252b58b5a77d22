"""Mail when a call begins to wait for an approval, and when somebody has decided; through the SMTP server of the settings, beside the call itself."""

from __future__ import annotations

import logging
import queue
import smtplib
import ssl
import threading
import time
from contextlib import suppress
from email.message import EmailMessage
from typing import Protocol

from suite.access.approval import SHORT, Approval

WAITING = 1000  # messages that may wait to be sent; more are dropped, and the log says so
TRIES, PAUSE = 3, 2.0  # and seconds before the second try; twice as long before the third
SECONDS = 10.0  # that a server may take to answer
_log = logging.getLogger("suite.access")
_STATES = {"pending": "waits for an approval", "approved": "was approved", "rejected": "was rejected", "cancelled": "was withdrawn"}


class MailSettings(Protocol):
    """The settings that say where mail goes; without `smtp_host` none is sent."""

    smtp_host: str
    smtp_port: int
    smtp_starttls: bool
    smtp_user: str
    smtp_password: str
    smtp_from: str
    smtp_to: str


class Mail:
    """Sends by a thread of its own, which begins with the first message: no call waits for a mail server."""

    def __init__(self, settings: MailSettings, pause: float = PAUSE) -> None:
        self._settings, self._pause = settings, pause
        self._queue: queue.Queue[EmailMessage | None] = queue.Queue(WAITING)
        self._stop, self._lock = threading.Event(), threading.Lock()
        self._thread: threading.Thread | None = None
        self.sent = self.failed = 0

    @property
    def on(self) -> bool:
        """Whether mail is sent at all."""
        return bool(self._settings.smtp_host and self._settings.smtp_to)

    def tell(self, approval: Approval) -> None:
        """Send word of an approval as it is now; never raises and never waits."""
        if not self.on:
            return
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._send_all, name="suite-mail", daemon=True)
                self._thread.start()
        try:
            self._queue.put_nowait(self._message(approval))
        except queue.Full:
            self._lost(f"{WAITING} messages wait already")

    def send(self, subject: str, text: str) -> None:
        """Send a message now, and wait for the server. Raises OSError or SMTPException."""
        self._send(self._addressed(subject, text))

    def close(self) -> None:
        """Send what still waits, for SECONDS at most; what is left then is dropped, and the log says how many."""
        if self._thread is None:
            return
        with suppress(queue.Full):  # then it ends by the stop below
            self._queue.put_nowait(None)
        self._thread.join(SECONDS)
        self._stop.set()
        left = sum(message is not None for message in list(self._queue.queue))
        if left:
            _log.warning("%d messages about approvals were not sent before the end", left)

    def _message(self, approval: Approval) -> EmailMessage:
        state = _STATES.get(approval.state, approval.state)
        until = time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(approval.expires))
        lines = [f"{approval.tool} by {approval.actor} {state}.", "", f"Approval: {approval.id}", f"Why: {approval.why}", f"Until: {until}"]
        if approval.decided_by:
            lines += [f"Decided by: {approval.decided_by} ({approval.rule})", f"Reason: {approval.reason}"]
        else:  # the arguments are not sent: mail is read by more people than those who may decide
            lines += ["", f"To see its arguments:  suite approvals show {approval.id[:SHORT]}",
                      f"To decide:  suite approvals approve {approval.id[:SHORT]} --reason …  (or reject)"]
        return self._addressed(f"[{approval.state}] {approval.tool} by {approval.actor} {state}", "\n".join(lines) + "\n")

    def _addressed(self, subject: str, text: str) -> EmailMessage:
        message = EmailMessage()
        message["Subject"] = subject
        message["From"], message["To"] = self._settings.smtp_from or self._settings.smtp_to, self._settings.smtp_to
        message.set_content(text)
        return message

    def _send_all(self) -> None:
        while True:
            message = self._queue.get()
            if message is None or self._stop.is_set():
                return
            self._try(message)

    def _try(self, message: EmailMessage) -> None:
        for attempt in range(TRIES):
            try:
                self._send(message)
                self.sent += 1
                return
            except (OSError, smtplib.SMTPException) as error:
                why = f"{type(error).__name__}: {error}"
            if attempt + 1 == TRIES or self._stop.wait(self._pause * 2**attempt):
                break
        self._lost(why)

    def _send(self, message: EmailMessage) -> None:
        s = self._settings
        with smtplib.SMTP(s.smtp_host, s.smtp_port, timeout=SECONDS) as server:
            if s.smtp_starttls:
                server.starttls(context=ssl.create_default_context())
            if s.smtp_user:
                server.login(s.smtp_user, s.smtp_password)
            server.send_message(message)

    def _lost(self, why: str) -> None:
        self.failed += 1
        _log.warning("a message about an approval was not sent (%s); look at SMTP_HOST and its log", why[:300])
