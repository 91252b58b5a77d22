"""The door of every port: the request gets its id, Host and Origin are checked, then the token, then it is counted and noted. No CORS."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from anyio.to_thread import run_sync

from suite.access.apikey import PREFIX
from suite.access.caller import Caller
from suite.access.identify import FOUND, Door
from suite.errors import Denied, SuiteError
from suite.monitoring.log import soon
from suite.monitoring.request_context import enter

OPEN_PATHS = frozenset({"/health", "/metrics", "/v1/memory/health", "/healthz", "/readyz", "/livez", "/ready", "/-/ready", "/metrics/monitoring"})
PROBES = OPEN_PATHS | {"/live"}  # asked every few seconds by whoever watches
READS = ("GET", "HEAD", "OPTIONS")
log = logging.getLogger("suite.http")
LOOPBACK = frozenset({"127.0.0.1", "localhost", "[::1]"})

Scope = MutableMapping[str, Any]
Asgi = Callable[[Scope, Callable[[], Awaitable[Any]], Callable[[Any], Awaitable[None]]], Awaitable[None]]


class Guard:
    """ASGI layer around one app. `matches` says whether a token is ours; `observe(part, path, status, seconds)` counts the request.

    With a `door` the API keys of actors open the port too, and routes find who called in `request.state.caller`. `request.state.trusted` says
    whether it is the kernel's owner. `signed_in` says so of a Cookie header, for a port that has a page; `open_paths` need neither.
    """

    def __init__(self, app: Asgi, part: str, matches: Callable[[str], bool], bind: str, observe: Callable[[str, str, int, float], None],
                 door: Door | None = None, signed_in: Callable[[str], bool] | None = None, open_paths: frozenset[str] = frozenset()) -> None:
        self.app, self.part, self.matches, self.observe, self.door = app, part, matches, observe, door
        self.hosts, self.signed_in, self.open_paths = LOOPBACK | {bind}, signed_in, OPEN_PATHS | open_paths

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, status = time.monotonic(), 500
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        known_as = (b"x-request-id", enter(self.part, headers.get("x-request-id", ""), headers.get("traceparent", "")).id.encode("ascii"))

        async def watched(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {**message, "headers": [*message.get("headers", ()), known_as]}
            await send(message)

        try:
            caller = await self._caller(headers)
            error, code = self._refusal(scope["path"], headers, caller)
            if error is None:
                scope.setdefault("state", {}).update(caller=caller, trusted=caller is not None and caller.owner)
                await self.app(scope, receive, watched)
            else:
                await _answer(watched, error, code)
        finally:
            route = getattr(scope.get("route"), "path", "") or ("refused" if status in (401, 403, 421) else "other")
            seconds = time.monotonic() - began
            self.observe(self.part, route, status, seconds)
            note(scope["method"], scope["path"], status, seconds)

    def _refusal(self, path: str, headers: dict[str, str], caller: Caller | None) -> tuple[SuiteError | None, int]:
        host = headers.get("host", "")
        if _hostname(host.lower()) not in self.hosts:
            return Denied(f"Host {host[:80]!r} is not this machine; call the port by 127.0.0.1 or localhost."), 421
        origin = headers.get("origin")
        if origin is not None and origin.lower() != f"http://{host.lower()}":  # compared as text: nothing that is sent here is parsed
            return Denied(f"Origin {origin[:80]!r} may not call this port; there is no CORS here."), 403
        if path not in self.open_paths and caller is None:
            return Denied("A bearer token is needed; its file is named in run/host.json of the data directory."), 401
        return None, 0

    async def _caller(self, headers: dict[str, str]) -> Caller | None:
        scheme, _, token = headers.get("authorization", "").partition(" ")
        token = token if scheme.lower() == "bearer" else headers.get("api-key", "")  # api-key: what Qdrant's clients send
        if not token and self.signed_in is not None and self.signed_in(headers.get("cookie", "")):
            return Caller("", client="http")
        if not token or (self.door is None and not self.matches(token)):
            return None
        if self.door is None:
            return Caller("", client="http")
        if token.startswith(PREFIX) and not self.door.quick:  # a key is looked up in the database
            caller = await run_sync(self.door.identify, token)
        else:
            caller = self.door.identify(token)
        FOUND.set(None if caller is None else (token, caller))
        return caller


def note(method: str, path: str, status: int, seconds: float) -> None:
    """One line for an answered request: a WARNING where the part failed, INFO where it was refused or could change something, else DEBUG.

    Whoever watches asks all the time, so what they ask is DEBUG however it is answered.
    """
    level = logging.DEBUG
    if path not in PROBES:
        level = logging.WARNING if status >= 500 else logging.INFO if status >= 400 or method not in READS else logging.DEBUG
    if log.isEnabledFor(level):
        soon(log, level, f"{method} {path[:200]} {status}", {"status": status, "ms": round(seconds * 1000, 1)})


def _hostname(host: str) -> str:
    return host.rsplit(":", 1)[0] if not host.endswith("]") and ":" in host else host


async def _answer(send: Any, error: SuiteError, status: int) -> None:
    body = json.dumps(error.to_dict()).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
