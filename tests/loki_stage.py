"""A local stand-in of Loki's push API: it validates what is sent, and can hang, refuse, be busy, and go away and come back."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jsonschema

from suite.monitoring.log_line import LEVELS, SERVICES

# Loki HTTP API, POST /loki/api/v1/push, with our two labels and no other
PUSHED = {
    "type": "object", "required": ["streams"], "additionalProperties": False,
    "properties": {"streams": {"type": "array", "minItems": 1, "items": {
        "type": "object", "required": ["stream", "values"], "additionalProperties": False,
        "properties": {
            "stream": {"type": "object", "required": ["service", "level"], "additionalProperties": False,
                       "properties": {"service": {"enum": list(SERVICES)}, "level": {"enum": list(LEVELS)}}},
            "values": {"type": "array", "minItems": 1, "items": {"type": "array", "minItems": 2, "maxItems": 2, "prefixItems": [
                {"type": "string", "pattern": "^[0-9]{19}$"}, {"type": "string", "minLength": 2}]}},
        }}}},
}


class Loki:
    """What a stand-in has got. `status` is what it answers; while `holds` is set it does not answer at all."""

    def __init__(self, port: int = 0) -> None:
        self.status, self.holds, self.got = 204, False, threading.Condition()
        self.entries: list[tuple[str, str, str, dict[str, Any]]] = []  # nanoseconds, service, level, line
        self.requests: list[dict[str, str]] = []
        self.wrong: list[str] = []
        self._go = threading.Event()
        self._open: list[socket.socket] = []
        stand = self

        class Port(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status = stand.take(self.path, {name.lower(): value for name, value in self.headers.items()}, body)
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Nothing on standard error."""

        class Server(ThreadingHTTPServer):
            daemon_threads, allow_reuse_address = True, True

            def process_request(self, request: Any, address: Any) -> None:
                stand._open.append(request)
                super().process_request(request, address)

            def handle_error(self, *_: Any) -> None:
                """A client that went away is what some tests are about."""

        self._server = Server(("127.0.0.1", port), Port)
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def take(self, path: str, headers: dict[str, str], body: bytes) -> int:
        """One request."""
        with self.got:
            self.requests.append(headers)
            status = self.status
            self.got.notify_all()
        if self.holds:
            self._go.wait(60)
        if status != 204:
            return status
        try:
            assert path == "/loki/api/v1/push" and headers["content-type"] == "application/json", (path, headers)
            sent = json.loads(body)
            jsonschema.validate(sent, PUSHED)
            for stream in sent["streams"]:
                moments = [int(at) for at, _ in stream["values"]]
                assert moments == sorted(moments), "out of order"
        except Exception as error:  # noqa: BLE001 - whatever is wrong with a request is what the test is about
            with self.got:
                self.wrong.append(repr(error)[:500])
                self.got.notify_all()
            return 400
        with self.got:
            self.entries += [(at, s["stream"]["service"], s["stream"]["level"], json.loads(line)) for s in sent["streams"] for at, line in s["values"]]
            self.got.notify_all()
        return 204

    def wait(self, condition: Any, seconds: float = 20) -> bool:
        """Whether a condition came true in time; it is looked at with each request."""
        with self.got:
            return self.got.wait_for(condition, seconds)

    def messages(self) -> list[str]:
        """The messages of all lines, in order of their times."""
        return [line["message"] for _, _, _, line in sorted(self.entries, key=lambda entry: int(entry[0]))]

    def close(self) -> None:
        """Go away: nobody listens any more, and kept connections are cut."""
        self._go.set()
        self._server.shutdown()
        self._server.server_close()
        for connection in self._open:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._thread.join()


@contextmanager
def loki(port: int = 0) -> Iterator[Loki]:
    """A stand-in that is there for as long as this takes."""
    stand = Loki(port)
    try:
        yield stand
    finally:
        stand.close()
