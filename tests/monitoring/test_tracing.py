"""Traces: spans of requests and below them of replies and tool calls, in the trace that the log names; nothing of it without the setting."""

from __future__ import annotations

import contextvars
import socket
import subprocess
import sys
import time

import pytest
from prometheus_client import CollectorRegistry
from tracing_stage import collector, installed

from suite.errors import SettingsError
from suite.monitoring.request_context import enter, enter_call
from suite.monitoring.tracing import Tracing, open_tracing
from suite.settings import load
from suite.tools.series import ToolSeries

needed = pytest.mark.skipif(not installed(), reason="the extra otel is not installed")
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@needed
@pytest.mark.parametrize("path", ["", "/", "/v1/traces"])
def test_a_request_and_what_happened_in_it_are_one_trace(path: str) -> None:
    def request(tracing: Tracing) -> None:
        enter("rag", "req-1", f"00-{TRACE}-{SPAN}-01")
        ToolSeries(CollectorRegistry(), tracing.part).worked("list_files", 0.25)
        tracing.part("chat chat-7b", 1.5, False, model="smoke", tokens=7)
        tracing.request("rag", "/query", 503, 2.0)
        tracing.request("rag", "/metrics", 200, 0.1)

    began = time.time_ns()
    with collector() as stand:
        tracing = open_tracing(load({"otel_exporter_otlp_endpoint": stand.url + path}, environ={}), "1.2.3")
        assert tracing is not None
        contextvars.Context().run(request, tracing)
        tracing.close()
    assert set(stand.paths) == {"/v1/traces"}
    tool, chat, port = stand.spans
    assert {span.trace_id.hex() for span in stand.spans} == {TRACE} and port.parent_span_id.hex() == SPAN
    assert tool.parent_span_id == chat.parent_span_id == port.span_id and len({span.span_id for span in stand.spans}) == 3
    assert (tool.name, chat.name, port.name) == ("tool list_files", "chat chat-7b", "rag /query")
    assert [(span.end_time_unix_nano - span.start_time_unix_nano) / 1e9 for span in stand.spans] == [0.25, 1.5, 2.0] and port.end_time_unix_nano >= began
    assert [span.status.code for span in stand.spans] == [0, 2, 2] and port.kind == 2 and chat.kind == 1
    said = {one.key: one.value.string_value or one.value.int_value for one in port.attributes}
    assert said == {"service": "rag", "http.route": "/query", "http.response.status_code": 503, "request_id": "req-1"}


@needed
def test_a_call_in_the_kernel_has_no_parent_and_each_its_own_trace() -> None:
    def calls(tracing: Tracing) -> None:
        tracing.part("outside", 0.1)
        for _ in range(2):
            enter_call()
            tracing.part("inside", 0.1)
        tracing.request("nobody", "asked", 200, 0.1)

    with collector() as stand:
        tracing = Tracing(stand.url, "1")
        contextvars.Context().run(calls, tracing)
        tracing.close()
    parts = [span for span in stand.spans if span.name in ("outside", "inside")]
    assert len(parts) == 3 == len({span.trace_id for span in parts}) and {span.parent_span_id for span in parts} == {b""}


@needed
def test_a_collector_that_is_away_holds_up_nobody_and_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:  # bound, and nobody listens
        taken.bind(("127.0.0.1", 0))
        script = ("import logging, pathlib, sys, tempfile, time; from suite.monitoring.log import FileLog; from suite.monitoring.tracing import Tracing\n"
                  f"log = FileLog(pathlib.Path(tempfile.mkdtemp())); tracing = Tracing('http://127.0.0.1:{taken.getsockname()[1]}', '1')\n"
                  "[tracing.part('x', 0.1) for _ in range(5000)]; tracing.close(); print(log.counts['error'] + log.counts['warning'] > 0); log.close()")
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert (done.stdout.strip(), done.stderr) == ("True", ""), "what the SDK says of it is in the log"


def test_nothing_is_imported_without_the_setting() -> None:
    script = ("import sys, suite.stack; from suite.monitoring.tracing import open_tracing; from suite.settings import load\n"
              "print(open_tracing(load({}, {}), '1'), [name for name in sys.modules if name.startswith('opentelemetry.sdk')])")
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60).stdout.strip() == "None []"


def test_what_cannot_be_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match=r"OTEL_EXPORTER_OTLP_ENDPOINT is 'localhost:4318' but must be such as http://127\.0\.0\.1:4318\.$"):
        Tracing("localhost:4318", "1")
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.resources", None)
    with pytest.raises(SettingsError, match=r"not installed; run `python -m pip install 'local-ai-suite\[otel\]'`"):
        Tracing("http://127.0.0.1:4318", "1")
