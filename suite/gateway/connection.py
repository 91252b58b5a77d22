"""Kept connections to one model server, where every wait has an end.

httpx would do, but it takes its time-outs when a request is sent: a server that falls silent a second before a reply's deadline would be waited
for once more as long. It also costs several times as much per request as the standard library does, and that is most of a gateway's own work.
"""

from __future__ import annotations

import contextlib
import http.client
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

MOST_IDLE = 64
IDLE_SECONDS = 30.0
READ_BYTES = 1 << 16


class Unreachable(Exception):
    """No connection: the server saw nothing of the request."""


class Lost(Exception):
    """The connection ended, or carried what is no HTTP, after the request was sent."""


class Late(Exception):
    """The time was over before the answer came."""


class Hold:
    """A hand on one request: `drop` takes it back from any thread, wherever it is. Who waits for its answer gets Lost."""

    def __init__(self) -> None:
        self.dropped = False
        self._sock: socket.socket | None = None
        self._lock = threading.RLock()

    def take(self, sock: socket.socket | None) -> None:
        """The request is on this connection from now on, or on none. Raises Lost when it was taken back meanwhile."""
        with self._lock:
            self._sock = sock
            if self.dropped and sock is not None:
                raise Lost("the request was taken back")

    def drop(self) -> None:
        """Take it back; harmless when its answer was read to the end."""
        with self._lock:
            self.dropped = True
            if self._sock is not None:
                with contextlib.suppress(OSError):
                    self._sock.shutdown(socket.SHUT_RDWR)


class Answer:
    """A response whose body is still to be read, once. `status` and `headers` are there."""

    def __init__(self, response: http.client.HTTPResponse, sock: socket.socket, release: Callable[[bool], None], clock: Callable[[], float]) -> None:
        self.status, self.headers = response.status, response.headers
        self._response, self._sock, self._give_back, self._clock = response, sock, release, clock
        self._released = False

    def chunks(self, until: Callable[[], float]) -> Iterator[bytes]:
        """The body as it comes; `until` gives the moment (of the clock) up to which the next piece is waited for. Raises Lost and Late."""
        whole = False
        try:
            while True:
                _wait_until(self._sock, until(), self._clock)
                data = self._response.read1(READ_BYTES)
                if not data:
                    break
                yield data
            if self._response.length:  # read1 does not mind a body that is shorter than it was said to be
                raise Lost(f"{self._response.length} bytes of the body are missing")
            whole = True
        except TimeoutError:
            raise Late from None
        except (http.client.HTTPException, OSError, ValueError) as error:
            raise Lost(_said(error)) from error
        finally:
            self._release(whole)

    def close(self) -> None:
        """End the connection, unless the body was read to its end; for the thread that reads it."""
        self._release(False)

    def _release(self, whole: bool) -> None:
        released, self._released = self._released, True
        if not released:
            self._give_back(whole)


class Connections:
    """The connections to `url` (http or https, no path), kept between requests; `connect_timeout` is in seconds. Safe for threads."""

    def __init__(self, url: str, connect_timeout: float = 3.0, clock: Callable[[], float] = time.monotonic) -> None:
        parts = urlsplit(url)
        self.secure, self.host = parts.scheme == "https", parts.hostname or ""
        self.port = parts.port or (443 if self.secure else 80)
        self.connect_timeout, self._clock = connect_timeout, clock
        self._host_header = parts.netloc.rpartition("@")[2]
        self._idle: list[tuple[socket.socket, float]] = []
        self._lock = threading.Lock()
        self._context: ssl.SSLContext | None = None
        self._closed = False

    def send(self, method: str, path: str, body: bytes, headers: dict[str, str], until: float, hold: Hold) -> Answer:
        """Send a request and wait for the head of the answer until that moment. Raises Unreachable, Lost and Late.

        A kept connection may have ended just now; the request is then sent once more, on a new one.
        """
        lines = [f"{method} {path} HTTP/1.1", f"Host: {self._host_header}", "Accept-Encoding: identity", f"Content-Length: {len(body)}",
                 *(f"{name}: {value}" for name, value in headers.items()), "", ""]
        request = "\r\n".join(lines).encode("ascii") + body  # in one piece: a second send costs as much as everything else here
        kept = self._kept()
        if kept is not None:
            try:
                return self._exchange(kept, method, request, until, hold)
            except Lost:
                if hold.dropped:
                    raise
                try:
                    fresh = self._connect(until)
                except Unreachable as error:
                    raise Lost(f"it ended while it had the request ({error})") from error
        else:
            fresh = self._connect(until)
        return self._exchange(fresh, method, request, until, hold)

    def close(self) -> None:
        """Close the connections that nobody uses; those in use are closed when their answer ends."""
        with self._lock:
            self._closed, idle = True, self._idle
            self._idle = []
        for sock, _ in idle:
            sock.close()

    def _kept(self) -> socket.socket | None:
        while True:
            with self._lock:
                if not self._idle:
                    return None
                sock, since = self._idle.pop()
            if self._clock() - since < IDLE_SECONDS and not _readable(sock):
                return sock
            sock.close()

    def _connect(self, until: float) -> socket.socket:
        patience = min(self.connect_timeout, until - self._clock())
        if patience <= 0:
            raise Late
        sock = None
        try:
            sock = socket.create_connection((self.host, self.port), patience)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.secure:
                self._context = self._context or ssl.create_default_context()  # here: reading the authorities takes 30 ms
                sock = self._context.wrap_socket(sock, server_hostname=self.host)
            return sock
        except (OSError, UnicodeError) as error:  # the latter: a host name that no name server could know
            if sock is not None:
                sock.close()
            raise Unreachable(_said(error)) from error
        except BaseException:
            if sock is not None:
                sock.close()
            raise

    def _exchange(self, sock: socket.socket, method: str, request: bytes, until: float, hold: Hold) -> Answer:
        response = None
        try:
            hold.take(sock)
            _wait_until(sock, until, self._clock)
            sock.sendall(request)
            _wait_until(sock, until, self._clock)
            response = http.client.HTTPResponse(sock, method=method)
            response.begin()
        except BaseException as error:  # an interrupt too: the answer may still come, and must not be read as that of another request
            if response is not None:
                response.close()
            hold.take(None)
            sock.close()
            if isinstance(error, TimeoutError):
                raise Late from None
            if isinstance(error, (http.client.HTTPException, OSError, ValueError)):
                raise Lost(_said(error)) from error
            raise
        return Answer(response, sock, lambda whole: self._back(sock, response, hold, whole), self._clock)

    def _back(self, sock: socket.socket, response: http.client.HTTPResponse, hold: Hold, whole: bool) -> None:
        hold.take(None)  # before others may use it
        response.close()
        if whole and not response.will_close and sock.fileno() != -1:
            with self._lock:
                if not self._closed and len(self._idle) < MOST_IDLE:
                    self._idle.append((sock, self._clock()))
                    return
        sock.close()


def _said(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".rstrip(": ").split())[:200]  # what came instead of HTTP may be quoted in it


def _wait_until(sock: socket.socket, until: float, clock: Callable[[], float]) -> None:
    patience = until - clock()
    if patience <= 0:
        raise TimeoutError
    sock.settimeout(patience)


def _readable(sock: socket.socket) -> bool:
    """Whether there is something to read on an idle connection: its end, or what nobody asked for."""
    poll = select.poll()
    try:
        poll.register(sock, select.POLLIN)
        return bool(poll.poll(0))
    except (OSError, ValueError):
        return True
