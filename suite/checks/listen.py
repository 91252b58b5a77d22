"""A listener of a check's own, on this machine alone, for as long as a block runs: it keeps the notifications that are posted to it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MOST_BYTES = 1_000_000


class Listener(ThreadingHTTPServer):
    """What came, in order; `port` is where it listens on 127.0.0.1."""

    daemon_threads = True

    def __init__(self) -> None:
        self.came: list[dict[str, Any]] = []
        super().__init__(("127.0.0.1", 0), _Post)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.server_address[1])

    def told(self, status: str, marker: str) -> bool:
        """Whether an alert with that marker came with that status, firing or resolved."""
        return any(alert.get("status") == status and alert.get("labels", {}).get("marker") == marker
                   for body in list(self.came) for alert in body.get("alerts", []))


class _Post(BaseHTTPRequestHandler):
    server: Listener

    def do_POST(self) -> None:
        """Keep a JSON object."""
        length = int(self.headers.get("Content-Length") or 0)
        try:
            body = json.loads(self.rfile.read(min(length, MOST_BYTES)))
        except ValueError:
            body = None
        if isinstance(body, dict):
            self.server.came.append(body)
        self.send_response(200 if isinstance(body, dict) else 400)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextmanager
def listening() -> Iterator[Listener]:
    """A listener that ends with the block."""
    server = Listener()
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), name="suite-check-listen", daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
