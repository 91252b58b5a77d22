"""What is asked all the time goes around FastAPI's layers, and is answered as if it did not."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import httpx
import pytest
from fastapi import FastAPI, Response

from suite.http.guard import Guard
from suite.http.problem import add_problems
from suite.http.serve import HttpServers, bind
from suite.http.short_way import ShortWay

SEEN: list[tuple[str, int]] = []
FAILING = threading.Event()
THREADS: list[str] = []


@pytest.fixture
def url() -> Iterator[str]:
    app = FastAPI()

    @app.middleware("http")
    async def long_way(request, call_next):
        response = await call_next(request)
        response.headers["x-way"] = "long"
        return response

    @app.get("/metrics")
    def metrics() -> Response:
        THREADS.append(threading.current_thread().name)
        if FAILING.is_set():
            raise ValueError("inside")
        return Response("numbers 1\n", media_type="text/plain")

    app.get("/live")(lambda: {"ok": True})
    add_problems(app)
    SEEN.clear(), THREADS.clear(), FAILING.clear()
    guarded = Guard(ShortWay(app), "rag", lambda token: True, "127.0.0.1", lambda part, route, status, _s: SEEN.append((route, status)))
    servers, sock = HttpServers(), bind("127.0.0.1", 0, "rag")
    servers.start({"rag": (sock, guarded)})
    yield f"http://127.0.0.1:{sock.getsockname()[1]}"
    servers.stop()


def test_numbers_go_the_short_way_in_a_thread_and_are_counted_by_route(url: str) -> None:
    answer = httpx.get(url + "/metrics", trust_env=False)
    assert (answer.status_code, answer.text, answer.headers["content-type"]) == (200, "numbers 1\n", "text/plain; charset=utf-8")
    assert "x-way" not in answer.headers and SEEN == [("/metrics", 200)] and THREADS != ["suite-http"]


def test_all_else_goes_the_long_way(url: str) -> None:
    with httpx.Client(base_url=url, trust_env=False, headers={"Authorization": "Bearer x"}) as client:
        for method, path, status in (("GET", "/live", 200), ("POST", "/metrics", 405), ("GET", "/metrics/", 307), ("GET", "/nowhere", 404)):
            answer = client.request(method, path)
            assert answer.status_code == status and answer.headers["x-way"] == "long", path


def test_a_failure_is_told_as_that_of_any_route(url: str) -> None:
    FAILING.set()
    answer = httpx.get(url + "/metrics", trust_env=False)
    assert answer.status_code == 500 and answer.json()["error"]["message"] == "ValueError in /metrics; the log file has the details."
    assert SEEN == [("/metrics", 500)]
    FAILING.clear()
    assert httpx.get(url + "/metrics", trust_env=False).status_code == 200
