"""The errors of port 6333 in Qdrant's shape too, beside the one that all ports share."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any


class QdrantProblems:
    """ASGI layer inside an app: an error's sentence also stands where Qdrant's clients look for it, in `status.error`."""

    def __init__(self, app: Callable[..., Any]) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start: dict[str, Any] | None = None
        body = b""

        async def reshaped(message: Any) -> None:
            nonlocal start, body
            if message["type"] == "http.response.start" and message["status"] >= 400:
                start = message
            elif start is None:
                await send(message)
            else:
                body += message.get("body", b"")
                if not message.get("more_body"):
                    told = _told(body)
                    headers = [(name, value) for name, value in start["headers"] if name.lower() != b"content-length"]
                    await send({**start, "headers": [*headers, (b"content-length", str(len(told)).encode())]})
                    await send({"type": "http.response.body", "body": told})

        await self.app(scope, receive, reshaped)


def _told(body: bytes) -> bytes:
    """The body with Qdrant's two fields, where it is an error of ours."""
    try:
        found = json.loads(body)
        message = found["error"]["message"]
    except (ValueError, TypeError, KeyError):
        return body
    return json.dumps({"status": {"error": message}, "time": 0.0, **found}).encode("ascii")
