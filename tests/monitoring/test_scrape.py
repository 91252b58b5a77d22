"""Every target is looked at over HTTP, and what it gave is kept; one that is down, slow or somebody else is said to be."""

from __future__ import annotations

import logging
import math
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from prometheus_client.core import GaugeMetricFamily

from suite.monitoring import scrape
from suite.monitoring.metric import CONTENT_TYPE, Metrics
from suite.monitoring.recent import Recent
from suite.monitoring.rule import Matcher
from suite.monitoring.scrape import MOST_IN_FAMILY, Scraper, Target


class Port:
    """A port that gives the metrics of one target; `answer` can be bent."""

    def __init__(self, metrics: Metrics, job: str) -> None:
        self.status, self.type, self.text = 200, CONTENT_TYPE, lambda: metrics.exposition(job)
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = outer.text()
                self.send_response(outer.status)
                self.send_header("Content-Type", outer.type)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.target = Target(job, "here:1", f"http://127.0.0.1:{self.server.server_port}/metrics")
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def metrics() -> Metrics:
    made = Metrics()
    made.observe("rag", "rag", "/query", 200, 0.2)
    return made


@pytest.fixture
def port(metrics: Metrics) -> Iterator[Port]:
    opened = Port(metrics, "rag")
    yield opened
    opened.close()


@pytest.fixture
def recent() -> Recent:
    return Recent()


@pytest.fixture
def scraper(metrics: Metrics, port: Port, recent: Recent) -> Iterator[Scraper]:
    made = Scraper(metrics, [port.target], [recent])
    yield made
    made.close()


def values(recent: Recent, metric: str, **labels: str) -> list[float]:
    return [value for one in recent.select(metric, (), 0, math.inf) if labels.items() <= one.labels.items() for value in one.values.tolist()]


def test_what_a_target_gives_is_kept_with_the_labels_of_a_scraper(scraper: Scraper, metrics: Metrics, recent: Recent) -> None:
    (found,) = scraper.scrape()
    assert found.up and found.error == "" and 0 < found.seconds < 5
    metrics.observe("rag", "rag", "/query", 200, 0.2)
    scraper.scrape()
    (series,) = recent.select("suite_requests_total", (Matcher("status", "=", "200"),), 0, math.inf)
    assert series.labels == {"part": "rag", "route": "/query", "status": "200", "job": "rag", "instance": "here:1"}
    assert series.values.tolist() == [1, 2] and values(recent, "up", job="rag", instance="here:1") == [1, 1]
    assert values(recent, "suite_request_seconds_bucket", le="0.3") == [1, 2] and values(recent, "suite_request_seconds_bucket", le="0.1") == [0, 0]
    assert len(values(recent, "scrape_duration_seconds")) == 2 and not [name for name in recent.names() if name.endswith("_created")]


@pytest.mark.parametrize(("bent", "says"), [
    ({"status": 503}, "status 503"), ({"status": 404}, "status 404"), ({"type": "text/html"}, "text/html"),
    ({"text": lambda: b"suite_requests_total 5\n"}, "somebody else"),
])
def test_a_target_that_does_not_give_its_metrics_is_down_and_its_series_end(scraper: Scraper, port: Port, recent: Recent, bent: dict, says: str) -> None:
    scraper.scrape()
    for name, value in bent.items():
        setattr(port, name, value)
    (found,) = scraper.scrape()
    assert not found.up and says in found.error and port.target.url in found.error
    assert values(recent, "up") == [1, 0]
    first, second = values(recent, "suite_requests_total", status="200")
    assert first == 1 and math.isnan(second)  # as Prometheus marks what is gone
    scraper.scrape()
    assert len(values(recent, "suite_requests_total", status="200")) == 2  # once


def test_a_port_that_nobody_serves_is_down(metrics: Metrics, recent: Recent) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, not listening: nobody else gets it
        target = Target("gone", "x", f"http://127.0.0.1:{taken.getsockname()[1]}/metrics")
        scraper = Scraper(metrics, [target], [recent])
        (found,) = scraper.scrape()
        scraper.close()
    assert not found.up and "does not answer" in found.error and values(recent, "up", job="gone") == [0]


def test_a_target_that_hangs_is_given_up(metrics: Metrics, recent: Recent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scrape, "SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        scraper = Scraper(metrics, [Target("slow", "x", f"http://127.0.0.1:{silent.getsockname()[1]}/metrics")], [recent])
        (found,) = scraper.scrape()
        scraper.close()
    assert not found.up and "Timeout" in found.error


def test_a_label_with_values_without_end_is_refused_and_named_once(scraper: Scraper, metrics: Metrics, recent: Recent,
                                                                   caplog: pytest.LogCaptureFixture) -> None:
    class Explosion:
        def collect(self) -> list:
            family = GaugeMetricFamily("exploded", "Too much.", labels=["user"])
            for number in range(MOST_IN_FAMILY + 1):
                family.add_metric([str(number)], 1)
            return [family]

    metrics.registry("rag").register(Explosion())  # type: ignore[arg-type]
    with caplog.at_level(logging.ERROR):
        scraper.scrape()
        scraper.scrape()
    assert "exploded" not in recent.names() and values(recent, "suite_requests_total", status="200") == [1, 1]
    assert [record.getMessage() for record in caplog.records] == [
        f"exploded of rag has {MOST_IN_FAMILY + 1} series and is not kept: one of its labels has values without end"]


def test_rounds_go_on_after_one_that_failed(metrics: Metrics, port: Port, caplog: pytest.LogCaptureFixture) -> None:
    seen, twice = [], threading.Event()

    def then(at: float) -> None:
        seen.append(at)
        if len(seen) == 2:
            twice.set()
        raise RuntimeError("the first reader stumbles")

    scraper = Scraper(metrics, [port.target], [], interval=0.01, then=then)
    scraper.start()
    assert twice.wait(20)
    scraper.close()
    assert "a round of monitoring failed" in caplog.text
