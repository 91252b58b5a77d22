"""A stand-in of the model hub on a free port: HEAD and GET of `/owner/name/resolve/revision/file`, with ranges, a redirect, and misbehaviour on order."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

COMMIT = "c" * 40


class Hub:
    """What the stand-in carries and how it behaves; `asked` is every request as (method, path, headers)."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files  # "owner/name/file" -> content
        self.url = ""
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        self.sent = 0  # bytes of content
        self.cut_after: list[int] = []  # each GET takes one: so many bytes, then the connection is cut
        self.token = ""  # demanded when set
        self.etag: str | None = None  # instead of the content's sha256
        self.ranges = True
        self.served: bytes | None = None  # sent instead of the content
        self.more = b""  # sent after the content
        self.bare = False  # answers like any web server, without what a hub adds
        self.cdn = ""  # content is redirected to this base URL, as the hub does with large files

    def count(self, method: str) -> int:
        """How many requests of a kind came."""
        return sum(each == method for each, _, _ in self.asked)


@contextmanager
def hub(files: dict[str, bytes]) -> Iterator[Hub]:
    """A running stand-in."""
    state = Hub(files)

    class Answer(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            pass

        def do_HEAD(self) -> None:
            self.answer(False)

        def do_GET(self) -> None:
            self.answer(True)

        def answer(self, body: bool) -> None:
            state.asked.append((self.command, self.path, {name.lower(): value for name, value in self.headers.items()}))
            if state.token and self.headers.get("Authorization") != f"Bearer {state.token}":
                return self.refuse(401, "RepoNotFound")
            owner_name, _, rest = self.path.lstrip("/").partition("/resolve/")
            content = state.files.get(f"{owner_name}/{rest.partition('/')[2]}")
            if content is None:
                return self.refuse(404, "EntryNotFound")
            if state.cdn and not self.path.startswith("/cdn"):
                self.send_response(302)
                self.hub_headers(content)
                self.send_header("Location", f"{state.cdn}/cdn{self.path}")
                self.send_header("Content-Length", "0")
                return self.end_headers()
            self.content(content, body)

        def content(self, content: bytes, body: bool) -> None:
            whole = content if state.served is None else state.served
            begin = 0
            if body and state.ranges and (asked := self.headers.get("Range", "")):
                begin = int(asked.removeprefix("bytes=").split("-")[0])
            self.send_response(206 if begin else 200)
            self.hub_headers(content)
            self.send_header("Content-Length", str(len(whole) - begin + len(state.more) if body else len(content)))
            self.end_headers()
            if not body:
                return
            cut = state.cut_after.pop(0) if state.cut_after else None
            sending = (whole[begin:] + state.more)[:cut]
            state.sent += len(sending)
            self.wfile.write(sending)
            if cut is not None:
                self.wfile.flush()
                self.close_connection = True
                self.connection.shutdown(2)

        def hub_headers(self, content: bytes) -> None:
            if not state.bare:
                self.send_header("X-Repo-Commit", COMMIT)
                self.send_header("X-Linked-Size", str(len(content)))
                self.send_header("X-Linked-Etag", f'"{state.etag or hashlib.sha256(content).hexdigest()}"')
                self.send_header("ETag", f'"{state.etag or hashlib.sha256(content).hexdigest()}"')

        def refuse(self, status: int, code: str) -> None:
            self.send_response(status)
            self.send_header("X-Error-Code", code)
            self.send_header("X-Error-Message", "no")
            self.send_header("Content-Length", "0")
            self.end_headers()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    server.daemon_threads = True
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
