"""A real mail server on a free port of this machine, and what arrived there."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword


class Box:
    """What arrived, and who logged in."""

    def __init__(self) -> None:
        self.letters: list[Any] = []
        self.users: list[str] = []
        self.came = threading.Condition()

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:
        with self.came:
            self.letters.append(envelope)
            self.came.notify_all()
        return "250 OK"

    def wait(self, count: int) -> list[str]:
        with self.came:
            assert self.came.wait_for(lambda: len(self.letters) >= count, 20), self.letters
            return [letter.content.decode() for letter in self.letters]


def authenticate(box: Box) -> Any:
    def check(_server: Any, _session: Any, _envelope: Any, _mechanism: str, data: Any) -> AuthResult:
        if isinstance(data, LoginPassword) and data.password == b"sesame":
            box.users.append(data.login.decode())
            return AuthResult(success=True)
        return AuthResult(success=False, handled=False)

    return check


@contextmanager
def post_office() -> Iterator[tuple[Box, int]]:
    """The server's box and its port; the password of everybody is `sesame`."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    found = Box()
    server = Controller(found, hostname="127.0.0.1", port=port, authenticator=authenticate(found), auth_require_tls=False)
    server.start()
    try:
        yield found, port
    finally:
        server.stop()
