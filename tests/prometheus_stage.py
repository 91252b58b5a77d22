"""A real Prometheus for tests: a server on a free loopback port that takes samples by remote write, and promtool's rule tests."""

from __future__ import annotations

import os
import shutil
import socket
import struct
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from suite.monitoring.window import Semantics

MISSING = "prometheus and promtool are not on PATH; install the package `prometheus`"
STALE = 0x7FF0000000000002  # the NaN that marks a series as gone
_DAYS = "3650d"


def installed() -> bool:
    """Whether both programs are there."""
    return bool(shutil.which("prometheus") and shutil.which("promtool"))


def semantics() -> Semantics:
    """Those of the installed version."""
    said = subprocess.run(["prometheus", "--version"], capture_output=True, text=True, check=True)
    return Semantics.of_version((said.stdout or said.stderr).split("version ")[1].split()[0].split("+")[0])


class Server:
    """One running Prometheus."""

    def __init__(self, port: int, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60)

    def ready(self) -> bool:
        """Whether it answers; an AssertionError when it has ended."""
        assert self.process.poll() is None, "prometheus ended; see its log"
        try:
            return self.http.get("/-/ready").status_code == 200
        except httpx.TransportError:
            return False

    def write(self, series: Sequence[tuple[dict[str, str], Any, Any]]) -> None:
        """Keep samples: (labels with __name__, times in ms, values) per series. A NaN becomes the mark of a series that is gone."""
        body = b"".join(_field(1, _series(*one)) for one in series)
        headers = {"Content-Encoding": "snappy", "Content-Type": "application/x-protobuf", "X-Prometheus-Remote-Write-Version": "0.1.0"}
        answer = self.http.post("/api/v1/write", content=_snappy(body), headers=headers)
        assert answer.status_code == 204, answer.text

    def range(self, query: str, begin: float, end: float, step: int) -> list[dict[str, Any]]:
        """The result of a query at every step."""
        answer = self.http.post("/api/v1/query_range", data={"query": query, "start": repr(begin), "end": repr(end), "step": str(step)})
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]["result"]


@contextmanager
def running(folder: Path) -> Iterator[Server]:
    """A server with an empty store in `folder`, which ends with the block."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "prometheus.yml").write_text("global: {}\n", encoding="utf-8")
    command = ["prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data", f"--storage.tsdb.retention.time={_DAYS}",
               f"--storage.tsdb.min-block-duration={_DAYS}", f"--storage.tsdb.max-block-duration={_DAYS}", f"--web.listen-address=127.0.0.1:{port}",
               "--web.enable-remote-write-receiver", "--query.max-samples=500000000"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    server = Server(port, process)
    try:
        while not server.ready():
            time.sleep(0.02)  # its own start, about 0.1 s; a server that ended fails the assertion in ready()
        yield server
    finally:
        server.http.close()
        process.terminate()
        process.wait(30)


def rule_tests(file: Path) -> subprocess.CompletedProcess[str]:
    """Run promtool's tests of rules."""
    return subprocess.run(["promtool", "test", "rules", str(file)], capture_output=True, text=True, cwd=file.parent,
                          env=os.environ | {"GOGC": "400", "GOMAXPROCS": "1"})  # half its time; others run beside it


def _series(labels: dict[str, str], ms: Any, values: Any) -> bytes:
    head = b"".join(_field(1, _field(1, name.encode()) + _field(2, labels[name].encode())) for name in sorted(labels))
    rows = np.zeros(len(ms), dtype=[("head", "V3"), ("value", "<u8"), ("tag", "u1"), ("time", "u1", 6)])
    rows["head"] = np.void(b"\x12\x10\x09")  # field 2, 16 bytes: a double, then a time of 41 bits in 6 bytes
    rows["value"] = np.where(np.isnan(values), np.uint64(STALE), np.asarray(values, dtype="<f8").view("<u8"))
    rows["tag"] = 0x10
    for place in range(6):
        rows["time"][:, place] = (np.asarray(ms) >> (7 * place) & 0x7F) | (0x80 if place < 5 else 0)
    return head + rows.tobytes()


def _field(number: int, content: bytes) -> bytes:
    return bytes([number << 3 | 2]) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out, value = out + bytes([value & 0x7F | 0x80]), value >> 7
    return out + bytes([value])


def _snappy(body: bytes) -> bytes:
    """Snappy's block format with nothing but literals."""
    chunks = [body[place:place + 65536] for place in range(0, len(body), 65536)]
    return _varint(len(body)) + b"".join(b"\xf4" + struct.pack("<H", len(chunk) - 1) + chunk for chunk in chunks)
