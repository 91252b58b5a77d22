"""What becomes of the stack itself, as entries of the trail: it started, under which policy and settings, a part was started again, it stopped."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import Any

from suite.access.audit import Audit
from suite.access.event import Event, writable
from suite.access.mode import mode_of
from suite.access.policy import Policy
from suite.errors import StorageError
from suite.settings import Settings

STACK = "(stack)"  # whose entries these are: nobody asked for them, and no actor can have this name
# with the mode in force: what decides who may do what, and where; none is a secret
WATCHED = ("stage", "rbac_enabled", "rate_limit_enabled", "sandbox_enabled", "approval_workflow_enabled", "approval_timeout", "mcp_user_id", "bind",
           "workspace_dir", "workspace_roots", "rag_roots", "web_allowed")
log = logging.getLogger("suite.access")


class Lifecycle:
    """The entries of one run of the stack of the data directory `data`; `host` is the run's id."""

    def __init__(self, audit: Audit, policy: Policy, settings: Settings, data: Path, host: str, version: str) -> None:
        self._audit, self._running = audit, False
        values = settings.values()
        under = {"security_mode": mode_of(settings).name, **{name: values[name] for name in WATCHED}}
        self._facts = {"version": version, "host": host, "pid": os.getpid(), "policy": policy.digest, "settings": under}
        # as it will be stored, so that it can be looked for and compared
        self._stack = str(writable(Event(STACK, "start", str(data), "done", ""))["subject"])

    def started(self) -> Event:
        """Write what is otherwise than at the last start, and that this one begins; to be called before any call can be taken.

        Raises StorageError: a stack that cannot write its trail does not start.
        """
        last = self._last()
        ended = None if last is None else self._ended(last)
        event = Event(STACK, "start", self._stack, "done", self._reason(last, ended), {
            **self._facts, "previous": None if last is None else last.seq, "previous_ended": ended})
        if last is not None:  # before the start: were this process killed in between, the next one would still find the difference
            for change in _changes(_detail(last), json.loads(writable(event)["detail"])):
                self._audit.record(change)
        recorded = self._audit.record(event)
        self._running = True
        return recorded

    def restarted(self, part: str, why: str, up: bool) -> None:
        """Write that a part died by itself and was started again, or (`up` is False) stays down.

        What cannot be written is logged: a part that serves again must not be taken down for it.
        """
        try:
            self._audit.record(Event(STACK, "restart", part, "done" if up else "failed", why, {"host": self._facts["host"]}))
        except StorageError as error:
            log.error("the restart of %s is not in the audit trail: %s", part, error)

    def stopped(self, whole: bool) -> None:
        """Write that the stack ends; `whole` is whether its start had come to its end. Nothing when it never began, or was stopped before.

        Raises StorageError; the next start says then that this run did not end by itself.
        """
        if not self._running:
            return
        self._running = False
        reason = "The stack was stopped." if whole else "The start was broken off, and what had been started was stopped."
        self._audit.record(Event(STACK, "stop", self._stack, "done" if whole else "failed", reason, {"host": self._facts["host"]}))

    def _last(self) -> Event | None:
        """The last start of this data directory; where it has none, because it was moved or restored elsewhere, the last one on the trail."""
        found = self._audit.find(1, kind="start", subject=self._stack) or self._audit.find(1, kind="start")
        return found[0] if found else None

    def _ended(self, last: Event) -> bool:
        stops = self._audit.find(1, kind="stop", subject=last.subject)
        return bool(stops) and stops[0].seq > last.seq

    def _reason(self, last: Event | None, ended: bool | None) -> str:
        under = self._facts["settings"]
        begins = f"Version {self._facts['version']} starts in stage {under['stage']!r} and security mode {under['security_mode']!r}"
        if last is None:
            return f"{begins}; no start stands on this trail before it."
        run = f"the last run (entry {last.seq}{'' if last.subject == self._stack else f', of {last.subject}'})"
        if ended:
            return f"{begins}; {run} was stopped."
        return f"{begins}; {run} did not end by itself: it was killed, or the power failed, or this is a copy of the trail from while it ran."


def _changes(before: dict[str, Any], now: dict[str, Any]) -> list[Event]:
    """An event for another policy, and one for the settings that are others."""
    found = []
    if before.get("policy") != now["policy"]:
        found.append(Event(STACK, "policy", "policy.toml", "done", "The policy is not the one of the last start.",
                           {"before": before.get("policy"), "now": now["policy"]}))
    old = before.get("settings")
    old = old if isinstance(old, dict) else {}
    # a setting that the last start did not record is new, not changed
    others = {name: {"before": old[name], "now": value} for name, value in now["settings"].items() if name in old and old[name] != value}
    if others:
        told = "; ".join(f"{name} {change['before']!r} → {change['now']!r}" for name, change in others.items())
        found.append(Event(STACK, "settings", ", ".join(others), "done", f"Otherwise than at the last start: {told}.", others))
    return found


def _detail(event: Event) -> dict[str, Any]:
    return event.detail if isinstance(event.detail, dict) else {}  # an edited entry can hold anything; Audit.verify names it
