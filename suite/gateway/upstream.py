"""What the gateway needs of a model server, in this process or behind a URL."""

from __future__ import annotations

from typing import Protocol

from suite.monitoring.probe import State
from suite.serving.reply import Reply, ReplyStream
from suite.serving.request import Request

OWN, URL = "own", "url"


class Upstream(Protocol):
    """A model server. `complete` and `stream` raise NotReady when it did nothing, UpstreamError when it failed, BadRequest when nobody could.

    A server behind a URL has `kind` = url and `whole(request)`, a stream that comes in one piece. What its errors say in `facts`, besides
    `retry_after` (seconds): `asked_to_wait`: the same, said by the server itself;
    `down`: it is out or hangs, it is not only busy or slow; `timeout`: the request's own time is spent; `final`: no other server is to be asked.
    """

    name: str

    def complete(self, request: Request) -> Reply:
        """The whole reply."""

    def stream(self, request: Request) -> ReplyStream:
        """The reply piece by piece."""

    def ready(self) -> State:
        """Would it answer now? Its facts name the model and whether it is a smoke model."""


def kind_of(upstream: Upstream) -> str:
    """own or url."""
    return getattr(upstream, "kind", OWN)
