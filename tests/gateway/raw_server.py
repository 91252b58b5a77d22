"""A server that sends exactly the bytes it is told to: what no well-made library would."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable
from typing import Any

Script = bytes | Callable[[socket.socket], None]


class RawServer:
    """On a free port; each request gets the next of `scripts`, the last one again and again. Bytes are sent, then the connection is closed."""

    def __init__(self, *scripts: Script) -> None:
        self.scripts, self.requests, self.connections = list(scripts), [], 0
        self._sock = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._sock.getsockname()[1]}/v1"

    def body(self, index: int = -1) -> dict[str, Any]:
        """What was asked, as JSON."""
        return json.loads(self.requests[index].partition(b"\r\n\r\n")[2])

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._sock.accept()
            except OSError:
                return
            self.connections += 1
            self._open.append(connection)
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            while (request := _request(connection)) is not None:
                self.requests.append(request)
                script = self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]
                if isinstance(script, bytes):
                    connection.sendall(script)
                    return
                script(connection)
        except OSError:
            pass
        finally:
            connection.close()

    def close(self) -> None:
        for sock in (self._sock, *self._open):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()
        for thread in self._threads:
            thread.join(5)

    def __enter__(self) -> RawServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _request(connection: socket.socket) -> bytes | None:
    data = b""
    while b"\r\n\r\n" not in data:
        chunk = connection.recv(65536)
        if not chunk:
            return None
        data += chunk
    head, _, body = data.partition(b"\r\n\r\n")
    length = next((int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0)
    while len(body) < length:
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body


def http(body: bytes | dict[str, Any], status: str = "200 OK", kind: str = "application/json", length: int | None = None, **headers: str) -> bytes:
    """A whole response; `length` may lie."""
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    more = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body) if length is None else length}\r\n{more}\r\n".encode() + body


def staying(response: bytes) -> Callable[[socket.socket], None]:
    """The response, and the connection stays open for the next request."""
    return lambda connection: connection.sendall(response)


def sse(*events: Any, end: bool = True) -> bytes:
    """An event stream that ends with the connection; dicts become `data:` lines, bytes are sent as they are."""
    lines = b"".join(event if isinstance(event, bytes) else b"data: " + json.dumps(event, ensure_ascii=False).encode() + b"\n\n" for event in events)
    return b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nConnection: close\r\n\r\n" + lines + (b"data: [DONE]\n\n" if end else b"")


def chunk(content: str | None = None, finish: str | None = None, **more: Any) -> dict[str, Any]:
    """An event of a chat stream."""
    delta = {} if content is None else {"content": content}
    return {"model": "there", "choices": [{"index": 0, "delta": {**delta, **more.pop("delta", {})}, "finish_reason": finish}], **more}


def answer(content: str | None = "hello", **more: Any) -> dict[str, Any]:
    """The body of a chat completion."""
    choice = {"index": 0, "message": {"role": "assistant", "content": content, **more.pop("message", {})}, "finish_reason": more.pop("finish", "stop")}
    usage = {"prompt_tokens": 5, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 3}}
    return {"model": "there", "choices": [{**choice, **more.pop("choice", {})}], "usage": usage, **more}
