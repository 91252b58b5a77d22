"""The nine parts of this process: built in one order, started side by side, served on their ports, closed in reverse."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from suite import __version__, checkout
from suite.access.actor import Actors
from suite.access.admin import Admin
from suite.access.apikey import ApiKeys
from suite.access.audit import Audit
from suite.access.checkpoint import FILE as HEAD
from suite.access.checkpoint import Checkpoint
from suite.access.exposure import TOLD, exposure
from suite.access.identify import Door
from suite.access.key import create_key
from suite.access.lifecycle import Lifecycle
from suite.access.mode import mode_of
from suite.access.policy import load_policy
from suite.backup import source
from suite.backup.backups import Backups
from suite.backup.migration import before_migration
from suite.backup.restore import finish
from suite.embedding.embed import Embedder
from suite.embedding.rerank import open_reranker
from suite.errors import PortBusy, SettingsError
from suite.gateway.gateway import Gateway
from suite.gateway.roster import upstreams
from suite.gateway.series import ReplySeries
from suite.host import PARTS, Claim, HostRecord, choose_ports, token_folder
from suite.http.apps import apps
from suite.http.serve import HttpServers, bind
from suite.knowledge.knowledge import Knowledge
from suite.knowledge.series import KnowledgeSeries
from suite.maintainer.job import Job
from suite.maintainer.maintainer import Maintainer
from suite.memory.memory import Memory
from suite.monitoring.log import BEAT_SECONDS, open_log
from suite.monitoring.log_series import LogSeries
from suite.monitoring.logs import Logs
from suite.monitoring.metric import Metrics
from suite.monitoring.model_memory import ModelMemory
from suite.monitoring.monitor import Monitor
from suite.monitoring.probe import Part, guarded
from suite.monitoring.table import MONITORING
from suite.monitoring.tracing import open_tracing
from suite.runbooks.execute import execute
from suite.series import give_series, monitor, unwatched, watching
from suite.serving.catalog import profile
from suite.serving.residence import Residence
from suite.serving.server import ModelServer
from suite.settings import Settings, runtime_dir
from suite.storage.engine import Storage, open_storage
from suite.tools.builtin.browser import WebOptions
from suite.tools.call import Tools
from suite.tools.desk import Desk
from suite.tools.offer import Parts, every_tool
from suite.tools.sandbox import Sandbox, Sessions
from suite.tools.series import ToolSeries
from suite.tools.shelf import Shelf
from suite.tools.trail import Trail
from suite.usage.accounts import Accounts
from suite.usage.ledger import Ledger
from suite.usage.record import CANCELLED, FALLBACK, OK, Usage
from suite.vectors.part import open_store

AUTO_TRIES = 5
BACKUP_SECONDS = 7200.0  # how long the daily backup may take before the maintainer counts as stopped
QUIET_SECONDS = 2
ENDED_WELL = (OK, FALLBACK, CANCELLED)
log = logging.getLogger("suite.stack")


class Stack:
    """Everything a host runs. `parts[name]` are the nine parts, `servers` their ports, `starts[name]` when each began and was ready."""

    hosting = True

    def __init__(self, settings: Settings, data: Path, claim: Claim, clock: Callable[[], float] = time.time) -> None:
        """`clock` is what monitoring, the maintainer and the log go by (UTC seconds); a drill moves it on."""
        self.settings, self.data, self.claim, self.clock = settings, data, claim, clock
        self.id, self.began, self.starting = uuid.uuid4().hex, time.time(), True
        self.starts: dict[str, dict[str, float | None]] = {name: {"started_s": None, "ready_s": None} for name in PARTS}
        self._done: list[str] = []  # the parts whose start() has returned
        self.servers = HttpServers()
        self.metrics = Metrics()
        self._replies = ReplySeries(self.metrics.registry("api-gateway"))
        self.parts: dict[str, Part] = {}
        self.stopped, self.ended = threading.Event(), threading.Event()  # begun to stop; stopped
        self._stopping = threading.Lock()
        self._closers: list[Callable[[], None]] = [claim.release]

    def start(self) -> None:
        """Bind the ports, build and serve the parts, publish the record, load the models.

        Raises StartError for what concerns the whole stack; a part that cannot be ready says so itself. Whatever is raised, nothing stays behind.
        """
        try:
            profile(self.settings.profile)  # an unknown profile is refused before anything is opened
            sockets = self._bind()
            self._closers += [sock.close for sock in sockets.values()]
            self._build()
            self._closers.append(self.servers.stop)
            self.servers.start({name: (sockets[name], app) for name, app in apps(self).items()})
            self.claim.publish(self.record)
            if self.monitor is not None:
                self.monitor.start()
            self._load()
        except BaseException:
            self.stop()
            raise
        self.starting = False
        log.info("version %s is up, profile %s, stage %s, gateway on port %d", __version__, self.settings.profile, self.settings.stage,
                 self.ports["api-gateway"])

    def _bind(self) -> dict[str, Any]:
        for attempt in range(AUTO_TRIES):
            self.ports = choose_ports(self.settings.port_base)
            self.ports = {name: port for name, port in self.ports.items() if name not in unwatched(self.settings)}
            sockets: dict[str, Any] = {}
            try:
                for part, port in self.ports.items():
                    sockets[part] = bind(self.settings.bind, port, part)
                return sockets
            except BaseException as error:
                for sock in sockets.values():
                    sock.close()
                if self.settings.port_base != "auto" or not isinstance(error, PortBusy) or attempt == AUTO_TRIES - 1:
                    raise
        raise AssertionError("unreachable")

    def _build(self) -> None:
        """Make every part in the order of the sentence in DESIGN.md; none of them loads anything yet."""
        s, data = self.settings, self.data
        self._open_log()
        self._finish_restore()
        self.storage: Storage = open_storage(s.database_url, data / "sqlite", keep=partial(before_migration, data / "backups"))
        self._closers.append(self.storage.close)
        self.usage = Ledger(self.storage)
        self.accounts = Accounts(self.usage, lambda: [row["name"] for row in self.loaded() if row["loaded"]])
        self._closers.append(self.usage.close)
        self.key = create_key(token_folder(data / "run", runtime_dir(), data))
        self._closers.append(self.key.remove)
        self.audit, self.actors = Audit(self.storage, Checkpoint(data / "sqlite" / HEAD)), Actors(self.storage, load_policy())
        self.life = Lifecycle(self.audit, self.actors.policy, s, data, self.id, __version__)
        self._closers.append(lambda: self.life.stopped(whole=not self.starting))  # after all that writes entries was closed
        self.life.started()
        self.keys = ApiKeys(self.storage, self.actors)
        self.door = Door(self.key, self.keys, s.mcp_user_id)
        self.admin = Admin(self.actors, self.keys, self.audit)
        self.record = self._record()
        models = profile(s.profile)
        residence = Residence(models)
        chat = ModelServer("inference-chat", "chat", s, s.models_dir, data / "cache", models.chat, residence, self.life.restarted)
        code = ModelServer("inference-code", "code", s, s.models_dir, data / "cache", models.code, residence, self.life.restarted)
        gateway = Gateway(upstreams(s, {chat.name: chat, code.name: code}), chat=s.api_gateway_chat_model, code=s.api_gateway_code_model,
                          timeout=s.llm_request_timeout, failures=s.breaker_failures, seconds=s.breaker_seconds, record=self._note_reply,
                          who=s.mcp_user_id)
        embedder = Embedder(s, s.models_dir, data / "cache")
        store = open_store(s, data / "vectors")
        self._closers.append(store.close)  # it is open from here on, whatever the rest of this does
        ranker = open_reranker(s, s.models_dir, data / "cache")
        if ranker is not None:
            self._closers.append(ranker.close)
        knowledge = Knowledge(self.storage, store, embedder, lambda messages, options: gateway.chat(messages, gateway.chat_alias, **options), s,
                              ranker=ranker, serves=lambda: _serves(gateway, chat),
                              series=KnowledgeSeries(self.metrics.registry("rag")))
        memory = Memory(self.storage, store, embedder, s)
        sandbox = Sandbox(data / "cache" / "sandbox")
        sandbox.sweep()
        self.sessions = Sessions(sandbox, most=s.mcp_max_sessions, idle=s.mcp_session_timeout)
        self._closers.append(self.sessions.close)
        parts = Parts(memory, knowledge.ask, gateway.chat, self.loaded, self.switch_model, self._runbook, sandbox, self.sessions,
                      lambda box: _no_programs(s, box), _web(s), lambda: s.notion_token, s.notion_url)
        tools = Tools(self.audit, self.actors, s.workspace_dir, s, every_tool(parts), lambda: {"sandbox": sandbox.strength().name},
                      Shelf(self.audit, self.actors, s.mcp_user_id, s.reports_dir, lambda: _documents(knowledge),
                            lambda path: knowledge.reader.read(path).text),
                      ToolSeries(self.metrics.registry("mcp-server"), self.tracing and self.tracing.part))
        self.store, self.embedder = store, embedder
        self.backups = Backups(data / "backups", self._sources, self.storage)
        maintainer = Maintainer(self.storage, self._jobs(memory), clock=self.clock)
        self.parts = {part.name: part for part in (chat, code, gateway, embedder, store, knowledge, memory, tools, maintainer)}
        self.gateway, self.knowledge, self.memory, self.tools = gateway, knowledge, memory, tools
        self.approvals, self.trail = Desk(tools.approver, self.door), Trail(self.audit, self.actors)
        self._closers += [part.close for part in self.parts.values()]
        self._watch(give_series(self.metrics, self))

    def _watch(self, models: Callable[[], list[ModelMemory]]) -> None:
        """Have the targets looked at; the first round is made once the ports are served."""
        self.monitor: Monitor | None = None
        if self.settings.monitoring_enabled:
            self.monitor = monitor(self.metrics, self.data / "monitoring", {job: self.address(job) for job in self.ports}, self.settings,
                                   self.tools.mail.send, models, self.clock)
            self._closers.append(self.monitor.close)

    def address(self, port: str) -> str:
        """Host and port where one of the ports can be reached from this machine."""
        return self.record.url(port).removeprefix("http://")

    def _open_log(self) -> None:
        self.log = open_log(self.settings, self.data / "logs", self.clock)
        self._closers.append(self.log.close)
        self.logs = Logs(self.log.reader, self.stopped.is_set)
        self.metrics.registry(MONITORING).register(LogSeries(self.log, self.clock))
        self.tracing = open_tracing(self.settings, __version__)
        if self.tracing is not None:
            self._closers.append(self.tracing.close)

    def _note_reply(self, usage: Usage) -> None:
        self.usage.record(usage)
        self._replies.observe(usage)
        if self.tracing is not None:
            self.tracing.part(f"chat {usage.alias}", usage.seconds, usage.outcome in ENDED_WELL, alias=usage.alias, model=usage.model,
                              outcome=usage.outcome, prompt_tokens=usage.prompt_tokens, tokens=usage.tokens)

    def observe(self, target: str, part: str, route: str, status: int, seconds: float) -> None:
        """Count a request that a port has answered at a target, and trace it."""
        self.metrics.observe(target, part, route, status, seconds)
        if self.tracing is not None:
            self.tracing.request(part, route, status, seconds)

    def _runbook(self, name: str) -> Any:
        """Execute a runbook against this stack; its kernel is told no more than what it needs to find it."""
        here = {key: str(value) for key in ("data_dir", "reports_dir", "waivers", "ci_result") if (value := getattr(self.settings, key))}
        return execute(name, {"settings": here}, self.settings, progress=False)

    def _jobs(self, memory: Memory) -> list[Job]:
        s = self.settings
        try:
            backup = Job("backup", self.backup, daily=s.memory_backup_cron, limit=BACKUP_SECONDS)
        except SettingsError as error:
            raise SettingsError(f"MEMORY_BACKUP_CRON is {s.memory_backup_cron!r} but must be a local time HH:MM, such as 03:00.") from error
        expiry = Job("expiry", lambda: {"expired": memory.expire()}, every=s.ttl_check_interval)
        return [expiry, Job("sync", memory.sync, every=s.memory_sync_interval), backup, Job("logs", self.log.beat, every=BEAT_SECONDS)]

    def backup(self) -> dict[str, Any]:
        """What happens daily: make a snapshot, restore it into a scratch folder, and delete those that newer ones stand for.

        Nothing is deleted unless the new snapshot came back whole. Raises StorageError.
        """
        done = self.backups.daily()
        return {**done, "pruned": list(self.backups.prune(dry_run=False).gone)}

    def _sources(self) -> list[Any]:
        return source.everything(self.storage, self.store, self.settings)

    def _finish_restore(self) -> None:
        """End a restore that was killed in the middle, before anything is opened."""
        url = self.settings.database_url
        ended = finish(self.data, (lambda: open_storage(url, self.data / "sqlite")) if url else None)
        if ended:
            log.warning("a restore that had been interrupted was finished: %s is in place", ended)

    def _record(self) -> HostRecord:
        s = self.settings
        return HostRecord(
            id=self.id, pid=os.getpid(), process_started=psutil.Process().create_time(), started=self.began, version=__version__,
            commit=checkout.commit(), profile=s.profile, stage=s.stage, bind=s.bind, ports=self.ports, token_file=str(self.key.file),
            identity=s.identity(), cwd=str(Path.cwd()),
        )

    def _load(self) -> None:
        """Start the parts in two threads: the models in one, everything else in the other (two cores are the least we plan for)."""
        models = [self.parts["inference-chat"], self.parts["inference-code"], self.parts["api-gateway"]]
        others = [part for part in self.parts.values() if part not in models]
        failures: list[BaseException] = []
        threads = [threading.Thread(target=self._start_parts, args=(group, failures), name="suite-start", daemon=True) for group in (models, others)]
        for thread in threads:
            thread.start()
        try:
            self._wait(threads)
        except BaseException:
            self.stopped.set()  # an interrupt: no further part is begun, the one at work is waited for before anything is closed
            for thread in threads:
                thread.join()
            raise
        if failures:
            raise failures[0]

    def _wait(self, threads: list[threading.Thread]) -> None:
        """Until the threads have ended; after two seconds with a progress bar, because then weights are being fetched or large ones read."""
        quiet = time.monotonic() + QUIET_SECONDS
        for thread in threads:
            thread.join(max(0.0, quiet - time.monotonic()))
        if not any(thread.is_alive() for thread in threads):
            return
        from tqdm.auto import tqdm  # here, because in a notebook it loads the widgets
        seen = sys.stderr.isatty() or "ipykernel" in sys.modules
        with tqdm(total=len(PARTS), desc="starting", unit="part", leave=False, disable=not seen) as bar:
            while any(thread.is_alive() for thread in threads):
                for thread in threads:
                    thread.join(0.1)
                waiting = [name for name, times in self.starts.items() if times["started_s"] is not None and name not in self._done]
                bar.set_postfix_str(", ".join(waiting), refresh=False)
                bar.update(len(self._done) - bar.n)

    def _start_parts(self, group: list[Part], failures: list[BaseException]) -> None:
        try:
            for part in group:
                if self.stopped.is_set():
                    return
                self.starts[part.name]["started_s"] = round(time.time() - self.began, 3)
                part.start()
                self._done.append(part.name)
                if guarded(part.ready).ok:
                    self.starts[part.name]["ready_s"] = round(time.time() - self.began, 3)
        except BaseException as error:  # noqa: BLE001 - carried to the thread that waits, whatever it is
            failures.append(error)

    def loaded(self) -> list[dict[str, Any]]:
        """What each model server has loaded (ModelServer.info)."""
        return [server.info() for server in (self.parts["inference-chat"], self.parts["inference-code"])]

    def status(self) -> dict[str, Any]:
        """The body of `/v1/parts`: which host this is and how each of the nine parts is."""
        return {"host": self._host_facts(), "parts": [self._part_facts(name) for name in PARTS]}

    def _host_facts(self) -> dict[str, Any]:
        r = self.record
        return {"id": r.id, "pid": r.pid, "profile": r.profile, "stage": r.stage, "commit": r.commit, "version": r.version, "started_at": r.started,
                "starting": self.starting, "smoke": profile(r.profile).smoke, "config": self.settings.digest(), "ports": r.ports,
                "aliases": [self.gateway.chat_alias, self.gateway.code_alias], "llm_request_timeout": self.settings.llm_request_timeout,
                "expected": {role: self.parts[f"inference-{role}"].expected() for role in ("chat", "code")}, "cwd": r.cwd,
                "audit_head": list(self.audit.head()), "workspace": str(self.tools.workspace), "data_dir": str(self.data),
                "watching": watching(self.monitor, self.log), "python": sys.prefix, "exposure": exposure(self.settings, self.keys.list()),
                **{name: self.settings.values()[name] for name in TOLD}}

    def _part_facts(self, name: str) -> dict[str, Any]:
        part = self.parts[name]
        live, ready = guarded(part.live), guarded(part.ready)
        beat = part.heartbeat["age_s"] if isinstance(part, Maintainer) else None
        return {"name": name, "live": live.ok, "ready": ready.ok, "reasons": list(ready.reasons), "port": self.ports.get(name),
                "restarts": getattr(part, "restarts", 0), "heartbeat_age_s": beat, **self.starts[name]}

    def switch_model(self, role: str, model: str) -> dict[str, Any]:
        """Serve another model in one of the two places."""
        server = self.parts[f"inference-{role}"]
        if model:
            server.swap(model)
        else:
            server.load()
        return server.info()

    def unload_model(self, role: str) -> dict[str, Any]:
        """Give the memory of one of the two models back."""
        server = self.parts[f"inference-{role}"]
        server.unload()
        return server.info()

    def stop(self) -> None:
        """Close everything in reverse order; safe to call twice, and again after an interrupt."""
        with self._stopping:
            self.stopped.set()
            while self._closers:
                closer = self._closers.pop()
                try:
                    closer()
                except Exception:  # one part that cannot be closed must not keep the others, the ports and the lock
                    log.exception("closing %s failed", getattr(closer, "__qualname__", closer))
            self.ended.set()


def _documents(knowledge: Knowledge) -> list[tuple[str, str]]:
    """Collection and path of every document that was indexed whole."""
    return [(row["name"], document.path) for row in knowledge.collections() for document in knowledge.documents(row["name"]) if document.complete]


def _web(settings: Settings) -> WebOptions:
    allowed = tuple(host.strip() for host in settings.web_allowed.split(",") if host.strip())
    return WebOptions(settings.web_browser, allowed, settings.web_seconds)


def _no_programs(settings: Settings, sandbox: Sandbox) -> str:
    """Why no program of a caller may run under these settings; empty when one may."""
    if not settings.sandbox_enabled:
        return "SANDBOX_ENABLED is false, and programs run in the sandbox or not at all; set it to true."
    weaker = sandbox.strength().weaker
    if weaker and not mode_of(settings).weaker_sandbox:
        return f"Security mode {mode_of(settings).name!r} takes no sandbox that lacks a layer: {' '.join(weaker)}"
    return ""


def _serves(gateway: Gateway, chat: ModelServer) -> tuple[str, int | None]:
    """Which model writes answers from documents, and the tokens of its window where it is known: that of our own server."""
    first = gateway.first(gateway.chat_alias)
    if first is not chat:
        return f"{first.name} {getattr(first, 'model', '')}", None
    facts = chat.info()
    return f"{facts['id']} {facts.get('sha256', '')}", facts.get("n_ctx")
