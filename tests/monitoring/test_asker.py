"""Asking an address: the connection is kept, and one that was closed meanwhile is no failure."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from http.client import HTTPException

import pytest

from suite.monitoring.ask import Asker

SMALL = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nhi"


class Server:
    """Answers each request on a connection with the next of `answers`; None closes the connection instead."""

    def __init__(self) -> None:
        self.sock = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.sock.getsockname()[1]}/metrics"
        self.answers: list[bytes | None] = []
        self.requests: list[tuple[int, bytes]] = []
        self.connections = 0
        self.open: list[socket.socket] = []
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self.sock.accept()
            except OSError:
                return
            self.connections += 1
            self.open.append(connection)
            threading.Thread(target=self._serve, args=(connection, self.connections), daemon=True).start()

    def _serve(self, connection: socket.socket, number: int) -> None:
        with connection, contextlib.suppress(OSError):  # whoever asked has gone
            while asked := connection.recv(65536):
                self.requests.append((number, asked.split(b"\r\n")[0]))
                answer = self.answers.pop(0) if self.answers else SMALL
                if answer is None:
                    return
                connection.sendall(answer)

    def close(self) -> None:
        self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()
        for connection in self.open:
            connection.close()


@pytest.fixture
def server() -> Iterator[Server]:
    opened = Server()
    yield opened
    opened.close()


@pytest.fixture
def asker() -> Iterator[Asker]:
    opened = Asker(10)
    yield opened
    opened.close()


def test_one_connection_is_kept_for_an_address(server: Server, asker: Asker) -> None:
    assert [asker.get(server.url) for _ in range(3)] == [(200, "text/plain")] * 3
    assert server.requests == [(1, b"GET /metrics HTTP/1.1")] * 3


def test_a_kept_connection_that_was_closed_is_made_anew_once(server: Server, asker: Asker) -> None:
    asker.get(server.url)
    server.answers = [None, SMALL]
    assert asker.get(server.url) == (200, "text/plain") and [number for number, _ in server.requests] == [1, 1, 2]
    server.answers = [None, None, SMALL]
    with pytest.raises(HTTPException):
        asker.get(server.url)
    assert server.answers == [SMALL], "a fresh connection that is closed as well is the answer"
    assert asker.get(server.url) == (200, "text/plain")


def test_an_answer_that_ends_the_connection_is_whole(server: Server, asker: Asker) -> None:
    server.answers = [SMALL.replace(b"200 OK\r\n", b"503 No\r\nConnection: close\r\n").replace(b"Content-Type: text/plain\r\n", b"")]
    assert asker.get(server.url) == (503, "")
    assert asker.get(server.url) == (200, "text/plain") and server.connections == 2


def test_nobody_and_silence_are_errors(server: Server) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        asker = Asker(0.2)
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/metrics"
        with pytest.raises(TimeoutError):
            asker.get(url)
    with pytest.raises(OSError):
        asker.get(url)
    server.answers = [SMALL, SMALL[:-1]]
    asker.get(server.url)
    with pytest.raises(TimeoutError):
        asker.get(server.url)
    assert len(server.requests) == 2, "who was silent is not asked twice"
    asker.close()
