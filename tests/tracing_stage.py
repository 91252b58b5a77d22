"""A local stand-in of an OpenTelemetry collector: OTLP over HTTP, read with the protocol's own classes."""

from __future__ import annotations

import gzip
import importlib.util
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


def installed() -> bool:
    """Whether the extra `otel` is."""
    try:
        return all(importlib.util.find_spec(name) for name in ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http"))
    except ModuleNotFoundError:
        return False


class Collector:
    """The spans that came, and the paths they came to."""

    def __init__(self, url: str) -> None:
        self.url, self.spans, self.paths = url, [], []  # type: str, list[Any], list[str]


@contextmanager
def collector() -> Iterator[Collector]:
    """A collector that is there for as long as this takes."""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    class Port(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            sent = ExportTraceServiceRequest()
            sent.ParseFromString(gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body)
            stand.paths.append(self.path)
            stand.spans += [span for resource in sent.resource_spans for scope in resource.scope_spans for span in scope.spans]
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Nothing on standard error."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Port)
    stand = Collector(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield stand
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
