"""What the gateway needs of a model server, in this process or behind a URL."""

from __future__ import annotations

from typing import Protocol

from suite.monitoring.probe import State
from suite.serving.reply import Reply, ReplyStream
from suite.serving.request import Request


class Upstream(Protocol):
    """A model server. `complete` and `stream` raise NotReady or UpstreamError when it cannot answer, BadRequest when nobody could."""

    name: str

    def complete(self, request: Request) -> Reply:
        """The whole reply."""

    def stream(self, request: Request) -> ReplyStream:
        """The reply piece by piece."""

    def ready(self) -> State:
        """Would it answer now? Its facts name the model and whether it is a smoke model."""
