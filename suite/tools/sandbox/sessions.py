"""Named sessions: programs that share a folder from one run to the next."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from suite.errors import BadRequest, Denied, TooMany
from suite.tools.sandbox.folder import make_folder, remove_folder
from suite.tools.sandbox.sandbox import Language, Ran, Sandbox

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@-]{0,159}")
_PREFIX = "session-"
_INNOCENT = ("", "halted")


@dataclass(frozen=True)
class Session:
    """What a session has done; times in seconds since 1970. An inactive one is blocked."""

    session_id: str
    created_at: float
    last_activity: float
    execution_count: int
    security_violations: int
    is_active: bool

    def to_dict(self) -> dict[str, Any]:
        """JSON form, times in ISO 8601."""
        times = {name: datetime.fromtimestamp(getattr(self, name), UTC).isoformat() for name in ("created_at", "last_activity")}
        return {"session_id": self.session_id, **times, "execution_count": self.execution_count, "security_violations": self.security_violations,
                "is_active": self.is_active}


@dataclass
class _Open:
    name: str
    folder: Path
    created: float
    last: float
    runs: int = 0
    violations: int = 0
    busy: threading.Lock = field(default_factory=threading.Lock)


class Sessions:
    """At most `most` sessions, each with a folder that its programs share; one that is idle for `idle` seconds ends.

    A violation is a run that a limit ended (time, memory, CPU time, output, processes, disk) or that the kernel killed for a forbidden kind of
    system call; a refused call, an exit status and a run that nobody waited for are none. After `violations` of them a session is blocked
    until it ends.
    """

    def __init__(self, sandbox: Sandbox, *, most: int = 10, idle: float = 3600.0, violations: int = 5,
                 clock: Callable[[], float] = time.time) -> None:
        self.sandbox, self._most, self._idle, self._violations, self._clock = sandbox, most, idle, violations, clock
        self._lock = threading.Lock()
        self._open: dict[str, _Open] = {}

    def run(self, name: str, language: Language, source: str, *, timeout: float = 30.0, halted: Callable[[], bool] = bool) -> Ran:
        """Run a program in the session's folder; a new name opens a session.

        Raises what `Sandbox.run` does, BadRequest for a name that cannot be used, Denied for a blocked session, and TooMany for one session too
        many or one that runs something already.
        """
        session = self._take(name)
        try:
            ran = self.sandbox.run(language, source, timeout=timeout, halted=halted, folder=session.folder)
            session.violations += ran.ended not in _INNOCENT
            return ran
        finally:
            session.runs += 1
            session.last = self._clock()
            session.busy.release()

    def list(self) -> list[Session]:
        """The open sessions, oldest first."""
        self.cleanup()
        with self._lock:
            return [Session(one.name, one.created, one.last, one.runs, one.violations, one.violations < self._violations)
                    for one in self._open.values()]

    def end(self, name: str) -> bool:
        """End a session and remove its folder; false when there is none. Raises TooMany while it runs something."""
        with self._lock:
            session = self._open.get(name)
            if session is None:
                return False
            if not session.busy.acquire(blocking=False):
                raise _busy(name)
            self._remove(session)
        return True

    def cleanup(self) -> int:
        """End the sessions that were idle for too long; gives how many."""
        with self._lock:
            old = [one for one in self._open.values() if self._clock() - one.last >= self._idle and one.busy.acquire(blocking=False)]
            for one in old:
                self._remove(one)
        return len(old)

    def close(self) -> None:
        """End every session that runs nothing."""
        with self._lock:
            for one in [one for one in self._open.values() if one.busy.acquire(blocking=False)]:
                self._remove(one)

    def _take(self, name: str) -> _Open:
        """The session, marked as busy."""
        if not _NAME.fullmatch(name):
            raise BadRequest(f"Session {name[:80]!r} is not a name; use up to 160 letters, digits and . _ @ - only.", param="session")
        self.cleanup()
        with self._lock:
            session = self._open.get(name)
            if session is None:
                if len(self._open) >= self._most:
                    raise TooMany(f"{self._most} sessions are open, as many as there may be; end one, or wait until one was idle for "
                                  f"{self._idle:.0f} s.", retry_after=60)
                now = self._clock()
                session = self._open[name] = _Open(name, make_folder(self.sandbox.folder, _PREFIX), now, now)
            if session.violations >= self._violations:
                raise Denied(f"Session {name!r} is blocked after {session.violations} runs that broke a limit; use another one.", param="session")
            if not session.busy.acquire(blocking=False):
                raise _busy(name)
            return session

    def _remove(self, session: _Open) -> None:
        del self._open[session.name]
        remove_folder(session.folder)


def _busy(name: str) -> TooMany:
    return TooMany(f"Session {name!r} runs a program already; wait for its end, or use another session.", retry_after=1)
