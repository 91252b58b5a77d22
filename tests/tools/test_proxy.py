"""The browser's proxy connects to the addresses that were checked, for whoever knows its password, within bounds."""

from __future__ import annotations

import socket
import threading
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from suite.tools.builtin import proxy as proxies
from suite.tools.builtin.address import Addresses
from suite.tools.builtin.proxy import Proxy


class Origin:
    """A server that answers each connection with the same bytes and keeps what it was sent."""

    def __init__(self, answer: bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", host: str = "127.0.0.1", *, echo: bool = False) -> None:
        self.heard: list[bytes] = []
        self._answer, self._echo = answer, echo
        self._listener = socket.create_server((host, 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                with client, suppress(OSError):
                    client.settimeout(10)
                    if self._echo:
                        while piece := client.recv(65536):
                            client.sendall(piece)
                        continue
                    data = b""
                    while b"\r\n\r\n" not in data:
                        data += client.recv(65536) or b"\r\n\r\n"
                    length = int(data.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0)
                    while len(data.partition(b"\r\n\r\n")[2]) < length:
                        data += client.recv(65536)
                    client.sendall(self._answer)
                    client.shutdown(socket.SHUT_WR)
                    while piece := client.recv(65536):
                        data += piece
                    self.heard.append(data)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)
        self._listener.close()


@contextmanager
def origin(*arguments: bytes, **options: object) -> Iterator[Origin]:
    made = Origin(*arguments, **options)  # type: ignore[arg-type]
    try:
        yield made
    finally:
        made.close()


@contextmanager
def running(*allowed: str, **options: object) -> Iterator[Proxy]:
    resolve = options.pop("resolve", None)
    addresses = Addresses(allowed, resolve) if resolve else Addresses(allowed)  # type: ignore[arg-type]
    with Proxy(addresses, **{"seconds": 20.0, **options}) as made:  # type: ignore[arg-type]
        yield made


def key(proxy: Proxy) -> bytes:
    return b"Proxy-Authorization: Basic " + b64encode(f"{proxy.user}:{proxy.password}".encode()) + b"\r\n"


def ask(proxy: Proxy, request: bytes, *, then: bytes = b"") -> bytes:
    """All that the proxy answers to some bytes."""
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=10) as sock:
        sock.sendall(request)
        if then:
            sock.sendall(then)
        answer = b""
        with suppress(ConnectionResetError):
            while piece := sock.recv(65536):
                answer += piece
        return answer


def get(proxy: Proxy, url: str, more: bytes = b"") -> bytes:
    return ask(proxy, f"GET {url} HTTP/1.1\r\nHost: ignored\r\n".encode() + key(proxy) + more + b"\r\n")


def test_a_listed_place_is_fetched_and_the_password_is_not_passed_on() -> None:
    with origin() as server, running(f"127.0.0.1:{server.port}") as proxy:
        answer = get(proxy, f"http://127.0.0.1:{server.port}/a?b", b"Proxy-Connection: keep-alive\r\nX-Mine: 1\r\n")
        assert answer == b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
    sent = server.heard[0]
    assert sent.startswith(b"GET /a?b HTTP/1.1\r\n") and f"host: 127.0.0.1:{server.port}\r\n".encode() in sent and b"x-mine: 1" in sent
    assert b"proxy-" not in sent.lower() and proxy.password.encode() not in sent and b"ignored" not in sent


def test_without_the_password_nothing_is_fetched() -> None:
    with origin() as server, running(f"127.0.0.1:{server.port}") as proxy:
        goal = f"GET http://127.0.0.1:{server.port}/ HTTP/1.1\r\n".encode()
        for more in (b"", b"Proxy-Authorization: Basic c3VpdGU6eA==\r\n", b"Proxy-Authorization: Bearer x\r\n", key(proxy) * 2):
            assert ask(proxy, goal + more + b"\r\n").startswith(b"HTTP/1.1 407 ")
    assert server.heard == []


@pytest.mark.parametrize("request_line", ["GET http://127.0.0.1:{port}/ HTTP/1.1", "CONNECT 127.0.0.1:{port} HTTP/1.1", "GET http://localhost:{port}/ HTTP/1.1",
                                          "CONNECT [::ffff:127.0.0.1]:{port} HTTP/1.1", "CONNECT 2130706433:{port} HTTP/1.1", "CONNECT 0x7f.1:{port} HTTP/1.1",
                                          "GET http://[::1]:{port}/ HTTP/1.1", "CONNECT 127.0.0.1.:{port} HTTP/1.1", "CONNECT 0.0.0.0:{port} HTTP/1.1"])
def test_an_unlisted_private_place_is_refused_with_a_reason(request_line: str) -> None:
    with origin() as server, running("127.0.0.1:1") as proxy:
        answer = ask(proxy, request_line.format(port=server.port).encode() + b"\r\n" + key(proxy) + b"\r\n")
        assert answer == b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        assert any("public internet" in reason or "notation" in reason for reason in proxy.refused.values())
    assert server.heard == []


def test_a_name_that_answers_differently_the_second_time_is_refused_the_second_time() -> None:
    answers = iter([["93.184.215.14"], ["127.0.0.1"]])
    with origin() as server, running(resolve=lambda *_: next(answers)) as proxy:
        proxy._addresses.check(f"http://rebind.example:{server.port}/")  # what the tool asks before it starts the browser
        assert get(proxy, f"http://rebind.example:{server.port}/").startswith(b"HTTP/1.1 403 ")
    assert server.heard == []


def test_one_request_resolves_once_and_connects_to_what_it_checked() -> None:
    asked: list[str] = []

    def resolve(host: str, port: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else ["127.0.0.9"]

    with origin() as server, running("listed.example", resolve=resolve) as proxy:
        assert get(proxy, f"http://listed.example:{server.port}/").endswith(b"hi")
        assert asked == ["listed.example"]
        assert get(proxy, f"http://listed.example:{server.port}/").startswith(b"HTTP/1.1 502 ")
    assert len(server.heard) == 1


def test_the_next_address_is_tried_when_one_does_not_answer() -> None:
    with origin() as server, running("listed.example", resolve=lambda *_: ["127.0.0.9", "127.0.0.1"]) as proxy:
        assert get(proxy, f"http://listed.example:{server.port}/").endswith(b"hi")


def test_a_tunnel_carries_bytes_both_ways_until_both_ends_are_closed() -> None:
    with origin(echo=True) as server, running(f"127.0.0.1:{server.port}") as proxy, socket.create_connection(("127.0.0.1", proxy.port), timeout=10) as sock:
        sock.sendall(f"CONNECT 127.0.0.1:{server.port} HTTP/1.1\r\n".encode() + key(proxy) + b"\r\nearly ")
        data = b""
        while not data.endswith(b"early "):
            data += sock.recv(1000)
        assert data == b"HTTP/1.1 200 Connected\r\n\r\nearly "
        big = bytes(range(256)) * 2000
        sender = threading.Thread(target=lambda: (sock.sendall(big), sock.shutdown(socket.SHUT_WR)))
        sender.start()
        echoed = b""
        while piece := sock.recv(65536):
            echoed += piece
        sender.join(10)
        assert echoed == big and proxy.spent >= 2 * len(big)


def test_a_body_is_passed_on_and_what_follows_it_is_not() -> None:
    with origin() as server, running(f"127.0.0.1:{server.port}") as proxy:
        head = f"POST http://127.0.0.1:{server.port}/ HTTP/1.1\r\nContent-Length: 200000\r\n".encode() + key(proxy) + b"\r\n"
        smuggled = b"GET /admin HTTP/1.1\r\nHost: inner\r\n\r\n"
        ask(proxy, head, then=b"b" * 200_000 + smuggled)
    assert server.heard[0].endswith(b"\r\n\r\n" + b"b" * 200_000)


@pytest.mark.parametrize("request_text", [
    "GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n", "GET https://127.0.0.1:{port}/ HTTP/1.1\r\n", "GET file:///etc/passwd HTTP/1.1\r\n", "GET http://a@127.0.0.1:{port}/ HTTP/1.1\r\n",
    "GET http://127.0.0.1:{port} HTTP/1.1\r\n", "CONNECT 127.0.0.1 HTTP/1.1\r\n", "CONNECT 127.0.0.1:0 HTTP/1.1\r\n", "CONNECT 127.0.0.1:{port}x HTTP/1.1\r\n", "CONNECT :{port} HTTP/1.1\r\n",
    "CONNECT 127.0.0.1:99999 HTTP/1.1\r\n", "CONNECT 127.0.0.1:٨٠ HTTP/1.1\r\n", "GET http://127.0.0.1:{port}/ HTTP/2.0\r\n", "GET  http://127.0.0.1:{port}/ HTTP/1.1\r\n",
    "GET http://127.0.0.1:{port}/ HTTP/1.1\r\n folded\r\n", "GET http://127.0.0.1:{port}/ HTTP/1.1\r\nA : b\r\n", "GET http://127.0.0.1:{port}/ HTTP/1.1\r\nA: b\nC: d\r\n",
    "GET http://127.0.0.1:{port}/ HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n", "POST http://127.0.0.1:{port}/ HTTP/1.1\r\nTransfer-Encoding: chunked\r\n",
    "POST http://127.0.0.1:{port}/ HTTP/1.1\r\nContent-Length: -1\r\n", "POST http://127.0.0.1:{port}/ HTTP/1.1\r\nContent-Length: +1\r\n", "G\0T http://127.0.0.1:{port}/ HTTP/1.1\r\n",
    "nonsense\r\n", "\r\n"])
def test_anything_else_is_refused(request_text: str) -> None:
    with origin() as server, running("127.0.0.1") as proxy:
        answer = ask(proxy, request_text.format(port=server.port).encode() + key(proxy) + b"\r\n")
        assert answer[9:12] in (b"400", b"403", b"501")
    assert server.heard == []


def test_a_head_without_end_is_refused() -> None:
    with running() as proxy:
        assert ask(proxy, b"GET / HTTP/1.1\r\nA: " + b"a" * (proxies.HEAD_LIMIT + 10)).startswith(b"HTTP/1.1 400 ")


def test_the_bytes_are_bounded() -> None:
    with origin(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 5_000_000) as server, running(f"127.0.0.1:{server.port}", limit=1_000_000) as proxy:
        answer = get(proxy, f"http://127.0.0.1:{server.port}/")
        assert len(answer) < 1_200_000
        assert get(proxy, f"http://127.0.0.1:{server.port}/") == b""


def test_the_time_is_bounded() -> None:
    with origin() as server, running(f"127.0.0.1:{server.port}", seconds=-1.0) as proxy:
        assert get(proxy, f"http://127.0.0.1:{server.port}/") == b""
    assert server.heard == []


def test_leaving_ends_open_connections_and_frees_the_port() -> None:
    with running() as proxy:
        waiting = socket.create_connection(("127.0.0.1", proxy.port), timeout=10)
        until = time.monotonic() + 10
        while not proxy._open and time.monotonic() < until:
            pass
        assert proxy._open
    with waiting:
        assert waiting.recv(10) == b""
    assert not any(thread.is_alive() for thread in proxy._threads)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", proxy.port), timeout=10)


def test_it_listens_on_loopback_only() -> None:
    with running() as proxy:
        assert proxy._listener is not None and proxy._listener.getsockname()[0] == "127.0.0.1" and proxy.url == f"http://127.0.0.1:{proxy.port}"
