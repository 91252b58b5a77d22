"""Hands notifications to where people look, each place by a thread of its own: one that hangs delays nobody, least of all the evaluation."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Protocol

from suite.monitoring.notification import Notification

WAITING = 100  # notifications that may wait for one place; more are dropped and counted as failed
TRIES, PAUSE = 3, 2.0  # and seconds before the second try; twice as long before the third
SECONDS = 5.0  # that the end waits for what is still to be sent
_log = logging.getLogger("suite.monitoring")


class Sink(Protocol):
    """A place where notifications go. `send` raises an Exception when it could not; it should give up by itself after some seconds."""

    name: str
    severities: frozenset[str]

    def send(self, notification: Notification) -> None: ...


class Outlet:
    """A bounded queue and the thread that empties it with `send`; the thread begins with the first item."""

    def __init__(self, name: str, send: Callable[[Any], None], pause: float = PAUSE, waiting: int = WAITING) -> None:
        self.name, self.sent, self.failed = name, 0, 0
        self._send, self._pause = send, pause
        self._queue: queue.Queue[Any] = queue.Queue(waiting)
        self._stop, self._lock = threading.Event(), threading.Lock()
        self._thread: threading.Thread | None = None

    def offer(self, item: Any) -> bool:
        """Queue an item; False when it was dropped since too many wait, or the outlet is closed. Never waits and never raises."""
        with self._lock:
            if self._stop.is_set():
                return False
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=f"suite-notify-{self.name}", daemon=True)
                self._thread.start()
        try:
            self._queue.put_nowait(item)
        except queue.Full:
            self._lost(f"{self._queue.maxsize} wait already")
            return False
        return True

    def close(self, seconds: float = SECONDS) -> None:
        """Send what still waits, for so many seconds at most; what is left then counts as failed."""
        with self._lock:
            thread, self._thread = self._thread, None
        if thread is None:
            self._stop.set()
            return
        with suppress(queue.Full):  # then it ends by the stop below
            self._queue.put_nowait(None)
        thread.join(seconds)
        self._stop.set()
        for left in list(self._queue.queue):
            if left is not None:
                self._lost("the stack ends")

    def _run(self) -> None:
        while True:
            item = self._queue.get()
            if item is None or self._stop.is_set():
                return
            self._try(item)

    def _try(self, item: Any) -> None:
        for attempt in range(TRIES):
            try:
                self._send(item)
            except Exception as error:  # noqa: BLE001 - whatever a place raises, the others go on
                why = type(error).__name__ if "://" in str(error) else f"{type(error).__name__}: {error}"  # an address may hold a secret
            else:
                self.sent += 1
                return
            if attempt + 1 == TRIES or self._stop.wait(self._pause * 2**attempt):
                break
        self._lost(why)

    def _lost(self, why: str) -> None:
        self.failed += 1
        _log.warning("a notification was not delivered by %s (%s); look at its address and whether it answers", self.name, why[:300])


class Deliver:
    """All places of one stack."""

    def __init__(self, sinks: Sequence[Sink], pause: float = PAUSE) -> None:
        self._outlets = [(sink.severities, Outlet(sink.name, sink.send, pause)) for sink in sinks]

    def tell(self, notifications: Sequence[Notification]) -> None:
        """Queue notifications for every place that takes their severity; never waits and never raises."""
        for notification in notifications:
            for severities, outlet in self._outlets:
                if notification.severity in severities:
                    outlet.offer(notification)

    def counts(self) -> dict[str, dict[str, int]]:
        """By place: how many notifications were `sent` and how many `failed`."""
        return {outlet.name: {"sent": outlet.sent, "failed": outlet.failed} for _, outlet in self._outlets}

    def close(self) -> None:
        """Send what still waits, for some seconds at most."""
        for _, outlet in self._outlets:
            outlet.close()
