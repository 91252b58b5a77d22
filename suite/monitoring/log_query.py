"""Which lines of the log somebody asks for, checked, and the lines as a table."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from suite.errors import BadRequest
from suite.monitoring.log_line import LEVELS, SERVICES, moment_text
from suite.text.moment import moment as meant

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("at", "level", "service", "logger", "message", "request_id", "trace", "error", "extra", "thread")
MOST = 10_000  # lines in one answer
_NUMBER = re.compile(r"\d{5,11}|\d+\.\d+")  # seconds since 1970; a year alone is a date
Moment = str | float | int | datetime | timedelta | None


@dataclass(frozen=True)
class Query:
    """The newest `n` lines from `since` until before `until` (UTC seconds since 1970, or None) with one of the levels, of the service (any when
    empty), with the text in them, of the request.
    """

    since: float | None = None
    until: float | None = None
    levels: tuple[str, ...] = LEVELS
    service: str = ""
    contains: str = ""
    request_id: str = ""
    n: int = 100

    @classmethod
    def of(cls, since: Moment = None, until: Moment = None, level: str = "", service: str = "", contains: str = "", request_id: str = "",
           n: int = 100) -> Query:
        """The query that these values mean: times as 30m, 12h, 7d (that long ago), as ISO 8601 or a datetime (local where no zone is given), as
        a timedelta or in seconds since 1970; `level` is the least one. Raises BadRequest.
        """
        if isinstance(n, bool) or not isinstance(n, int) or not 1 <= n <= MOST:
            raise BadRequest(f"n is {n!r:.40} but must be a whole number from 1 to {MOST}.", param="n")
        for name, text in (("level", level), ("service", service), ("contains", contains), ("request_id", request_id)):
            if not isinstance(text, str):
                raise BadRequest(f"{name} is {text!r:.80} but must be text.", param=name)
        if level and level.lower() not in LEVELS:
            raise BadRequest(f"level is {level[:40]!r} but must be one of {', '.join(LEVELS)}.", param="level")
        if service and service not in SERVICES:
            raise BadRequest(f"service is {service[:40]!r} but must be one of {', '.join(SERVICES)}.", param="service")
        begin, end = utc_seconds(since, "since"), utc_seconds(until, "until")
        if begin is not None and end is not None and begin > end:
            raise BadRequest(f"since ({moment_text(begin)}) is after until ({moment_text(end)}); exchange them.", param="since")
        return cls(begin, end, LEVELS[LEVELS.index(level.lower()):] if level else LEVELS, service, contains, request_id, n)

    def params(self) -> dict[str, str]:
        """The query as a guest sends it: what `of` takes, as text."""
        said = {"since": self.since, "until": self.until, "level": self.levels[0], "service": self.service, "contains": self.contains,
                "request_id": self.request_id, "n": self.n}
        return {name: repr(value) if isinstance(value, float) else str(value) for name, value in said.items() if value not in (None, "")}

    def matches(self, row: Mapping[str, Any], line: str) -> bool:
        """Whether a line, read and as it is written, is one of those."""
        if row["level"] not in self.levels or (self.service and row["service"] != self.service):
            return False
        if self.request_id and row["request_id"] != self.request_id:
            return False
        return not self.contains or self.contains in row["message"] or self.contains in line or self.contains in (row["error"] or "")

    @property
    def needles(self) -> tuple[bytes, ...]:
        """What the bytes of such a line hold in any case, so that others need not be read."""
        plain = (text for text in (self.contains, self.request_id) if text.isascii() and json.dumps(text) == f'"{text}"')
        return tuple(text.encode("ascii") for text in plain if text)


def frame(rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Lines as a table of COLUMNS; `at` is in UTC, to the millisecond."""
    import pandas as pd  # here, because most who import this need no table

    listed = list(rows)
    made: dict[str, Any] = {name: pd.Series([row[name] for row in listed], dtype="object") for name in COLUMNS}
    made["at"] = pd.to_datetime(made["at"], utc=True, format="ISO8601").dt.as_unit("ms")
    return pd.DataFrame(made, columns=list(COLUMNS))


def utc_seconds(value: Moment, name: str) -> float | None:
    """The moment that a caller means, in seconds since 1970; None where none was named. Raises BadRequest, which names the parameter."""
    if value is None or value == "":
        return None
    if isinstance(value, timedelta):
        value = time.time() - value.total_seconds()
    if isinstance(value, datetime):
        value = value.timestamp()
    if isinstance(value, str):
        try:
            value = float(value) if _NUMBER.fullmatch(value) else meant(value, time.time())
        except ValueError:
            value = repr(value[:60])
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1e11:
        raise BadRequest(f"{name} is {str(value)[:80]} but must be such as 30m, 12h, 7d, 2026-01-31T08:00, a datetime, or seconds since 1970.",
                         param=name)
    return float(value)
