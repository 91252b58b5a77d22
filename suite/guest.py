"""The faces of a stack that another process hosts: the same methods and records, over HTTP."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import Any

from suite.errors import HostGone, HostMismatch
from suite.host import HostRecord
from suite.http.client import Client
from suite.http.remote_approvals import RemoteApprovals
from suite.http.remote_audit import RemoteTrail
from suite.http.remote_backups import RemoteBackups
from suite.http.remote_embedding import RemoteEmbedder
from suite.http.remote_gateway import RemoteGateway
from suite.http.remote_knowledge import RemoteKnowledge
from suite.http.remote_logs import RemoteLogs
from suite.http.remote_memory import RemoteMemory
from suite.http.remote_monitor import RemoteMonitor
from suite.http.remote_tools import RemoteTools
from suite.http.remote_usage import RemoteAccounts
from suite.monitoring.table import MONITORING
from suite.settings import Settings

START_SECONDS = 600  # how long a host may take to load its models while a guest waits
ANSWER_SECONDS = 30
LOAD_SECONDS = 900  # how long another model may take to load
MODEL_SERVERS = ("inference-chat", "inference-code")
STATUS_SECONDS = 10  # a host that sleeps is found out within this, however patient requests to its models are


@dataclass
class Guest:
    """The remote faces, and the connections they keep."""

    hosting = False
    record: HostRecord
    gateway: RemoteGateway
    knowledge: RemoteKnowledge
    memory: RemoteMemory
    tools: RemoteTools
    approvals: RemoteApprovals
    trail: RemoteTrail
    embedder: RemoteEmbedder
    backups: RemoteBackups
    monitor: RemoteMonitor | None
    logs: RemoteLogs
    accounts: RemoteAccounts
    _clients: dict[str, Client]
    stopped: threading.Event = field(default_factory=threading.Event)

    def status(self) -> dict[str, Any]:
        """What the host says of itself and its parts.

        Raises HostGone when it no longer answers.
        """
        body: dict[str, Any] = self._clients["api-gateway"].get("/v1/parts", timeout=STATUS_SECONDS).json()
        if body["host"]["id"] != self.record.id:
            raise HostGone("The host of this bench has ended and another one took its place; call suite.start() again to join it.")
        return body

    def loaded(self) -> list[dict[str, Any]]:
        """What each model server has loaded (ModelServer.info), from its own port."""
        return [row for part in MODEL_SERVERS for row in self._clients[part].get("/v1/models").json()["data"]]

    def switch_model(self, role: str, model: str) -> dict[str, Any]:
        """Have the host serve another model in one of the two places."""
        return self._clients[f"inference-{role}"].post("/models/load", json={"model": model}, timeout=LOAD_SECONDS).json()

    def unload_model(self, role: str) -> dict[str, Any]:
        """Have the host give the memory of one of the two models back."""
        return self._clients[f"inference-{role}"].post("/models/unload", timeout=LOAD_SECONDS).json()

    def stop(self) -> None:
        """Let go of the connections; the host goes on."""
        self.stopped.set()
        for client in self._clients.values():
            client.close()


def join(record: HostRecord, settings: Settings, version: str, attach: bool) -> Guest:
    """Become a guest of a live host and wait until it has loaded its models.

    Raises HostMismatch when its settings, profile, stage or version are not what was asked for and `attach` is False, and HostGone when
    it ends meanwhile.
    """
    different = [] if attach else differences(record, settings, version)
    if different:
        raise HostMismatch(
            f"The stack that runs here (pid {record.pid}) is another than asked for: {'; '.join(different)}. Call suite.start(attach=True) "
            "to use what is there, or `suite down` to end it first.", pid=record.pid)
    token = record.token()
    slow = settings.llm_request_timeout * 2
    waits = {"api-gateway": slow, "rag": slow, "memory-api": ANSWER_SECONDS, "mcp-server": ANSWER_SECONDS, "embedding": slow,
             "logs": ANSWER_SECONDS, "alerts": ANSWER_SECONDS, MONITORING: ANSWER_SECONDS, **dict.fromkeys(MODEL_SERVERS, ANSWER_SECONDS)}
    clients = {part: Client(record.url(part), token, seconds) for part, seconds in waits.items() if part in record.ports}
    stopped = threading.Event()
    gateway, logs = RemoteGateway(clients["api-gateway"]), RemoteLogs(clients["logs"], stopped.is_set)
    watched = RemoteMonitor(clients[MONITORING], clients.get("alerts")) if MONITORING in clients else None
    guest = Guest(record, gateway, RemoteKnowledge(clients["rag"]), RemoteMemory(clients["memory-api"]), RemoteTools(clients["mcp-server"]),
                  RemoteApprovals(clients["mcp-server"]), RemoteTrail(clients["mcp-server"]), RemoteEmbedder(clients["embedding"]),
                  RemoteBackups(clients["api-gateway"]), watched, logs, RemoteAccounts(clients["api-gateway"]), clients, stopped)
    deadline = time.monotonic() + START_SECONDS
    while guest.status()["host"]["starting"]:
        if time.monotonic() > deadline:
            raise HostGone(f"The host (pid {record.pid}) is still loading after {START_SECONDS} s; look at its log, or end it.")
        time.sleep(0.1)
    gateway.timeout = guest.status()["host"]["llm_request_timeout"]  # the host's own patience, not ours
    return guest


def differences(record: HostRecord, settings: Settings, version: str) -> list[str]:
    """What the host has otherwise than these settings ask, one phrase each; a path that only follows the directory is not asked for."""
    found = [] if record.version == version else [f"its version is {record.version}, this one is {version}"]
    for name, wanted in settings.identity().items():
        there = record.identity.get(name)
        if there != wanted and not (name == "workspace_dir" and settings.source[name] == "default"):
            found.append(f"its {name} is {there!r}, asked was {wanted!r}")
    return found
