"""Who hosts the stack of a data directory: the lock, the record in run/host.json, and whether that host still lives."""

from __future__ import annotations

import hashlib
import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import filelock
import psutil

from suite.access.key import read_key
from suite.errors import HostGone, StartError, SuiteError
from suite.http.client import Client

PORTS = {
    "api-gateway": 8000, "inference-chat": 8001, "rag": 8002, "embedding": 8003, "inference-code": 8004,
    "memory-api": 8005, "mcp-server": 8020, "security-admin": 8021, "qdrant": 6333, "monitoring": 9090, "alerts": 9093, "logs": 3100,
    "dashboard": 3001,
}
PARTS = ("mcp-server", "api-gateway", "rag", "embedding", "inference-chat", "inference-code", "qdrant", "memory-api", "memory-maintainer")
RECORD_SECONDS = 20  # how long a host may hold the lock before its record must be there


@dataclass(frozen=True)
class HostRecord:
    """What run/host.json says: who hosts, where, and what was asked for. No secret is in it, only where the token file is."""

    id: str
    pid: int
    process_started: float  # of the process, as the kernel knows it: a pid alone may be somebody else's by now
    started: float
    version: str
    commit: str
    profile: str
    stage: str
    bind: str
    ports: dict[str, int]
    token_file: str
    identity: dict[str, Any]
    cwd: str

    def url(self, part: str) -> str:
        """Base URL of a part's port."""
        address = "127.0.0.1" if self.bind in ("0.0.0.0", "") else self.bind
        return f"http://{address}:{self.ports[part]}"

    def token(self) -> str:
        """The access token, read from its 0600 file."""
        return read_key(Path(self.token_file).parent).token

    def alive(self) -> bool:
        """Whether the very process that wrote the record still runs."""
        try:
            process = psutil.Process(self.pid)
            # a process that has ended stays in the table until its parent asks; it hosts nothing any more
            return abs(process.create_time() - self.process_started) < 1.0 and process.status() != psutil.STATUS_ZOMBIE
        except psutil.Error:
            return False


class Claim:
    """The lock of a data directory, held by the host as long as it lives; the system releases it when the process dies."""

    def __init__(self, folder: Path, lock: filelock.BaseFileLock) -> None:
        self._folder, self._lock = folder, lock

    def publish(self, record: HostRecord) -> None:
        """Write run/host.json in one step."""
        partial = self._folder / "host.json.partial"
        partial.unlink(missing_ok=True)
        partial.touch(mode=0o600)
        partial.write_text(json.dumps(asdict(record), indent=2, default=str), encoding="utf-8")
        os.replace(partial, self._folder / "host.json")

    def release(self) -> None:
        """Remove the record and let go of the lock; safe to call twice."""
        if self._lock.is_locked:
            (self._folder / "host.json").unlink(missing_ok=True)
            self._lock.release()


def claim(folder: Path) -> Claim | HostRecord:
    """Become the host of `folder` (a data directory's `run`), or find who is.

    Raises HostGone when the holder of the lock neither answers nor writes its record.
    """
    lock = filelock.FileLock(folder / "host.lock", mode=0o600, thread_local=False)  # `suite down` ends the stack from another thread
    deadline = time.monotonic() + RECORD_SECONDS
    while True:
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            record = read(folder)
            if record is not None and record.alive():
                return greet(record)
        else:
            (folder / "host.json").unlink(missing_ok=True)  # of a host that was killed
            return Claim(folder, lock)
        if time.monotonic() > deadline:
            raise HostGone(f"Another process holds {folder / 'host.lock'} but wrote no record within {RECORD_SECONDS} s; "
                           "end the process that starts a suite there, then try again.")
        time.sleep(0.05)


def read(folder: Path) -> HostRecord | None:
    """The record in `folder`, or None when there is none that can be read."""
    try:
        return HostRecord(**json.loads((folder / "host.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def greet(record: HostRecord) -> HostRecord:
    """The handshake: the host must answer with the id of its record.

    Raises HostGone when it does not, with the state of its process.
    """
    try:
        with Client(record.url("api-gateway"), record.token(), timeout=5) as client:
            answer = client.get("/v1/parts").json()["host"]["id"]
    except (HostGone, StartError) as error:
        raise HostGone(f"The host of this data directory is pid {record.pid} ({_state(record.pid)}), but it does not answer at "
                       f"{record.url('api-gateway')}; wake it, or end it with `kill {record.pid}`, then call suite.start() again.") from error
    except (SuiteError, ValueError, KeyError) as error:
        raise HostGone(f"What answers at {record.url('api-gateway')} is not the host of this data directory ({error}); "
                       f"end pid {record.pid} and call suite.start() again.") from error
    if answer != record.id:
        raise HostGone(f"{record.url('api-gateway')} belongs to another stack ({answer}); end pid {record.pid} and call suite.start() again.")
    return record


def token_folder(run: Path, runtime: Path | None, data: Path) -> Path:
    """Where the token belongs: a private folder of the user's runtime directory when there is one, else the data directory's `run`."""
    if runtime is None or not runtime.is_dir():
        return run
    folder = runtime / f"local-ai-suite-{hashlib.sha256(str(data).encode()).hexdigest()[:12]}"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def _state(pid: int) -> str:
    try:
        return psutil.Process(pid).status()
    except psutil.Error:
        return "ended"


def choose_ports(port_base: str) -> dict[str, int]:
    """The port of each part: the original's numbers plus `port_base`, or a free range for `auto`.

    Raises StartError for a base that is no number or leads out of the range of ports.
    """
    if port_base == "auto":
        taken = {c.laddr.port for c in psutil.net_connections("tcp") if c.laddr and c.status == psutil.CONN_LISTEN}
        # below the system's ephemeral ports, and a first guess that keeps two automatic starts at the same moment apart
        seed = os.getpid() * 97 + time.monotonic_ns() // 1000
        bases = (1000 + (seed + step) % 220 * 100 for step in range(220))
        base = next((base for base in bases if not {port + base for port in PORTS.values()} & taken), None)
        if base is None:
            raise StartError("No free range of ports was found; end some servers or name SUITE_PORT_BASE.")
    else:
        try:
            base = int(port_base)
        except ValueError:
            raise StartError(f"SUITE_PORT_BASE is {port_base!r} but must be a whole number or `auto`.") from None
    ports = {part: port + base for part, port in PORTS.items()}
    if not all(0 < port < 65_536 for port in ports.values()):
        low, high = 1 - min(PORTS.values()), 65_535 - max(PORTS.values())
        raise StartError(f"SUITE_PORT_BASE {base} leads to port {max(ports.values())}; choose a number between {low} and {high}.")
    return ports
