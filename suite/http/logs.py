"""Port 3100, the log: what guests ask for, and of Loki's API what its clients need to find lines by service, level and text."""

from __future__ import annotations

import json
from typing import Annotated, Any

from fastapi import FastAPI, Request, Response
from fastapi import Query as Parameter
from fastapi.responses import JSONResponse, PlainTextResponse

from suite import __version__
from suite.errors import Denied
from suite.http.approvals import caller_of
from suite.http.loki import LABELS, Selector, streams
from suite.monitoring.log import FileLog
from suite.monitoring.log_line import LEVELS, SERVICES
from suite.monitoring.log_query import Query
from suite.monitoring.probe import guarded


class Lines(JSONResponse):
    """JSON in ASCII: a line that somebody else wrote into the file may hold characters that UTF-8 has no bytes for."""

    def render(self, content: Any) -> bytes:
        """The body."""
        return json.dumps(content).encode("ascii")


def app(log: FileLog) -> FastAPI:
    """The app; the door in front of it may let actors' keys in, but the log is for the kernel's owner."""
    served = FastAPI(title="logs")
    _add_own(served, log)
    _add_loki(served, log)
    return served


def _add_own(served: FastAPI, log: FileLog) -> None:
    @served.get("/api/v1/logs")
    def newest(request: Request, since: str = "", until: str = "", level: str = "", service: str = "", contains: str = "", request_id: str = "",
               n: int = 100) -> Response:
        _must_read(request)
        return Lines({"lines": log.reader.newest(Query.of(since, until, level, service, contains, request_id, n))})

    @served.get("/api/v1/logs/after")
    def after(request: Request, cursor: str = "", level: str = "", service: str = "", contains: str = "", request_id: str = "") -> Response:
        """What was written after a cursor; without one no lines, and the cursor to begin with."""
        _must_read(request)
        query = Query.of(level=level, service=service, contains=contains, request_id=request_id)
        lines, cursor = log.reader.after(cursor, query) if cursor else ([], log.reader.end())
        return Lines({"lines": lines, "cursor": cursor})

    @served.post("/api/v1/logs/mark", status_code=201)
    def mark(request: Request, text: Annotated[str, Parameter(min_length=1, max_length=200)]) -> Response:
        """Have one line with that text written by the logger of each service."""
        _must_read(request)
        return Lines({"services": log.mark(text)}, 201)


def _add_loki(served: FastAPI, log: FileLog) -> None:
    @served.get("/ready")
    def ready() -> Response:
        state = guarded(log.ready)
        return PlainTextResponse("ready\n" if state.ok else "not ready: the log cannot be written\n", 200 if state.ok else 503)

    @served.get("/loki/api/v1/status/buildinfo")
    def build() -> dict[str, str]:
        return {"version": __version__}

    @served.get("/loki/api/v1/labels")
    def labels(request: Request) -> Response:
        _must_read(request)
        return Lines({"status": "success", "data": list(LABELS)})

    @served.get("/loki/api/v1/label/{name}/values")
    def values(request: Request, name: str) -> Response:
        _must_read(request)
        return Lines({"status": "success", "data": sorted({"service": SERVICES, "level": LEVELS}.get(name, ()))})

    @served.get("/loki/api/v1/query_range")
    def query_range(request: Request, query: str, start: str = "", end: str = "", since: str = "", limit: int = 100,
                    direction: str = "backward") -> Response:
        _must_read(request)
        asked = Selector.of(query, start, end, since, limit, direction)
        return Lines(streams(log.reader.raw(asked.query, oldest=asked.forward), asked.forward))


def _must_read(request: Request) -> None:
    caller = caller_of(request)
    if not caller.owner:
        raise Denied(f"The log is for the kernel's owner, not for the key of {caller.actor!r}; use the token that run/host.json names.")
