"""All ports from one background thread: bound first, so that a busy port is an error in the cell; then served by uvicorn."""

from __future__ import annotations

import asyncio
import errno
import socket
import threading
from collections.abc import Mapping
from typing import Any

import psutil
import uvicorn
from anyio.to_thread import current_default_thread_limiter

from suite.errors import PortBusy, StartError

START_SECONDS = 20
THREADS = 256  # requests that are being answered at once; one that waits for a model holds a thread, and must not hold up a health check
KEPT_SECONDS = 75  # an idle connection stays: whoever looks every 15 s need not connect anew
GRACE_SECONDS = 2  # how long open streams may finish when the stack stops


def bind(address: str, port: int, part: str) -> socket.socket:
    """A socket bound to `address:port`; nothing listens on it yet.

    Raises PortBusy, naming the owner and the call that avoids it.
    """
    # IPPROTO_TCP is spelled out because asyncio sets TCP_NODELAY only then; without it every request waits 40 ms
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((address, port))
        sock.listen(128)
    except OSError as error:
        sock.close()
        if error.errno == errno.EADDRINUSE:
            raise PortBusy(f"Port {port} ({part}) is taken by {owner(port)}; end that process, or call suite.start(port_base=\"auto\") "
                           "(`suite up --port-base auto`) for free ports.", port=port) from error
        raise StartError(f"Cannot listen on {address}:{port} ({part}): {error.strerror}; set SUITE_BIND and SUITE_PORT_BASE to an address and "
                         "ports that this user may use.") from error
    return sock


def owner(port: int) -> str:
    """Who has `port`: `pid 123 (python -m x)`, or a process of another user. A connection that goes out from it keeps it just as a listener does."""
    ours = [connection for connection in psutil.net_connections("tcp") if connection.laddr and connection.laddr.port == port and connection.pid]
    for connection in sorted(ours, key=lambda one: one.status != psutil.CONN_LISTEN):
        try:
            command = " ".join(psutil.Process(connection.pid).cmdline())[:120]
        except psutil.Error:
            command = "command not readable"
        return f"pid {connection.pid} ({command})"
    return "a process of another user"


class HttpServers:
    """The running ports of one stack: name to (socket, app), one event loop in one daemon thread."""

    def __init__(self) -> None:
        self._servers: dict[str, uvicorn.Server] = {}
        self._sockets: dict[str, socket.socket] = {}
        self._addresses: dict[str, tuple[str, int]] = {}
        self._serving: list[asyncio.Task[None]] = []
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self, apps: Mapping[str, tuple[socket.socket, Any]]) -> None:
        """Serve every app on its socket; returns when all of them accept.

        Raises StartError when they do not within 20 s.
        """
        for name, (sock, app) in apps.items():
            config = uvicorn.Config(app, log_config=None, access_log=False, lifespan="on", timeout_keep_alive=KEPT_SECONDS,
                                    timeout_graceful_shutdown=GRACE_SECONDS, ws="none")
            self._servers[name], self._sockets[name], self._addresses[name] = uvicorn.Server(config), sock, sock.getsockname()[:2]
        started = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(started,), name="suite-http", daemon=True)
        self._thread.start()
        if not started.wait(START_SECONDS) or not all(server.started for server in self._servers.values()):
            dead = [name for name, server in self._servers.items() if not server.started]
            self.stop()
            raise StartError(f"The HTTP servers of {', '.join(dead)} did not start; the log file has the details.")

    def _run(self, started: threading.Event) -> None:
        try:
            asyncio.run(self._serve(started))
        finally:
            started.set()

    async def _serve(self, started: threading.Event) -> None:
        self._loop = asyncio.get_running_loop()
        current_default_thread_limiter().total_tokens = THREADS
        await asyncio.gather(*map(self._listen, self._servers))
        started.set()
        while not all(task.done() for task in self._serving):  # a port that was opened again meanwhile is one more
            await asyncio.wait(self._serving)

    async def _listen(self, name: str) -> None:
        """Serve a port, and return when it accepts, or has ended."""
        server = self._servers[name]
        task = asyncio.create_task(server.serve(sockets=[self._sockets[name]]))
        self._serving.append(task)
        while not server.started and not task.done():
            await asyncio.sleep(0.005)

    def app(self, name: str) -> Any:
        """The app behind a port."""
        return self._servers[name].config.app

    def close(self, name: str) -> None:
        """Stop listening on one port, as if its process had ended."""
        self._servers[name].should_exit = True
        sock = self._sockets[name]
        if self._loop is not None:
            asyncio.run_coroutine_threadsafe(_until_closed(sock), self._loop).result(GRACE_SECONDS + 5)

    def open(self, name: str) -> None:
        """Listen again on a port that was closed; returns when it accepts. Raises PortBusy where somebody else has it now."""
        assert self._loop is not None
        self._sockets[name] = bind(*self._addresses[name], name)
        self._servers[name] = uvicorn.Server(self._servers[name].config)
        asyncio.run_coroutine_threadsafe(self._listen(name), self._loop).result(START_SECONDS)

    def stop(self) -> None:
        """Stop every port and wait for the thread; safe to call twice."""
        for server in self._servers.values():
            server.should_exit = True
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(GRACE_SECONDS * 2 + 5)
        for sock in self._sockets.values():
            sock.close()
        self._servers, self._sockets = {}, {}


async def _until_closed(sock: socket.socket) -> None:
    while sock.fileno() != -1:
        await asyncio.sleep(0.01)
