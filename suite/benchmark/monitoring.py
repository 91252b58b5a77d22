"""What watching costs and how soon it tells: a round, a request that is counted, thirty days on the disk, an alert, a line of the log."""

from __future__ import annotations

import http.server
import json
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median
from typing import Any

from suite.benchmark.child import Child
from suite.benchmark.figures import in_turns, paired, percentile
from suite.benchmark.row import Limit
from suite.benchmark.scene import OWN, Scene
from suite.errors import RunFailed
from suite.http.client import Client
from suite.monitoring.log_line import SERVICES
from suite.settings import Settings

MIB = 1 << 20
SILENT = "the same neither counted nor logged"
SCRAPE = Limit("a scrape of everything at port 9090: p50", "ms", "<=", 20)
TARGETS, ROUND = Limit("each target asked by itself, all of them: p50", "ms", "<=", 20), Limit("such a round with storing and rules: p50", "ms", "<=")
SERIES = Limit("series of a stack", "series", "<=")
CHAT = Limit("a chat request that is counted: p50", "x", "<=", 1.02, SILENT)
LOGGED = Limit("a chat request that is counted and has its line in the log: p50", "x", "<=", 1.02, SILENT)
CHAT_MS = Limit("a chat request: p50", "ms", "<=")
TOOL = Limit("a tool call, more when it is counted: p50", "µs", "<=", 50)
HISTORY = Limit("thirty days of history", "MiB", "<=", 200)
CHART = Limit("a chart of the overview over 24 hours, the slowest: p50", "ms", "<=", 200)
ALERT = Limit("from a number to the notification, beyond one interval: the slowest", "s", "<=", 1)
MARKER = Limit("from a line of every service until all are found: the slowest", "s", "<=", 1)
CHAT_TURNS = 12  # as many for each round: a hundredth is less than what one turn differs from the next
PATIENCE = 30.0  # seconds until something that does not come counts as lost


@dataclass(frozen=True)
class Load:
    """Rounds of monitoring; chat requests and tool calls of each turn; days of history; alerts and marker lines; seconds between rounds."""

    rounds: int = 30
    chats: int = 30
    calls: int = 2_000
    days: float = 30.0
    alerts: int = 8
    markers: int = 10
    interval: float = 2.0


QUICK = Load(rounds=5, chats=10, calls=300, days=3.0, alerts=2, markers=3)


def monitoring(settings: Settings, rounds: int, quick: bool, say: Callable[[str], None], load: Load | None = None) -> list[dict[str, Any]]:
    """All rows; medians of `rounds`. `load` stands in for the usual one."""
    load = load or (QUICK if quick else Load())
    with Scene(settings, say) as scene:
        return scene.measure([
            (f"{load.rounds} rounds of monitoring", (SCRAPE, TARGETS, ROUND, SERIES), lambda: looked_at(scene, load)),
            ("chat requests, counted and not", (CHAT, LOGGED, CHAT_MS), lambda: chats(scene, rounds, load)),
            ("alerts on their way", (ALERT,), lambda: alerts(scene, load)),
            ("lines on their way", (MARKER,), lambda: markers(scene, load)),
            (f"{load.days:g} days of history", (HISTORY, CHART), lambda: history(scene, rounds, load)),
            ("tool calls, counted and not", (TOOL,), lambda: calls(scene, rounds, load)),
        ])


def watched(scene: Scene, load: Load) -> Child:
    """The stack that all of this is measured on."""
    own = {**OWN, "data_dir": str(scene.scratch / "watched"), "models_dir": str(scene.settings.models_dir), "monitoring_interval": load.interval}
    return scene.child("the stack", "watched", **own)


def looked_at(scene: Scene, load: Load) -> list[dict[str, Any]]:
    """Rounds, one after the other; what was asked before makes the series of routes. Raises RunFailed when a target does not answer."""
    stack = watched(scene, load)
    _chat(scene, stack, 3)
    where, lasted = stack.ask("ready"), []
    with Client(where["urls"]["monitoring"], where["token"]) as client:
        for _ in range(load.rounds):
            began = time.perf_counter()
            size = len(client.get("/metrics").content)
            lasted.append(time.perf_counter() - began)
    found = stack.ask("rounds", count=load.rounds)
    if found["down"]:
        raise RunFailed(f"{found['down']} of {found['targets']} targets did not answer")
    note = f"{found['targets']} targets, {load.rounds} rounds"
    return [SCRAPE.row(1000 * median(lasted), note=f"{size / 1024:.0f} KiB, {load.rounds} times"),
            TARGETS.row(1000 * median(found["scraped"]), note=note), ROUND.row(1000 * median(found["whole"]), note=note),
            SERIES.row(found["series"])]


def chats(scene: Scene, rounds: int, load: Load) -> list[dict[str, Any]]:
    """The same requests in turns: counted and logged, counted, neither."""
    stack = watched(scene, load)
    _chat(scene, stack, 5)

    def asked(counted: bool, logged: bool) -> Callable[[int], float]:
        def once(_: int) -> float:
            stack.ask("instrumented", counted=counted, logged=logged)
            return percentile(_chat(scene, stack, load.chats)["marks"], 0.5)

        return once

    runs = in_turns({"all": asked(True, True), "counted": asked(True, False), "neither": asked(False, False)}, lambda turn: turn, CHAT_TURNS * rounds)
    stack.ask("instrumented", counted=True, logged=True)
    note = f"{CHAT_TURNS * rounds} x {load.chats} requests"
    return [CHAT.row(paired(runs["counted"], runs["neither"]), note=note), LOGGED.row(paired(runs["all"], runs["neither"]), note=note),
            CHAT_MS.row(1000 * median(runs["all"]), note=note)]


def _chat(scene: Scene, stack: Child, count: int) -> dict[str, Any]:
    where = stack.ask("ready")
    body = {"model": "chat-7b", "messages": [{"role": "user", "content": "Who are you?"}], "max_tokens": 16, "temperature": 0}
    return scene.child("the client", "client").ask("calls", url=where["urls"]["api-gateway"], token=where["token"], bodies=[body], clients=1,
                                                   count=count)


def alerts(scene: Scene, load: Load) -> list[dict[str, Any]]:
    """Rehearsals, each begun at another moment between two rounds: until the notification is at whoever listens. Raises RunFailed when one is not."""
    where = watched(scene, load).ask("ready")
    lasted = []
    with Client(where["urls"]["alerts"], where["token"]) as client, _listener() as (port, heard, told):
        for turn in range(load.alerts):
            time.sleep(load.interval * turn / load.alerts)
            marker, began = secrets.token_hex(8), time.monotonic()
            told.clear()
            client.post("/v1/rehearsals", json={"marker": marker, "port": port})
            while not any(marker in text for text, _ in list(heard)):
                told.clear()
                if time.monotonic() - began > PATIENCE:
                    raise RunFailed(f"no notification came within {PATIENCE:g} s")
                told.wait(0.1)
            lasted.append(next(at for text, at in heard if marker in text) - began)
            client.delete(f"/v1/rehearsals/{marker}")
    return [ALERT.row(max(lasted) - load.interval, note=f"{load.alerts} alerts, a round every {load.interval:g} s, median {median(lasted):.2f} s")]


@contextmanager
def _listener() -> Iterator[tuple[int, list[tuple[str, float]], threading.Event]]:
    """A receiver of webhooks: its port, what it was sent and when (monotonic seconds), and an event that is set with each."""
    heard: list[tuple[str, float]] = []
    told = threading.Event()

    class Receiver(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            heard.append((self.rfile.read(int(self.headers["Content-Length"])).decode(), time.monotonic()))
            self.send_response(200)
            self.end_headers()
            told.set()

        def log_message(self, *_: Any) -> None:
            """Nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield server.server_address[1], heard, told
        server.shutdown()
        thread.join()


def markers(scene: Scene, load: Load) -> list[dict[str, Any]]:
    """A line by the logger of each service, asked for until all of them are found. Raises RunFailed when they are not."""
    where = watched(scene, load).ask("ready")
    lasted = []
    with Client(where["urls"]["logs"], where["token"]) as client:
        for _ in range(load.markers):
            marker, began = f"marker {secrets.token_hex(8)}", time.monotonic()
            client.post("/api/v1/logs/mark", params={"text": marker})
            while {row["service"] for row in _lines(client, marker)} != set(SERVICES):
                if time.monotonic() - began > PATIENCE:
                    raise RunFailed(f"the lines were not found within {PATIENCE:g} s")
            lasted.append(time.monotonic() - began)
    return [MARKER.row(max(lasted), note=f"{load.markers} x {len(SERVICES)} lines, median {1000 * median(lasted):.0f} ms")]


def _lines(client: Client, marker: str) -> list[dict[str, Any]]:
    return list(json.loads(client.get("/api/v1/logs", params={"contains": marker, "since": "5m"}).content)["lines"])


def history(scene: Scene, rounds: int, load: Load) -> list[dict[str, Any]]:
    """All series of the stack over so many days, and the overview drawn from it by a process that just began."""
    folder = str(scene.scratch.resolve() / "history")
    made = watched(scene, load).ask("fill", folder=folder, days=load.days)
    if made["lost"]:
        raise RunFailed(f"{made['lost']} samples could not be written")
    scene.end("the stack")
    charts = scene.child("the charts", "charts", folder=folder)
    drawn = [charts.ask("draw", hours=24) for _ in range(rounds)]
    scene.end("the charts")
    if not all(drawn[0]["lines"]):
        raise RunFailed(f"panels of the overview have no line: {drawn[0]['lines']}")
    slowest = max(median(one["seconds"][place] for one in drawn) for place in range(len(drawn[0]["seconds"])))
    note = f"{made['series']} series, {made['samples']} samples"
    return [HISTORY.row(made["bytes"] / MIB, note=note + ("" if load.days >= 30 else f" of {load.days:g} days only")),
            CHART.row(1000 * slowest, note=f"{len(drawn[0]['lines'])} charts of {sum(drawn[0]['lines'])} lines")]


def calls(scene: Scene, rounds: int, load: Load) -> list[dict[str, Any]]:
    """Calls one after the other in turns, counted or not."""
    child = scene.child("calls in process", "counted_calls", data=str(scene.scratch.resolve() / "calls"))
    child.ask("free", count=min(100, load.calls))

    def called(silent: bool) -> Callable[[int], float]:
        def once(_: int) -> float:
            child.ask("silent", on=silent)
            return percentile(child.ask("free", count=load.calls)["marks"], 0.5)

        return once

    runs = in_turns({"counted": called(False), "silent": called(True)}, lambda turn: turn, rounds)
    more = median(a - b for a, b in zip(runs["counted"], runs["silent"], strict=True))
    return [TOOL.row(1e6 * more, note=f"{rounds} x {load.calls} calls of {1e6 * median(runs['counted']):.0f} µs")]
