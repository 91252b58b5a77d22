"""Approve-all, for emergencies: a time in which calls go ahead without an approval. An administrator opens it, and it ends by itself."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from suite.access.actor import Actors
from suite.access.audit import Audit
from suite.access.caller import Caller
from suite.access.decide import decide_act
from suite.access.event import Event
from suite.access.table import openings as rows
from suite.errors import BadRequest, Denied

if TYPE_CHECKING:
    from suite.storage.engine import Storage

ADMIN = "access.admin"
MOST_MINUTES = 60
_log = logging.getLogger("suite.access")


@dataclass(frozen=True)
class Opening:
    """Who approved everything, why, and from when to when (UTC seconds since 1970)."""

    by: str
    reason: str
    begun: float
    ends: float

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {"by": self.by, "reason": self.reason, "begun": self.begun, "ends": self.ends}


class Openings:
    """The table of those times; what stands in it holds for every process on the database, and across restarts."""

    def __init__(self, storage: Storage, actors: Actors, audit: Audit, clock: Callable[[], float] = time.time) -> None:
        self.storage, self.actors, self.audit, self._clock = storage, actors, audit, clock

    def now(self) -> Opening | None:
        """The time that is open now; None when there is none."""
        now = self._clock()
        with self.storage.read() as connection:
            row = connection.execute(rows.select().where(rows.c.begun <= now, rows.c.ends > now).order_by(rows.c.ends.desc()).limit(1)).first()
        return None if row is None else Opening(row.by, row.reason, row.begun, row.ends)

    def open(self, minutes: float, reason: str, caller: Caller) -> Opening:
        """Approve everything for up to MOST_MINUTES. The caller needs a key with `access.admin`; it is recorded and logged as a warning.

        Raises Denied, or BadRequest for other minutes or without a reason.
        """
        self._must(caller, "approve everything")
        if not 0 < minutes <= MOST_MINUTES:
            raise BadRequest(f"Everything may be approved for up to {MOST_MINUTES} minutes, not {minutes!r}.", param="minutes")
        if not reason.strip():
            raise BadRequest("Say why everything is approved: the reason is part of the record.", param="reason")
        now = self._clock()
        opened = Opening(caller.actor, reason, now, now + minutes * 60)
        self._record(caller, f"Everything is approved for {minutes:g} minutes: {reason}", opened)
        with self.storage.begin() as connection:
            connection.execute(rows.insert().values(**opened.to_dict()))
        _log.warning("ALERT: %s approved all calls for %g minutes: %s", caller.actor, minutes, reason)
        return opened

    def close(self, caller: Caller) -> Opening | None:
        """End it now; gives what was open. Raises Denied."""
        self._must(caller, "end that everything is approved")
        opened, now = self.now(), self._clock()
        if opened is not None:
            self._record(caller, "Calls need their approvals again.", opened)
            with self.storage.begin() as connection:
                connection.execute(rows.update().where(rows.c.ends > now).values(ends=now))
            _log.warning("%s ended that all calls are approved", caller.actor)
        return opened

    def _must(self, caller: Caller, what: str) -> None:
        decision = decide_act(self.actors.find(caller.actor), ADMIN, self.actors.policy, asked=caller.actor)
        if not decision.allowed or caller.owner:
            reason = decision.reason if not decision.allowed else f"To {what} takes the API key of an administrator, also in the kernel."
            self.audit.record(Event(caller.actor, "approve_all", "all", "denied", reason, {"key": caller.key, "client": caller.client}))
            raise Denied(reason, actor=caller.actor)

    def _record(self, caller: Caller, reason: str, opened: Opening) -> None:
        about = {**opened.to_dict(), "key": caller.key, "client": caller.client}
        self.audit.record(Event(caller.actor, "approve_all", "all", "allowed", reason, about))
