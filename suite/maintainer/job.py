"""The records of the maintainer: what runs when, and how it went."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from suite.errors import SettingsError

_CLOCK = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)")


@dataclass(frozen=True)
class Job:
    """A callable that runs `every` so many seconds, or `daily` at a local time HH:MM; it returns facts, and raises when it failed.

    A run of more than `limit` seconds counts as a maintainer that has stopped.
    """

    name: str
    run: Callable[[], Any]
    every: float | None = None
    daily: str | None = None
    limit: float = 900.0

    def __post_init__(self) -> None:
        if (self.every is None) == (self.daily is None):
            raise SettingsError(f"The job {self.name!r} needs either seconds or a time of day, not both and not neither.")
        if self.every is not None and not self.every > 0:
            raise SettingsError(f"The job {self.name!r} runs every {self.every!r} seconds; give a number above 0.")
        if self.daily is not None and not _CLOCK.fullmatch(self.daily):
            raise SettingsError(f"The job {self.name!r} runs daily at {self.daily!r}; give a local time HH:MM, such as '03:00'.")

    def due(self, finished: float | None, now: float) -> float:
        """When it is next due, in UTC seconds since 1970, if it last finished then (None: never); a time that was missed is due at once.

        A daily job that never ran waits for its time; a last run in the future (a clock set back) counts as now.
        """
        last = now if finished is None else min(finished, now)
        if self.every is not None:
            return last + self.every
        hour, minute = (int(part) for part in str(self.daily).split(":"))
        moment = datetime.fromtimestamp(last).replace(hour=hour, minute=minute, second=0, microsecond=0)
        return (moment if moment.timestamp() > last else moment + timedelta(days=1)).timestamp()


@dataclass(frozen=True)
class JobState:
    """How a job stands. Times are UTC seconds since 1970; `error` is empty when the last run was good; `result` is what it returned."""

    name: str
    runs: int = 0
    started: float | None = None
    finished: float | None = None
    error: str = ""
    due: float | None = None
    result: Any = None

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return asdict(self)

    @classmethod
    def from_dict(cls, body: dict[str, Any]) -> JobState:
        """The record that `to_dict` gave."""
        return cls(**body)

    def __repr__(self) -> str:
        return f"JobState({self.name}, runs={self.runs}{', failed: ' + self.error if self.error else ''})"
