"""A rehearsal of the way from a metric to whoever is told: a number that a rule fires on, for as long as somebody who checks the way wants it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import httpx
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from suite.errors import BadRequest, NotFound, UpstreamError
from suite.monitoring.notification import Notification
from suite.monitoring.sink import SECONDS, post
from suite.monitoring.table import gauge_family

NAME = "AlertRehearsal"  # of the rule
MARKER = "marker"  # the label that tells one rehearsal from another
LASTS = 600.0  # seconds after which one that nobody ended is over
MOST = 8  # at once
log = logging.getLogger("suite.monitoring")


@dataclass(frozen=True)
class _Rehearsal:
    port: int  # 0 where nobody listens
    until: float


class Rehearsals(Collector):
    """What is rehearsed now, as `suite_alert_rehearsal`, and who of this machine listens for it. Safe for threads."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock, self._lock = clock, threading.Lock()
        self._known: dict[str, _Rehearsal] = {}

    def begin(self, marker: str, port: int = 0) -> None:
        """Begin one under a name of letters and digits; `port` is where somebody on 127.0.0.1 listens for its notifications, 0 for nobody.

        Raises BadRequest for a marker or port that is none, and when too many are on already.
        """
        if not (marker.isascii() and marker.isalnum() and len(marker) <= 40):
            raise BadRequest(f"marker is {marker[:60]!r} but must be up to 40 letters and digits.", param="marker")
        if not 0 <= port <= 65535:
            raise BadRequest(f"port is {port} but must be one of this machine, or 0.", param="port")
        with self._lock:
            now = self._clock()
            # one that is over is kept for a while, since its end is still to be told
            self._known = {name: one for name, one in self._known.items() if now - one.until < LASTS}
            if sum(now < one.until for one in self._known.values()) >= MOST:
                raise BadRequest(f"{MOST} rehearsals are on; end one, or wait ten minutes until the oldest is over.")
            self._known[marker] = _Rehearsal(port, now + LASTS)

    def end(self, marker: str) -> None:
        """End one; raises NotFound when there is none of that name."""
        with self._lock:
            if marker not in self._known:
                raise NotFound(f"There is no rehearsal {marker[:60]!r}; it is over, or was never begun.")
            self._known[marker] = replace(self._known[marker], until=self._clock())

    def send(self, notification: Notification) -> None:
        """Post a notification about rehearsals to those who listen for them; who does not listen any more is forgotten, and keeps nobody waiting."""
        markers = {alert.labels.get(MARKER, "") for alert in (*notification.firing, *notification.resolved)}
        with self._lock:
            listening = {marker: one.port for marker, one in self._known.items() if marker in markers and one.port}
        for marker, port in listening.items():
            try:
                post(f"http://127.0.0.1:{port}/", notification.to_dict(), {}, SECONDS)  # no other address: the request names a port alone
            except (httpx.HTTPError, UpstreamError) as error:
                log.info("nobody listens for rehearsal %s at port %d any more (%s)", marker, port, type(error).__name__)
                self._forget(marker)

    def _forget(self, marker: str) -> None:
        with self._lock:
            if marker in self._known:
                self._known[marker] = replace(self._known[marker], port=0)

    def collect(self) -> Iterable[Metric]:
        """One sample for each that is on; 0 without a marker when none is."""
        with self._lock:
            on = [marker for marker, one in self._known.items() if self._clock() < one.until]
        family = gauge_family("suite_alert_rehearsal")
        for marker in on or [""]:
            family.add_metric((marker,), float(bool(marker)))
        yield family

    def describe(self) -> Iterable[Metric]:
        """Nothing: the name is known."""
        return []
