"""The part memory-maintainer: runs jobs on a schedule in one thread, and shows by a heartbeat that it does."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from suite.errors import NotFound, NotReady, SettingsError, SuiteError
from suite.maintainer.job import Job, JobState
from suite.maintainer.table import jobs as table
from suite.monitoring.probe import State, bad, good

BEAT = 5.0
RETRY = 60.0  # seconds after which a failed job is tried again, or sooner where it runs more often
WAIT = 10.0
_log = logging.getLogger("suite.maintainer")


class Maintainer:
    """Runs `jobs` one after the other. `beat` is the longest time between two heartbeats, in seconds; `clock` gives UTC seconds since 1970."""

    name = "memory-maintainer"

    def __init__(self, storage: Any, jobs: Sequence[Job], *, beat: float = BEAT, clock: Callable[[], float] = time.time) -> None:
        names = [job.name for job in jobs]
        if len(set(names)) != len(names):
            raise SettingsError(f"Two jobs of the maintainer share a name; rename one of {', '.join(names)}.")
        self._storage, self._jobs, self._beat, self._clock = storage, {job.name: job for job in jobs}, beat, clock
        self._states = {name: JobState(name) for name in names}
        self._asked: set[str] = set()
        self._running: tuple[str, float] | None = None  # name, monotonic start
        self._last: tuple[float, float, int] | None = None  # clock, monotonic, how many so far
        self._stop = False
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self.restarts = 0  # threads begun after the first

    def start(self) -> None:
        """Read how the jobs stood and start the thread; a job whose time has passed meanwhile runs at once."""
        if self._thread is not None and self._thread.is_alive():
            return
        with self._storage.begin() as connection:
            known = {row.name: row for row in connection.execute(sa.select(table))}
        now = self._clock()
        for name, job in self._jobs.items():
            row = known.get(name)
            if row is not None:
                self._states[name] = JobState(name, row.runs, row.started, row.finished, row.error)
            self._states[name] = replace(self._states[name], due=job.due(self._states[name].finished, now))
        self.restarts += self._thread is not None
        self._stop = False
        self._mark()
        self._thread = threading.Thread(target=self._loop, name="suite-maintainer", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread; a job that is running is waited for, WAIT seconds at most."""
        with self._changed:
            self._stop = True
            self._changed.notify_all()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(WAIT)
            if self._thread.is_alive():
                _log.warning("the maintainer still runs the job %s; it ends with it", self._running and self._running[0])

    def wake(self) -> None:
        """Have the thread look at the clock now, because it was moved; it does so by itself every few seconds."""
        with self._changed:
            self._changed.notify_all()

    @property
    def heartbeat(self) -> dict[str, Any]:
        """`at` (UTC seconds since 1970) and `age_s` of the last beat, None before the first; `jobs`: each job's state by name."""
        last, states = self._last, dict(self._states)
        return {"at": None if last is None else last[0], "age_s": None if last is None else round(time.monotonic() - last[1], 3),
                "jobs": {name: state.to_dict() for name, state in states.items()}}

    def run_now(self, name: str) -> JobState:
        """Have the thread run one job next, wait for it, and return how it went; a failure is in `error`, not raised.

        Raises NotFound for an unknown job, NotReady when the maintainer is not running or the job takes longer than its limit.
        """
        if name not in self._jobs:
            raise NotFound(f"The maintainer has no job {name!r}; it has {', '.join(self._jobs) or 'none'}.", param="name")
        with self._changed:
            self._alive_or_raise()
            before = self._states[name].runs + (self._running is not None and self._running[0] == name)  # a run already begun is not ours
            self._asked.add(name)
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._states[name].runs > before or self._stop, timeout=self._jobs[name].limit)
            if self._states[name].runs <= before:
                raise NotReady(f"The job {name!r} did not finish within {self._jobs[name].limit:g} s; see its state in `heartbeat`.", part=self.name)
            return self._states[name]

    def live(self) -> State:
        """The thread exists."""
        if self._thread is None or not self._thread.is_alive():
            return bad("The maintainer's thread is not running; start the suite again.")
        return good()

    def ready(self) -> State:
        """The heart beats (not older than three beats, but for a job within its limit) and no job's last run failed."""
        reasons = list(self.live().reasons)
        beat, running = self.heartbeat, self._running
        busy = running is not None and time.monotonic() - running[1] <= self._jobs[running[0]].limit
        if not reasons and not busy and (beat["age_s"] is None or beat["age_s"] > 3 * self._beat):
            doing = f" and has run {running[0]!r} for too long" if running else ""
            reasons.append(f"The maintainer's last heartbeat is {beat['age_s']} s old{doing}; start the suite again.")
        reasons += [f"The job {name!r} failed: {state.error}" for name, state in dict(self._states).items() if state.error]
        facts = {"age_s": beat["age_s"], "beat_s": self._beat, "running": running[0] if running else None,
                 "jobs": {name: {"runs": state["runs"], "due": state["due"], "error": state["error"]} for name, state in beat["jobs"].items()}}
        return bad(*reasons, **facts) if reasons else good(**facts)

    def deep(self) -> State:
        """The thread answers a call with a fresh beat."""
        with self._changed:
            before = self._last[2] if self._last else 0
            self._changed.notify_all()
            answered = self._changed.wait_for(lambda: self._last is not None and self._last[2] > before, timeout=WAIT)
        if answered or self._running is not None:
            return self.ready()
        return bad(f"The maintainer did not answer within {WAIT:g} s; start the suite again.", **self.heartbeat)

    def _loop(self) -> None:
        while True:
            self._mark()
            name = self._next()
            if name is not None:
                self._run(self._jobs[name])
            with self._changed:
                if self._stop:
                    return
                if self._next() is None:
                    now = self._clock()
                    self._changed.wait(max(0.0, min([self._beat, *(state.due - now for state in self._states.values() if state.due is not None)])))

    def _next(self) -> str | None:
        """The job that is asked for or has been due longest."""
        if self._asked:
            return next(name for name in self._jobs if name in self._asked)
        now = self._clock()
        due = [state for state in self._states.values() if state.due is not None and state.due <= now]
        return min(due, key=lambda state: state.due or 0.0).name if due else None

    def _mark(self) -> None:
        with self._changed:
            self._last = (self._clock(), time.monotonic(), (self._last[2] if self._last else 0) + 1)
            self._changed.notify_all()

    def _run(self, job: Job) -> None:
        started, self._running = self._clock(), (job.name, time.monotonic())
        self._asked.discard(job.name)
        result, error = None, ""
        try:
            result = job.run()
        except Exception as failure:  # noqa: BLE001 - the edge of the thread: whatever a job raises is the job's state, and the other jobs go on
            error = failure.message if isinstance(failure, SuiteError) else f"{type(failure).__name__}: {failure}"
            _log.warning("the job %s failed: %s", job.name, error)
        finished = self._clock()
        due = job.due(finished, finished)
        state = JobState(job.name, self._states[job.name].runs + 1, started, finished, error, min(due, finished + RETRY) if error else due, result)
        error = self._record(state)
        with self._changed:
            self._states[job.name] = replace(state, error=state.error or error)
            self._running = None
            self._changed.notify_all()

    def _record(self, state: JobState) -> str:
        """Write how a job went, and return why that failed, if it did: the next start would not know of this run."""
        values = {"started": state.started, "finished": state.finished, "runs": state.runs, "error": state.error}
        try:
            with self._storage.begin() as connection:
                if connection.execute(sa.update(table).where(table.c.name == state.name).values(**values)).rowcount == 0:
                    connection.execute(sa.insert(table).values(name=state.name, **values))
        except Exception as failure:  # noqa: BLE001 - the same edge
            _log.warning("the state of the job %s was not written: %s", state.name, failure)
            return f"its state was not written: {failure}"
        return ""

    def _alive_or_raise(self) -> None:
        if self._thread is None or not self._thread.is_alive():
            raise NotReady("The maintainer is not running; start the suite first.", part=self.name, retry_after=5)
