"""Traces by OpenTelemetry, where OTEL_EXPORTER_OTLP_ENDPOINT names a collector and the extra `otel` is installed; nothing is imported otherwise."""

from __future__ import annotations

import secrets
import time
from typing import Any

from suite.errors import SettingsError
from suite.monitoring.request_context import current

ROUTE = "/v1/traces"
WATCHING = ("/metrics", "/health", "/live", "/ready")  # asked every few seconds by whoever watches, which is nobody's request
ANSWER_SECONDS = 5.0
WAITING, BATCH, EVERY_MS = 2048, 512, 2000  # spans that wait, travel together, and how often; more are dropped


class Tracing:
    """Sends a span for each request, and below it one for each reply and tool call; they have the trace that lines of the log name.

    Spans are made when what they are about has ended, and sent from a thread of the SDK's; whoever gives one never waits.
    """

    def __init__(self, endpoint: str, version: str) -> None:
        """Begin. Raises SettingsError for an endpoint that is no URL, and where the SDK is not installed."""
        if not endpoint.startswith(("http://", "https://")):
            raise SettingsError(f"OTEL_EXPORTER_OTLP_ENDPOINT is {endpoint[:120]!r} but must be such as http://127.0.0.1:4318.")
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
        except ImportError as error:
            raise SettingsError("OTEL_EXPORTER_OTLP_ENDPOINT is set, but OpenTelemetry is not installed; run `python -m pip install "
                                "'local-ai-suite[otel]'`, or leave it empty.") from error
        self._resource = Resource({"service.name": "local-ai-suite", "service.version": version})
        exporter = OTLPSpanExporter(endpoint=endpoint.rstrip("/").removesuffix(ROUTE) + ROUTE, timeout=ANSWER_SECONDS)
        self._sending = BatchSpanProcessor(exporter, max_queue_size=WAITING, max_export_batch_size=BATCH, schedule_delay_millis=EVERY_MS)

    def request(self, part: str, route: str, status: int, seconds: float) -> None:
        """A request that was answered just now, in whose context this is called."""
        now = current()
        if now is not None and not route.startswith(WATCHING):
            self._span(f"{part} {route}", now.trace, now.span, now.parent, seconds, status < 500, server=True,
                       attributes={"service": part, "http.route": route, "http.response.status_code": status, "request_id": now.id})

    def part(self, name: str, seconds: float, well: bool = True, **attributes: Any) -> None:
        """Something that ended just now: a part of the request that is being answered here, or a trace of its own."""
        now = current()
        trace = now.trace if now is not None else secrets.token_hex(16)
        parent = now.span if now is not None and now.port else ""  # a call in the kernel has a trace, but no span of its own
        self._span(name, trace, secrets.token_hex(8), parent, seconds, well, server=False, attributes=attributes)

    def close(self) -> None:
        """Send what waits, as far as the collector takes it, and end."""
        self._sending.shutdown()

    def _span(self, name: str, trace: str, span: str, parent: str, seconds: float, well: bool, server: bool, attributes: dict[str, Any]) -> None:
        from opentelemetry.sdk.trace import ReadableSpan
        from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

        def context(id: str, remote: bool) -> SpanContext:
            return SpanContext(int(trace, 16), int(id, 16), remote, TraceFlags(TraceFlags.SAMPLED))

        ended = time.time_ns()
        self._sending.on_end(ReadableSpan(
            name, context(span, False), context(parent, server) if parent else None, self._resource, attributes,
            kind=SpanKind.SERVER if server else SpanKind.INTERNAL, status=Status(StatusCode.UNSET if well else StatusCode.ERROR),
            start_time=ended - int(seconds * 1e9), end_time=ended))


def open_tracing(settings: Any, version: str) -> Tracing | None:
    """The tracing that OTEL_EXPORTER_OTLP_ENDPOINT asks for, or None. Raises SettingsError."""
    return Tracing(settings.otel_exporter_otlp_endpoint, version) if settings.otel_exporter_otlp_endpoint else None
