"""Which request a line belongs to: an id, a W3C trace and the port that took it; it goes along wherever the context is copied to."""

from __future__ import annotations

import re
import secrets
from contextvars import ContextVar
from typing import NamedTuple

from suite.text.secret import masked_text

_ID = re.compile(r"[!-~]{1,64}")  # printable ASCII without the space
_PARENT = re.compile(r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")


class RequestContext(NamedTuple):
    """`id`, `trace` (32 hex digits) and `span` (16) of a request, the `parent` span of its caller (or empty), and the `port` that took it.

    For a call in the kernel, which came through no port, `port` is empty.
    """

    id: str
    trace: str
    span: str
    parent: str
    port: str


_current: ContextVar[RequestContext | None] = ContextVar("suite_request", default=None)


def current() -> RequestContext | None:
    """The request that is being answered here, or None."""
    return _current.get()


def enter(port: str, request_id: str = "", traceparent: str = "") -> RequestContext:
    """Begin a request at the door of a port, with what its headers `X-Request-Id` and `traceparent` say where that can be used.

    The context of a request ends with its task, so there is no leaving. Source: W3C Trace Context, level 1.
    """
    trace, parent = _parsed(traceparent)
    id = request_id if _ID.fullmatch(request_id) and masked_text(request_id) == request_id else secrets.token_hex(8)
    made = RequestContext(id, trace or secrets.token_hex(16), secrets.token_hex(8), parent, port)
    _current.set(made)
    return made


def enter_call() -> None:
    """Begin a call in the kernel: what it writes, here and at a host, has an id of its own. Inside a request that stays the request's."""
    now = _current.get()
    if now is None or not now.port:
        _current.set(RequestContext(secrets.token_hex(8), secrets.token_hex(16), secrets.token_hex(8), "", ""))


def outgoing() -> dict[str, str]:
    """The headers by which a port of a host knows the request that is being answered here; none outside of one."""
    now = _current.get()
    return {} if now is None else {"X-Request-Id": now.id, "traceparent": f"00-{now.trace}-{now.span}-01"}


def _parsed(traceparent: str) -> tuple[str, str]:
    found = _PARENT.fullmatch(traceparent) if traceparent else None
    if found is None or (found[1] == "00" and found[5]):  # version 00 has no more than four fields
        return "", ""
    return found[2], found[3]
