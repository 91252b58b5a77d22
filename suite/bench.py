"""`start()`, `Bench`, and the only place that knows every part."""

from __future__ import annotations

import atexit
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from suite import __version__, guest, host, render
from suite.checks.surroundings import Scratch, Surroundings
from suite.checks.target import Target
from suite.errors import BadRequest, HostGone, HostMismatch, StartError
from suite.guest import Guest
from suite.knowledge.collection import Collection
from suite.knowledge.evaluate import Evaluation, Question, evaluate
from suite.knowledge.progress import shown
from suite.knowledge.record import RETRIEVERS
from suite.memory.feed import Feeding
from suite.monitoring.cells import CellWatch
from suite.monitoring.elsewhere import Elsewhere, Prometheus
from suite.monitoring.log_follow import Following
from suite.monitoring.log_query import Moment, utc_seconds
from suite.monitoring.monitoring import Monitoring
from suite.monitoring.request_context import enter_call
from suite.runbooks import run as runbooks
from suite.serving.listing import ModelTable
from suite.serving.reply import Reply, ReplyStream
from suite.settings import Settings, load
from suite.storage.place import open_data_dir
from suite.tools.desk import ApprovalsFace
from suite.tools.toolbox import Toolbox
from suite.tools.trail import TrailFace
from suite.usage.frame import advice_frame, frame

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from suite.backup.backups import Backups
    from suite.memory.memory import Memory
    from suite.stack import Stack

COLUMNS = ("part", "port", "state", "why")
SMOKE = "Smoke profile: the bundled models prove that the stack works; they only copy from passages."

_open: dict[Path, Bench] = {}  # the benches of this process, by data directory
_opening = threading.Lock()


class Bench:
    """The stack, in this kernel or another: the same methods give the same either way."""

    def __init__(self, settings: Settings, behind: Stack | Guest) -> None:
        self.settings, self._behind = settings, behind
        self._tools, self._cells = Toolbox(behind.tools), CellWatch()
        self._prometheus = Prometheus(settings.prometheus_url) if settings.prometheus_url else None

    @property
    def hosting(self) -> bool:
        """Whether the stack runs in this process."""
        return self._behind.hosting

    @property
    def stopped(self) -> bool:
        """Whether this bench was stopped, here or by `suite down`."""
        return self._behind.stopped.is_set()

    def chat(self, message: str | list[dict[str, Any]], *, model: str = "auto", stream: bool = False, remember: bool = False, project: str = "",
             session: str = "", **options: Any) -> Reply | ReplyStream:
        """Ask a model: text, or a list of `{"role", "content"}` messages; gives a Reply, or pieces of text when `stream` is set.

        With `remember` the model is given what is remembered about the question, at most MEMORY_CONTEXT_TOKENS of it, the new turn is kept in
        `project`, and the Reply shows both. Options are max_tokens, temperature, top_p, seed, stop and repeat_penalty. Raises NotReady, BadRequest
        or ContextOverflow.
        """
        gateway = self._live(self._behind.gateway)
        if not remember:
            return gateway.chat(message, model=model, stream=stream, **options)
        feeding = Feeding(gateway.chat, self.memory, message, self.settings.memory_context_tokens, project, session)
        return feeding.stream(model=model, **options) if stream else feeding.reply(model=model, **options)

    def switch_model(self, role: str, model: str = "") -> dict[str, Any]:
        """Serve another model as `chat` or `code`: a catalogue name, a file of the models directory, or a path; empty loads what was unloaded.

        Gives what is loaded then. Replies that are being written are finished by the old model, which goes on when the new one is refused.
        Raises BadRequest, WeightsError, Denied for its licence.
        """
        here = str(Path(model).expanduser().absolute()) if os.sep in model else model
        return self._live(self._behind).switch_model(_role(role), here)

    def unload_model(self, role: str) -> dict[str, Any]:
        """Give the memory of the `chat` or `code` model back; `switch_model(role)` loads it again. Running replies end with an error."""
        return self._live(self._behind).unload_model(_role(role))

    def collection(self, name: str = "") -> Collection:
        """The documents kept under `name`; relative paths given to it resolve in the directory of the call."""
        return Collection(self._live(self._behind.knowledge), name or self.settings.rag_default_collection, Path.cwd())

    def collections(self) -> list[dict[str, Any]]:
        """Name, number of documents and number of chunks of every collection that has a document."""
        return self._live(self._behind.knowledge).collections()

    def evaluate(self, collection: str, questions: Iterable[Question | Mapping[str, Any]], retrievers: Sequence[str] = RETRIEVERS) -> Evaluation:
        """How often the right passage of a collection is found, for questions that say in which `document` (and `quote`) their answer is.

        Raises BadRequest for questions without that, NotFound for a collection without documents.
        """
        face = self._live(self._behind.knowledge)
        return evaluate(lambda question, limit, retriever: face.search(collection, question, limit, retriever), questions, retrievers, shown)

    def embed(self, texts: list[str], kind: str = "passage") -> np.ndarray:
        """One unit-length float32 vector per text, shape (n, numbers of the model), in order.

        `kind` is `passage` for what is to be found, `query` for what it is to be found by. Raises BadRequest for too many or too long texts,
        NotReady.
        """
        return self._live(self._behind.embedder).embed(texts, kind)

    @property
    def models(self) -> ModelTable:
        """The aliases with the models behind them, and the other models of the catalogue; prints as a table, `.rows`, `.frame()` (pandas)."""
        behind = self._live(self._behind)
        return ModelTable.of(behind.gateway.models(), behind.loaded(), Path(behind.record.identity["models_dir"]))

    @property
    def memory(self) -> Memory:
        """Conversation memory: remember, recall, turns, edit, note, forget, projects, export and more (see Memory)."""
        return self._live(self._behind.memory)

    @property
    def backups(self) -> Backups:
        """Snapshots of the database and the vectors: create, verify (by restoring), list, standing (RPO and RTO), prune."""
        return self._live(self._behind.backups)

    @property
    def tools(self) -> Toolbox:
        """The tools, behind permissions and the audit trail: list, call."""
        return self._live(self._tools)

    @property
    def approvals(self) -> ApprovalsFace:
        """Calls that wait for an approval: list, approve, reject, cancel; with `key`, an API key, as its actor."""
        return self._live(self._behind.approvals)

    @property
    def audit(self) -> TrailFace:
        """The audit trail: list (a DataFrame), verify, head."""
        return self._live(self._behind.trail)

    @property
    def monitoring(self) -> Monitoring:
        """What is watched: targets, metrics, samples, rules, alerts, silences, memory by model and by cell, as DataFrames; silence an alert.

        With PROMETHEUS_URL targets, rules, alerts, samples and charts are what that Prometheus saw.
        """
        own = self._live(self._behind).monitor
        read = own if own is None or self._prometheus is None else Elsewhere(own, self._prometheus.ask)
        return Monitoring(read, self.settings.mcp_user_id, self._cells)

    def logs(self, *, since: Moment = None, until: Moment = None, level: str = "", service: str = "", contains: str = "", request_id: str = "",
             n: int = 100, follow: bool = False) -> pd.DataFrame | Following:
        """The newest `n` lines of the log that fit, the oldest of them first, as a table; `level` is the least one.

        Times are such as "30m", "12h", "2026-01-31T08:00", a datetime or seconds since 1970. With `follow` it gives an iterator of the lines that
        are written from now on: `for` waits for them, `async for` leaves the kernel free, `.new()` does not wait; `close()` ends it. Raises
        BadRequest.
        """
        face = self._live(self._behind.logs)
        asked = {"since": since, "until": until, "level": level, "service": service, "contains": contains, "request_id": request_id, "n": n}
        return face.follow(**asked) if follow else face.read(**asked)

    def usage(self, since: Moment = "7d", by: str | Sequence[str] = "", n: int = 10_000) -> pd.DataFrame:
        """Requests to models, the newest `n` since a moment: at (UTC), who, alias, model, server, tokens, seconds and its stages, outcome.

        Never what was said. With `by` (who, alias, model, server, outcome, day, hour; several with commas) they are added up instead: requests,
        success (answered, of those that nobody cancelled), fallbacks, cancelled, failed, tokens, and of the answered ones p50 and p95 of their
        seconds, until the first piece (first) and in the server's queue. Days and hours are of the host's time zone. Raises BadRequest, StorageError.
        """
        return frame(self._live(self._behind.accounts), utc_seconds(since, "since") or 0.0, by, n)

    def advice(self, since: Moment = "30d") -> pd.DataFrame:
        """What the usage since a moment suggests to change: kind, about (an alias or a server), sentence, and the numbers that it rests on."""
        return advice_frame(self._live(self._behind.accounts), utc_seconds(since, "since") or 0.0)

    def run(self, runbook: str, **parameters: Any) -> runbooks.Report:
        """Execute a runbook against this stack and archive it; gives a Report with verdict, path and checks."""
        self.status()  # a bench whose host has ended must not run the book on another stack
        # only what the other kernel needs to find this stack and its archive: a report shows its parameters, and must hold no secret
        here = {name: str(getattr(self.settings, name)) for name in ("data_dir", "reports_dir")}
        parameters["settings"] = {**here, **parameters.get("settings", {})}
        return runbooks.execute(runbook, parameters, self.settings)

    def status(self) -> dict[str, Any]:
        """`{"host": …, "parts": […]}`: who hosts, and how each of the nine parts is now."""
        return self._live(self._behind).status()

    def target(self) -> Target:
        """This stack as checks see it: base URLs, token, and the start that was recorded."""
        record = self._behind.record
        folder = self.settings.data_dir / "cache"  # the stack reads what lies in its data directory
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return Target(urls={part: record.url(part) for part in record.ports}, token=record.token(), profile=record.profile, folder=folder)

    def stop(self) -> None:
        """End the stack when it runs here, leave it when another process hosts it; safe to call twice."""
        self._cells.close()
        if self._prometheus is not None:
            self._prometheus.close()
        self._behind.stop()
        atexit.unregister(self._behind.stop)
        with _opening:
            if _open.get(self.settings.data_dir) is self:
                del _open[self.settings.data_dir]

    def wait(self) -> None:
        """Block until the stack that this process hosts has ended, for example by `suite down`."""
        if self.hosting:
            self._behind.ended.wait()

    def _live(self, face: Any) -> Any:
        if self.stopped:
            raise HostGone("This bench was stopped; call suite.start() for a new one.")
        enter_call()
        return face

    def __repr__(self) -> str:
        try:
            title, rows, note = self._card()
        except HostGone as gone:
            return f"<Bench: {gone}>"
        return f"{title}\n{render.text_table(COLUMNS, rows)}\n{note}".rstrip()

    def _repr_html_(self) -> str:
        try:
            title, rows, note = self._card()
        except HostGone as gone:
            return render.card("Local AI Suite", [], note=str(gone))
        return render.table(COLUMNS, rows, title=title, note=note)

    def _card(self) -> tuple[str, list[list[Any]], str]:
        status, record = self.status(), self._behind.record
        where = "hosted by this process" if self.hosting else f"guest of pid {record.pid}"
        title = f"Local AI Suite {record.version} · profile {record.profile} · stage {record.stage} · {where}"
        rows = [[part["name"], part["port"], "ready" if part["ready"] else "not ready", "; ".join(part["reasons"])] for part in status["parts"]]
        return title, rows, SMOKE if status["host"]["smoke"] else ""


def _role(role: str) -> str:
    if role not in ("chat", "code"):
        raise BadRequest(f"There is no model server {role!r}; choose chat or code.", param="role")
    return role


def start(profile: str | None = None, *, attach: bool = False, **settings: Any) -> Bench:
    """Bring the stack up in this process, or join the one that already runs on the same data directory.

    `settings` are rows of the settings table; `attach` accepts a running stack whatever its settings. Raises SettingsError, StartError
    (PortBusy, DataDirError, HostMismatch, HostGone), StorageError.
    """
    wanted = load({"profile": profile, **settings})
    with _opening:
        present = _open.get(wanted.data_dir)
    if present is not None and _still_there(present):
        different = [] if attach else guest.differences(present._behind.record, wanted, __version__)
        if different:
            raise HostMismatch(f"This process already has a bench that differs: {'; '.join(different)}. Call its stop() first, "
                               "or suite.start(attach=True).")
        return present
    data = open_data_dir(wanted.data_dir)
    found = host.claim(data / "run")
    if isinstance(found, host.Claim):
        stack = _stack(wanted, data, found)
        bench = Bench(wanted, stack)
        atexit.register(stack.stop)
    else:
        bench = Bench(wanted, guest.join(found, wanted, __version__, attach))
    with _opening:
        _open[wanted.data_dir] = bench
    if bench._behind.monitor is not None:
        bench._cells.open()
    return bench


def _stack(settings: Settings, data: Path, claim: host.Claim, clock: Callable[[], float] = time.time) -> Stack:
    from suite.stack import Stack  # here, because it loads every heavy library, and a guest needs none of them

    stack = Stack(settings, data, claim, clock)
    stack.start()
    return stack


def _still_there(bench: Bench) -> bool:
    if bench.stopped:
        return False
    try:
        bench.status()
    except (HostGone, StartError):
        bench.stop()
        return False
    return True


@contextmanager
def throwaway(clock: Callable[[], float] = time.time, **settings: Any) -> Iterator[tuple[Stack, Target]]:
    """A stack of its own on a temporary data directory and free ports, for drills and tests; the models directory is the user's.

    `clock` (UTC seconds) is what its monitoring goes by.
    """
    with tempfile.TemporaryDirectory(prefix="suite-throwaway-") as folder:
        ours = load({"models_dir": str(load(settings).models_dir), **settings, "data_dir": folder, "port_base": "auto"})
        data = open_data_dir(Path(folder))
        claim = host.claim(data / "run")
        assert isinstance(claim, host.Claim)
        stack = _stack(ours, data, claim, clock)
        target, scratch = Bench(ours, stack).target(), Scratch(Path(folder) / "checkout")
        target.surroundings = Surroundings(root=scratch.root, commit=scratch.commit)
        try:
            yield stack, target
        finally:
            target.close()
            stack.stop()


def runbook(name: str, **parameters: Any) -> runbooks.Run:
    """What the first cell of a runbook calls: join or start the stack (or take base URLs), and get ready to run its checks."""
    return runbooks.begin(name, start=start, **parameters)
