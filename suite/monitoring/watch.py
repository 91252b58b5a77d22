"""Evaluates the rules at an interval, tells what is to be told, and remembers all of it across a restart."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from suite.monitoring.alertmanager import Alertmanager
from suite.monitoring.alerts import Alerts, Changes
from suite.monitoring.deliver import Deliver
from suite.monitoring.notify import Notify
from suite.monitoring.samples import Samples

FILE = "alerts.json"
INTERVAL = 15.0  # seconds between two evaluations
REMEMBERED = 60.0  # seconds after which the file is written although nothing changed: it says when the rules were last evaluated
_log = logging.getLogger("suite.monitoring")


class Watch:
    """The alerts of one stack at work. Samples are read and rules evaluated in one thread; nothing that is told can hold it up."""

    def __init__(self, samples: Samples, alerts: Alerts, notify: Notify, deliver: Deliver, alertmanager: Alertmanager | None = None,
                 folder: Path | None = None, interval: float = INTERVAL, clock: Callable[[], float] = time.time) -> None:
        """Go on from what is remembered in `alerts.json` of `folder`; a damaged file is named in the log and counts as none."""
        self.alerts, self.notify, self.deliver, self.alertmanager = alerts, notify, deliver, alertmanager
        self._samples, self._interval, self._clock = samples, interval, clock
        self._file = folder / FILE if folder else None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._evaluated_at, self._written_at = clock(), float("-inf")
        self.failures: dict[str, str] = {}
        self._restore()

    def start(self) -> None:
        """Evaluate at once, and then every `interval` seconds by a thread of its own until `stop`."""
        self._thread = threading.Thread(target=self._run, name="suite-rules", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End, remember, and send what still waits; safe to call twice."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self._remember(self._clock())
        self.deliver.close()
        if self.alertmanager is not None:
            self.alertmanager.close()

    def step(self) -> Changes:
        """Evaluate all rules now and tell what is to be told."""
        at = self._clock()
        changes = self.alerts.evaluate(self._samples, at)
        for rule, why in (changes.failed or {}).items():
            if rule not in self.failures:  # once, not at every evaluation
                _log.warning("the rule %s could not be evaluated: %s", rule, why)
        self.failures = dict(changes.failed or {})
        active = self.alerts.active()
        told = self.notify.update(active, at)
        self.deliver.tell(told)
        if self.alertmanager is not None:
            self.alertmanager.update(active, at)
        self._evaluated_at = at
        if told or changes.fired or changes.resolved or not 0 <= at - self._written_at < REMEMBERED:
            self._remember(at)
        return changes

    @property
    def age(self) -> float:
        """Seconds since the rules were last evaluated."""
        return max(0.0, self._clock() - self._evaluated_at)

    def counts(self) -> dict[tuple[str, str], int]:
        """How many alerts there are by (severity, state)."""
        return dict(Counter((alert.severity, alert.state) for alert in self.alerts.active()))

    def sent(self) -> dict[str, dict[str, int]]:
        """By place: how many notifications were `sent` and how many `failed`."""
        return self.deliver.counts() | (self.alertmanager.counts() if self.alertmanager is not None else {})

    def _run(self) -> None:
        due = time.monotonic()
        while not self._stop.is_set():
            try:
                self.step()
            except Exception:  # noqa: BLE001 - a fault of ours must not end the watch; EvaluationStalled tells it to a Prometheus outside
                _log.exception("the rules could not be evaluated")
            due = max(due + self._interval, time.monotonic())
            self._stop.wait(due - time.monotonic())

    def _restore(self) -> None:
        if self._file is None or not self._file.exists():
            return
        try:
            state: dict[str, Any] = json.loads(self._file.read_text(encoding="utf-8"))
            self.alerts.restore(state["alerts"], self._clock())
            self.notify.restore(state["told"])
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            _log.warning("what is remembered of alerts in %s cannot be read (%s: %s); it begins anew", self._file, type(error).__name__, error)

    def _remember(self, at: float) -> None:
        self._written_at = at
        if self._file is None:
            return
        partial = self._file.with_suffix(".partial")
        try:
            with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "w", encoding="utf-8") as file:
                json.dump({"alerts": self.alerts.state(), "told": self.notify.state()}, file, ensure_ascii=False)
            os.replace(partial, self._file)
        except OSError as error:
            _log.warning("alerts cannot be remembered in %s (%s); a restart will tell them again", self._file, error.strerror)
