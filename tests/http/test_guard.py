"""The door of every port: token, Host, Origin; and what a client makes of a refusal."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import httpx
import pytest
from fastapi import FastAPI

from suite.errors import Denied, HostGone, NotFound, PortBusy
from suite.http.client import Client
from suite.http.guard import Guard
from suite.http.problem import add_problems
from suite.http.serve import HttpServers, bind

TOKEN = "t" * 64
SEEN: list[tuple[str, str, int]] = []


@pytest.fixture
def url() -> Iterator[str]:
    app = FastAPI()
    app.get("/secret")(lambda: {"deep": "secret"})
    app.get("/health")(lambda: {"ok": True})

    @app.get("/missing")
    def missing() -> None:
        raise NotFound("There is no such thing; look in the list.", retry_after=7)

    @app.get("/bug")
    def bug() -> None:
        raise ValueError("inside")

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
