"""Loki's dialect: a stream selector with one text behind it, its times, and the answer in its shape. Source: Loki HTTP API, /loki/api/v1."""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from suite.errors import BadRequest
from suite.monitoring.log_line import LEVELS
from suite.monitoring.log_query import Query
from suite.text.moment import moment

LABELS = ("level", "service")
MOST = 5000  # lines in one answer, as in Loki
HOUR = 3600.0  # how far back a query without a start looks, as in Loki
_TEXT = r'"(?:[^"\\]|\\.)*"|`[^`]*`'
_MATCHER = rf"([a-zA-Z_]\w*)\s*=\s*({_TEXT})"
_QUERY = re.compile(rf"\s*\{{\s*({_MATCHER}(?:\s*,\s*{_MATCHER})*)\s*,?\s*\}}\s*(?:\|=\s*({_TEXT})\s*)?")
READ = 'this port reads {service="…", level="…"} with one |= "text" behind it; for more, ship the log to a Loki (LOKI_URL)'


@dataclass(frozen=True)
class Selector:
    """What a request for /loki/api/v1/query_range means; `forward` when the oldest lines are wanted first."""

    query: Query
    forward: bool

    @classmethod
    def of(cls, query: str, start: str = "", end: str = "", since: str = "", limit: int = 100, direction: str = "backward") -> Selector:
        """Read Loki's parameters: times in nanoseconds or seconds since 1970 or as RFC 3339. Raises BadRequest for what this port does not know."""
        if direction not in ("forward", "backward"):
            raise BadRequest(f"direction is {direction[:40]!r} but must be forward or backward.", param="direction")
        if not 1 <= limit <= MOST:
            raise BadRequest(f"limit is {limit} but must be from 1 to {MOST}.", param="limit")
        labels, text = _selected(query)
        service, level = labels.get("service", ""), labels.get("level", "")
        until = _seconds(end, "end") if end else time.time() + 1.0  # a line of this very moment counts
        begin = _seconds(start, "start") if start else _ago(since, until) if since else until - HOUR
        if begin > until:
            raise BadRequest(f"start ({start[:40]}) is after end ({end[:40] or 'now'}); exchange them.", param="start")
        # no line has a service or level that there is not, so nothing is found: as in Loki that is no error
        return cls(Query(begin, until, (level,) if level else LEVELS, service, text, n=limit), direction == "forward")


def streams(found: list[tuple[dict[str, Any], str]], forward: bool) -> dict[str, Any]:
    """Lines, the oldest first, as Loki answers: one stream for each pair of labels, its values in the direction that was asked for."""
    made: dict[tuple[str, str], list[list[str]]] = {}
    for row, line in found if forward else reversed(found):
        nanoseconds = str(round(datetime.fromisoformat(row["at"]).timestamp() * 1000) * 1_000_000)
        made.setdefault((row["service"], row["level"]), []).append([nanoseconds, line])
    result = [{"stream": {"service": service, "level": level}, "values": values} for (service, level), values in made.items()]
    return {"status": "success", "data": {"resultType": "streams", "result": result, "stats": {}}}


def _selected(query: str) -> tuple[dict[str, str], str]:
    found = _QUERY.fullmatch(query)
    if found is None:
        raise BadRequest(f"query is {query[:120]!r}, but {READ}.", param="query")
    labels: dict[str, str] = {}
    for matcher in re.finditer(_MATCHER, found[1]):
        name, value = matcher[1], _unquoted(matcher[2])
        if name not in LABELS or name in labels:
            raise BadRequest(f"query is {query[:120]!r} with the label {name[:40]!r}, but {READ}.", param="query")
        labels[name] = value
    if not any(labels.values()):
        raise BadRequest(f"query is {query[:120]!r}, which selects no stream: one label at least needs a value, as in Loki.", param="query")
    return labels, _unquoted(found[6]) if found[6] else ""


def _unquoted(text: str) -> str:
    if text.startswith("`"):
        return text[1:-1]
    try:
        return str(json.loads(text, strict=False))
    except ValueError:
        raise BadRequest(f"The text {text[:80]} of query has an escape that cannot be read; put it between backticks.", param="query") from None


def _seconds(text: str, name: str) -> float:
    try:
        if re.fullmatch(r"\d{1,30}(\.\d{1,30})?", text):
            seconds = float(text) / (1e9 if "." not in text and len(text) > 10 else 1)  # as Loki tells them apart
        else:
            seconds = datetime.fromisoformat(text).timestamp()
        if 0 <= seconds < 1e11:
            return seconds
    except (ValueError, OverflowError, OSError):
        pass
    raise BadRequest(f"{name} is {text[:60]!r} but must be nanoseconds or seconds since 1970, or such as 2026-01-31T08:00:00Z.", param=name)


def _ago(text: str, end: float) -> float:
    try:
        return max(0.0, moment(text, end))
    except ValueError:
        raise BadRequest(f"since is {text[:60]!r} but must be such as 30m, 12h or 7d.", param="since") from None
