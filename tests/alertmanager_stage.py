"""A real Alertmanager for tests, on a free loopback port, and a receiver of webhooks that answers, refuses or hangs."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx

PROGRAM = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")
MISSING = "alertmanager is not on PATH; install the package `prometheus-alertmanager`"


class Receiver(ThreadingHTTPServer):
    """Keeps what it is sent: (headers, body). `status` is what it answers; while `held` is set it does not answer at all."""

    daemon_threads = True

    def __init__(self) -> None:
        self.came: list[tuple[dict[str, str], Any]] = []
        self.status, self.held, self.asked = 200, threading.Event(), threading.Semaphore(0)
        self.changed = threading.Condition()
        super().__init__(("127.0.0.1", 0), _Answer)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_address[1]}/hook"

    def wait(self, condition: Callable[[list[tuple[dict[str, str], Any]]], bool]) -> None:
        """Until the condition holds for what has come."""
        with self.changed:
            assert self.changed.wait_for(lambda: condition(self.came), 20), self.came


class _Answer(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.release()
        if self.server.held.is_set():
            self.rfile.read(1)  # until the other side gives up
            return
        with self.server.changed:
            self.server.came.append((dict(self.headers), body))
            self.server.changed.notify_all()
        self.send_response(self.server.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def receiving() -> Iterator[Receiver]:
    """A receiver that listens while the block runs."""
    server = Receiver()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def alertmanager(folder: Path, receiver: str) -> Iterator[str]:
    """The base URL of a running Alertmanager that sends all it gets to a webhook at once."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = {"route": {"receiver": "test", "group_by": ["alertname"], "group_wait": "10ms", "group_interval": "100ms", "repeat_interval": "1h"},
              "receivers": [{"name": "test", "webhook_configs": [{"url": receiver, "send_resolved": True}]}]}
    (folder / "alertmanager.yml").write_text(json.dumps(config), encoding="utf-8")
    command = [str(PROGRAM), f"--config.file={folder}/alertmanager.yml", f"--storage.path={folder}/data", f"--web.listen-address=127.0.0.1:{port}",
               "--cluster.listen-address="]  # its default listens on all interfaces
    with (folder / "alertmanager.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    url, pause = f"http://127.0.0.1:{port}", threading.Event()
    try:
        while not _ready(url, process):
            pause.wait(0.02)
        yield url
    finally:
        process.terminate()
        process.wait(30)


def _ready(url: str, process: subprocess.Popen[bytes]) -> bool:
    assert process.poll() is None, "alertmanager ended; see its log"
    try:
        return httpx.get(url + "/-/ready").status_code == 200
    except httpx.TransportError:
        return False
