"""The door of every port: token, Host, Origin; and what a client makes of a refusal."""

from __future__ import annotations

import contextvars
import logging
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from suite.errors import Denied, HostGone, NotFound, PortBusy
from suite.http.client import Client
from suite.http.guard import Guard
from suite.http.problem import add_problems
from suite.http.serve import HttpServers, bind
from suite.monitoring.log import FileLog
from suite.monitoring.log_query import Query
from suite.monitoring.request_context import current, enter_call

TOKEN = "t" * 64
SEEN: list[tuple[str, str, int]] = []


@pytest.fixture
def url() -> Iterator[str]:
    app = FastAPI()
    app.get("/secret")(lambda: {"deep": "secret"})
    app.get("/health")(lambda: {"ok": True})
    app.post("/change")(lambda: {"ok": True})

    @app.get("/missing")
    def missing() -> None:
        raise NotFound("There is no such thing; look in the list.", retry_after=7)

    @app.get("/bug")
    def bug() -> None:
        raise ValueError("inside")

    @app.get("/speak")
    def speak() -> None:
        logging.getLogger("suite.http").info("from the thread")

    @app.get("/number/{n}")
    def number(n: int) -> int:
        return n

    add_problems(app)
    SEEN.clear()
    guarded = Guard(app, "rag", lambda token: token == TOKEN, "127.0.0.1", lambda part, route, status, _s: SEEN.append((part, route, status)))
    servers, sock = HttpServers(), bind("127.0.0.1", 0, "rag")
    servers.start({"rag": (sock, guarded)})
    yield f"http://127.0.0.1:{sock.getsockname()[1]}"
    servers.stop()


def get(url: str, **headers: str) -> httpx.Response:
    with httpx.Client() as client:
        return client.get(url, headers=headers)


def test_only_the_token_opens_and_health_is_open(url: str) -> None:
    assert get(url + "/health").status_code == 200
    refused = get(url + "/secret")
    assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
    assert get(url + "/secret", Authorization=f"Bearer {TOKEN}x").status_code == 401
    assert get(url + "/secret", Authorization=f"Basic {TOKEN}").status_code == 401
    assert get(url + "/secret", Authorization=f"Bearer {TOKEN}").json() == {"deep": "secret"}
    assert get(url + "/secret", **{"api-key": TOKEN}).status_code == 200


@pytest.mark.parametrize(("headers", "status"), [
    ({"Host": "evil.example"}, 421), ({"Host": "127.0.0.1.evil.example:80"}, 421), ({"Origin": "http://evil.example"}, 403), ({"Origin": "null"}, 403),
])
def test_another_host_or_origin_is_refused_even_for_health_and_with_the_token(url: str, headers: dict[str, str], status: int) -> None:
    answer = get(url + "/health", Authorization=f"Bearer {TOKEN}", **headers)
    assert answer.status_code == status
    assert "access-control-allow-origin" not in answer.headers


def test_a_page_of_the_same_port_may_call(url: str) -> None:
    assert get(url + "/secret", Authorization=f"Bearer {TOKEN}", Origin=url).status_code == 200


def test_the_client_raises_what_the_route_raised(url: str) -> None:
    with Client(url, TOKEN) as client, pytest.raises(NotFound, match="no such thing") as caught:
        client.get("/missing")
    assert caught.value.facts["retry_after"] == 7
    with Client(url, "wrong") as client, pytest.raises(Denied, match="bearer token"):
        client.get("/secret")


def test_an_error_has_openai_shape_and_a_bug_shows_nothing_of_its_inside(url: str) -> None:
    missing = get(url + "/missing", Authorization=f"Bearer {TOKEN}")
    assert (missing.status_code, missing.headers["retry-after"]) == (404, "7")
    assert missing.json()["error"]["type"] == "NotFound"
    bug = get(url + "/bug", Authorization=f"Bearer {TOKEN}")
    assert bug.status_code == 500 and "inside" not in bug.text and "ValueError" in bug.text
    nowhere = get(url + "/nowhere", Authorization=f"Bearer {TOKEN}")
    assert nowhere.status_code == 404 and nowhere.json()["error"]["type"] == "NotFound"
    assert "n:" in get(url + "/number/x", Authorization=f"Bearer {TOKEN}").json()["error"]["message"]


def test_requests_are_counted_by_route_not_by_path(url: str) -> None:
    get(url + "/number/1", Authorization=f"Bearer {TOKEN}")
    get(url + "/number/2", Authorization=f"Bearer {TOKEN}")
    get(url + "/number/3")
    deadline = time.monotonic() + 10
    while len(SEEN) < 3 and time.monotonic() < deadline:  # a request is counted when its answer has gone out
        time.sleep(0.01)
    assert SEEN == [("rag", "/number/{n}", 200), ("rag", "/number/{n}", 200), ("rag", "refused", 401)]


def test_a_port_that_nobody_serves_is_a_host_that_ended() -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    with Client(f"http://127.0.0.1:{port}", TOKEN) as client, pytest.raises(HostGone, match=r"call suite\.start\(\) again"):
        client.get("/secret")


def test_a_host_that_hangs_is_a_host_that_does_not_answer() -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        with Client(f"http://127.0.0.1:{sock.getsockname()[1]}", TOKEN, timeout=0.2) as client, pytest.raises(HostGone, match="did not answer in time"):
            client.get("/secret")


def test_a_busy_port_names_its_owner_and_the_way_around() -> None:
    import os

    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        port = sock.getsockname()[1]
        with pytest.raises(PortBusy, match=rf"Port {port} \(rag\) is taken by pid {os.getpid()} .*port_base=\"auto\""):
            bind("127.0.0.1", port, "rag")


def test_one_port_can_be_closed_while_the_others_go_on() -> None:
    servers, sockets = HttpServers(), {name: bind("127.0.0.1", 0, name) for name in ("a", "b")}
    ports = {name: sock.getsockname()[1] for name, sock in sockets.items()}
    app = FastAPI()
    app.get("/health")(lambda: {"ok": True})
    servers.start({name: (sock, app) for name, sock in sockets.items()})
    servers.close("a")
    with pytest.raises(httpx.ConnectError):
        get(f"http://127.0.0.1:{ports['a']}/health")
    assert get(f"http://127.0.0.1:{ports['b']}/health").status_code == 200
    servers.stop()
    bind("127.0.0.1", ports["b"], "b").close()


@pytest.fixture
def log(tmp_path: Path) -> Iterator[FileLog]:
    opened = FileLog(tmp_path, "DEBUG")
    yield opened
    opened.close()


def noted(log: FileLog, count: int) -> list[dict]:
    """The lines about requests, as soon as there are so many: one is written when its answer has gone out."""
    deadline = time.monotonic() + 10
    while True:
        rows = [row for row in log.reader.newest(Query.of(level="debug")) if row["logger"] == "suite.http"]
        if len(rows) >= count or time.monotonic() > deadline:
            return rows
        time.sleep(0.01)


def test_a_request_has_an_id_that_its_answer_and_all_its_lines_carry(url: str, log: FileLog) -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    answer = get(url + "/bug", Authorization=f"Bearer {TOKEN}", **{"X-Request-Id": "mine-1", "traceparent": f"00-{trace}-00f067aa0ba902b7-01"})
    assert answer.headers["x-request-id"] == "mine-1"
    rows = noted(log, 2)
    assert [(row["level"], row["request_id"], row["trace"], row["service"]) for row in rows] == [("error", "mine-1", trace, "rag"), ("warning", "mine-1", trace, "rag")]
    assert "ValueError: inside" in rows[0]["error"] and rows[1]["message"] == "GET /bug 500" and rows[1]["extra"]["status"] == 500
    made = [get(url + path).headers["x-request-id"] for path in ("/secret", "/health", "/health")]
    assert len(set(made)) == 3 and all(made) and {row["request_id"] for row in noted(log, 5)} == {"mine-1", *made}


def test_a_line_written_in_the_thread_of_a_route_carries_the_id(url: str, log: FileLog) -> None:
    assert get(url + "/speak", Authorization=f"Bearer {TOKEN}", **{"X-Request-Id": "mine-2"}).status_code == 200
    (row,) = log.reader.newest(Query.of(contains="from the thread"))
    assert (row["request_id"], row["service"]) == ("mine-2", "rag") and row["thread"] != "MainThread"


def test_what_changes_or_fails_is_noted_and_what_is_asked_all_the_time_is_not(url: str, log: FileLog) -> None:
    for method, path, token in (("GET", "/number/1", TOKEN), ("POST", "/change", TOKEN), ("GET", "/secret", "wrong"), ("GET", "/health", "x"), ("GET", "/metrics", "x")):
        with httpx.Client() as client:
            client.request(method, url + path + "?key=value", headers={"Authorization": f"Bearer {token}"})
    levels = {row["message"]: row["level"] for row in noted(log, 5)}
    assert levels == {"GET /number/1 200": "debug", "POST /change 200": "info", "GET /secret 401": "info", "GET /health 200": "debug", "GET /metrics 404": "debug"}


def test_a_client_sends_the_id_of_the_call_it_is_made_for(url: str, log: FileLog) -> None:
    def call() -> str:
        enter_call()
        found = current()
        with Client(url, TOKEN) as client:
            client.get("/speak")
        return found.id if found else ""

    made = contextvars.Context().run(call)
    assert {row["request_id"] for row in noted(log, 2)} == {made}
