"""The one way out of the browser: a forwarding proxy on loopback that resolves, checks and connects itself.

What it connects to is the very address that was checked, so a name that answers differently the second time gains nothing.
"""

from __future__ import annotations

import secrets
import selectors
import socket
import threading
import time
from base64 import b64encode
from contextlib import ExitStack, suppress
from hmac import compare_digest

from suite.errors import BadRequest, SuiteError
from suite.tools.builtin.address import Addresses, canonical_host, place_of

HEAD_LIMIT = 64_000  # bytes of a request's head
BYTES_LIMIT = 100_000_000  # of all connections together, both ways
CONNECTIONS_LIMIT = 64  # at a time
CONNECT_SECONDS = 10.0
IDLE_SECONDS = 30.0
_PIECE = 1 << 16
_OWN = {b"proxy-authorization", b"proxy-connection", b"connection", b"keep-alive", b"te", b"trailer", b"upgrade", b"host"}  # not passed on


class _Refused(Exception):
    """A request that is not served; the status line's number and word."""


class Proxy:
    """Serves HTTP proxy requests of whoever knows `user` and `password`, on `port` of loopback, until it is left or its time is up.

    `refused` says why a `host:port` was not reached; `spent` counts the bytes that went through.
    """

    def __init__(self, addresses: Addresses, *, seconds: float, limit: int = BYTES_LIMIT) -> None:
        self.user, self.password = "suite", secrets.token_urlsafe(24)  # other users of the machine could connect to the port
        self.refused: dict[str, str] = {}
        self.spent = 0
        self.port = 0
        self._addresses, self._limit, self._until = addresses, limit, time.monotonic() + seconds
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._closed = False
        self._listener: socket.socket | None = None

    def __enter__(self) -> Proxy:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=CONNECTIONS_LIMIT)
        self.port = self._listener.getsockname()[1]
        self._start(self._accept, self._listener)
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._closed = True
            opened = [*self._open, self._listener]
        for sock in opened:
            if sock is not None:
                with suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)  # wakes who waits in it
        until = time.monotonic() + CONNECT_SECONDS
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))
        if self._listener is not None:
            self._listener.close()

    @property
    def url(self) -> str:
        """What a browser is told as its proxy."""
        return f"http://127.0.0.1:{self.port}"

    def _start(self, work: object, *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, name="suite-web-proxy", daemon=True)  # type: ignore[arg-type]
        self._threads = [one for one in self._threads if one.is_alive()] + [thread]
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            with self._lock:
                room = not self._closed and len(self._threads) <= CONNECTIONS_LIMIT
            if room:
                self._start(self._serve, client)
            else:
                client.close()

    def _keep(self, stack: ExitStack, sock: socket.socket) -> socket.socket:
        """Close a socket at the end, and let the proxy's end wake whoever waits in it."""
        stack.enter_context(sock)
        with self._lock:
            if self._closed:
                raise _Refused("503 Closed")
            self._open.add(sock)
        stack.callback(self._open.discard, sock)
        return sock

    def _serve(self, client: socket.socket) -> None:
        with ExitStack() as stack, suppress(OSError):  # a connection that breaks off is the browser's or the server's affair
            try:
                self._keep(stack, client)
                head, rest = self._head(client)
                method, goal, fields = _parse(head)
                self._identify(fields)
                if method == b"CONNECT":
                    server = self._connect(stack, goal.decode("ascii", "replace"))
                    client.sendall(b"HTTP/1.1 200 Connected\r\n\r\n")
                    self._send(server, rest)
                    self._tunnel(client, server)
                else:
                    self._forward(stack, client, method, goal, fields, rest)
            except _Refused as refused:
                word = b'Proxy-Authenticate: Basic realm="suite"\r\n' if str(refused).startswith("407") else b""
                client.sendall(b"HTTP/1.1 " + str(refused).encode("ascii") + b"\r\n" + word + b"Content-Length: 0\r\nConnection: close\r\n\r\n")

    def _head(self, client: socket.socket) -> tuple[bytes, bytes]:
        data = b""
        while b"\r\n\r\n" not in data:
            piece = b"" if len(data) > HEAD_LIMIT else self._receive(client)
            if not piece:
                raise _Refused("400 Bad Request")
            data += piece
        head, _, rest = data.partition(b"\r\n\r\n")
        return head, rest

    def _identify(self, fields: list[tuple[bytes, bytes]]) -> None:
        wanted = b"Basic " + b64encode(f"{self.user}:{self.password}".encode())
        given = [value for name, value in fields if name == b"proxy-authorization"]
        if len(given) != 1 or not compare_digest(given[0], wanted):
            raise _Refused("407 Proxy Authentication Required")

    def _connect(self, stack: ExitStack, place: str) -> socket.socket:
        """A connection to one of the addresses that were just resolved and checked."""
        host, _, digits = place.rpartition(":")
        if not digits.isdecimal() or not digits.isascii() or not 0 < int(digits) < 65536:
            raise _Refused("400 Bad Request")
        port = int(digits)
        try:
            host = canonical_host(host.removeprefix("[").removesuffix("]"))
            addresses = self._addresses.reach(host, port)
        except SuiteError as error:
            self.refused[place.lower()] = self.refused[place_of(host, port)] = str(error)
            raise _Refused("403 Forbidden") from None
        failure = "no address"
        for address in addresses:
            server = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
            self._keep(stack, server).settimeout(min(CONNECT_SECONDS, self._left()))
            try:
                server.connect((address, port))
                return server
            except OSError as error:
                failure = error.strerror or type(error).__name__
        self.refused[place_of(host, port)] = str(BadRequest(f"{place_of(host, port)} does not answer ({failure}); check the address."))
        raise _Refused("502 Bad Gateway")

    def _forward(self, stack: ExitStack, client: socket.socket, method: bytes, goal: bytes, fields: list[tuple[bytes, bytes]], rest: bytes) -> None:
        """One request of plain HTTP, exactly as long as it says: what follows on the connection may be meant for somebody else."""
        scheme, _, tail = goal.partition(b"://")
        authority, slash, path = tail.partition(b"/")
        if scheme.lower() != b"http" or not slash or b"@" in authority:
            raise _Refused("400 Bad Request")
        lengths = [value for name, value in fields if name == b"content-length"]
        if len(lengths) > 1 or any(not value.isdigit() for value in lengths) or any(name == b"transfer-encoding" for name, _ in fields):
            raise _Refused("501 Not Implemented")
        place = authority.decode("ascii", "replace")
        server = self._connect(stack, place if place.rpartition("]")[2].count(":") else place + ":80")
        passed = [(name, value) for name, value in fields if name not in _OWN]
        lines = [method + b" /" + path + b" HTTP/1.1", b"host: " + authority, *(name + b": " + value for name, value in passed), b"connection: close"]
        self._send(server, b"\r\n".join(lines) + b"\r\n\r\n")
        left = int(lengths[0]) if lengths else 0
        piece = rest
        while left:
            self._send(server, piece[:left])
            left -= len(piece[:left])
            if left and not (piece := self._receive(client)):
                return
        while piece := self._receive(server):
            self._send(client, piece)

    def _tunnel(self, client: socket.socket, server: socket.socket) -> None:
        other = {client: server, server: client}
        with selectors.DefaultSelector() as selector:
            for sock in other:
                selector.register(sock, selectors.EVENT_READ)
            while selector.get_map():
                ready = selector.select(min(IDLE_SECONDS, self._left()))
                if not ready:
                    return
                for key, _ in ready:
                    sock = key.fileobj
                    assert isinstance(sock, socket.socket)
                    if piece := self._receive(sock):
                        self._send(other[sock], piece)
                    else:
                        selector.unregister(sock)
                        other[sock].shutdown(socket.SHUT_WR)

    def _left(self) -> float:
        left = self._until - time.monotonic()
        if left <= 0 or self.spent > self._limit:
            raise OSError("the proxy's time or bytes are spent")
        return left

    def _receive(self, sock: socket.socket) -> bytes:
        sock.settimeout(min(IDLE_SECONDS, self._left()))
        piece = sock.recv(_PIECE)
        with self._lock:
            self.spent += len(piece)
        return piece

    def _send(self, sock: socket.socket, data: bytes) -> None:
        sock.settimeout(min(IDLE_SECONDS, self._left()))
        sock.sendall(data)


def _parse(head: bytes) -> tuple[bytes, bytes, list[tuple[bytes, bytes]]]:
    """Method, goal and fields of a request's head; raises _Refused for anything that two readers could read differently."""
    first, *lines = head.split(b"\r\n")
    words = first.split(b" ")
    stray = any(letter in head.replace(b"\r\n", b"") for letter in b"\r\n\0")
    if len(words) != 3 or words[2] not in (b"HTTP/1.1", b"HTTP/1.0") or not words[0].isalpha() or stray:
        raise _Refused("400 Bad Request")
    fields = []
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon or not name or name != name.strip() or b" " in name or b"\t" in name:
            raise _Refused("400 Bad Request")
        fields.append((name.lower(), value.strip()))
    return words[0], words[1], fields
