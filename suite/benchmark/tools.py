"""What securing a tool call costs: in process, over MCP beside a server that secures nothing, in the sandbox, and whether a kill loses a record."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from suite.benchmark import tools_kill as kill
from suite.benchmark.figures import in_turns, paired, percentile
from suite.benchmark.row import Limit
from suite.benchmark.scene import Scene
from suite.errors import RunFailed
from suite.settings import Settings
from suite.tools.sandbox import Sandbox

PIPELINE = "a call in process, from API key to second audit entry"
GRANTED = "a call in process that an approval is looked up for and used up"
CALL_50, CALL_99 = Limit(f"{PIPELINE}: p50", "ms", "<=", 1.0), Limit(f"{PIPELINE}: p99", "ms", "<=", 5.0)
CALL_CPU = Limit(f"{PIPELINE}: CPU", "ms", "<=", 0.5)
GRANTED_50, GRANTED_99 = Limit(f"{GRANTED}: p50", "ms", "<="), Limit(f"{GRANTED}: p99", "ms", "<=")
PEER = "a bare MCP SDK server"
SHARE = Limit("MCP clients at once, calls/s", "x", ">=", 0.75, PEER)
RATES = {"ours": Limit("MCP clients at once, our server", "calls/s", ">="), "bare": Limit(f"MCP clients at once, {PEER}", "calls/s", ">=")}
CPU = {"ours": Limit("MCP clients at once, our server: its CPU for a call", "ms", "<="),
       "bare": Limit(f"MCP clients at once, {PEER}: its CPU for a call", "ms", "<=")}
SPREAD = {(name, share): Limit(f"{row.name}: p{share}", "ms", "<=") for name, row in RATES.items() for share in (50, 95)}
MCP = (SHARE, *RATES.values(), *SPREAD.values(), *CPU.values())
BARE_PYTHON, PROGRAM = "a bare python -c", "print(1)"
PYTHON_50 = Limit(f"{BARE_PYTHON} {PROGRAM!r}: p50", "ms", "<=")
KILLED = {name: Limit(f"kill -9 amid calls: {sentence}", unit, "==", 0) for name, (sentence, unit) in kill.WRONG.items()}
MOST_KILLS = 10


@dataclass(frozen=True)
class Load:
    """Per round: calls in process (`granted` of them approved), MCP clients and the calls of each, runs of a program; and kills in all."""

    calls: int = 2_000
    granted: int = 300
    clients: int = 50
    each: int = 20
    runs: int = 15
    kills: int = MOST_KILLS


QUICK = Load(calls=500, granted=50, each=5, runs=5, kills=3)


def tools(settings: Settings, rounds: int, quick: bool, say: Callable[[str], None], load: Load | None = None) -> list[dict[str, Any]]:
    """All rows; medians of `rounds`. `load` stands in for the usual one."""
    load = load or (QUICK if quick else Load())
    with Scene(settings, say) as scene:
        boxes = sandboxes(scene.scratch.resolve())
        return scene.measure([
            ("calls in process", (CALL_50, CALL_99, CALL_CPU, GRANTED_50, GRANTED_99), lambda: in_process(scene, rounds, load)),
            (f"{load.clients} MCP clients at once", MCP, lambda: over_mcp(scene, rounds, load)),
            ("programs in the sandbox", (PYTHON_50, *(sandboxed(name) for name in boxes)), lambda: programs(boxes, rounds, load)),
            (f"{load.kills} kills amid calls", tuple(KILLED.values()), lambda: killed(scene, load)),
        ])


# calls in process


def in_process(scene: Scene, rounds: int, load: Load) -> list[dict[str, Any]]:
    """Calls one after the other in a process that does nothing else; a first hundred does not count."""
    child = scene.child("calls in process", "tool_calls", data=str(scene.scratch.resolve() / "calls"))
    child.ask("free", count=min(100, load.calls))
    runs = [child.ask("free", count=load.calls) for _ in range(rounds)]
    grants = [child.ask("granted", count=load.granted) for _ in range(rounds)]
    scene.end("calls in process")
    rows = [limit.row(1000 * median(percentile(run["marks"], share) for run in found), note=f"{rounds} x {len(found[0]['marks'])}")
            for found, limit, share in ((runs, CALL_50, 0.5), (runs, CALL_99, 0.99), (grants, GRANTED_50, 0.5), (grants, GRANTED_99, 0.99))]
    worked = median(1000 * run["worked"] / load.calls for run in runs)
    return [*rows[:2], CALL_CPU.row(worked, note=f"{rounds} x {load.calls}"), *rows[2:]]


# over MCP


def over_mcp(scene: Scene, rounds: int, load: Load) -> list[dict[str, Any]]:
    """Both servers in turns; the clients are in a third process, so that they take no time of either."""
    servers = {"ours": scene.child("our MCP server", "mcp_ours", data=str(scene.scratch.resolve() / "mcp")), "bare": scene.child(PEER, "mcp_bare")}
    clients = scene.child("the MCP clients", "mcp_clients")

    def measured(name: str) -> Callable[[int], dict[str, Any]]:
        server = servers[name]

        def once(_: int) -> dict[str, Any]:
            where, before = server.ask("ready"), server.ask("worked")
            found = clients.ask("calls", url=where["url"], keys=where["keys"], clients=load.clients, each=load.each)
            return {**found, "worked": server.ask("worked") - before}

        return once

    runs = in_turns({name: measured(name) for name in servers}, lambda turn: turn, rounds)
    note = f"{load.clients} clients, {rounds} x {load.clients * load.each} calls"
    rates = {name: [len(run["marks"]) / run["seconds"] for run in found] for name, found in runs.items()}
    rows = [SHARE.row(paired(rates["ours"], rates["bare"]), note=note)]
    rows += [RATES[name].row(median(rates[name]), note=note) for name in runs]
    rows += [limit.row(1000 * median(percentile(run["marks"], share / 100) for run in runs[name]), note=note)
             for (name, share), limit in SPREAD.items()]
    return rows + [CPU[name].row(1000 * median(run["worked"] / len(run["marks"]) for run in found), note="connecting and warming up included")
                   for name, found in runs.items()]


# programs


def sandboxed(name: str) -> Limit:
    """The row of a sandbox of that strength."""
    return Limit(f"{PROGRAM} in the sandbox ({name}): p50", "x", "<=", 2.2, BARE_PYTHON)


def sandboxes(folder: Path) -> dict[str, Sandbox]:
    """A sandbox of each strength that there is here, by its name."""
    made = [Sandbox(folder / "sandbox", bubblewrap=True), Sandbox(folder / "sandbox-alone", bubblewrap=False)]
    return {box.strength().name: box for box in made if box.strength().ok}


def programs(boxes: dict[str, Sandbox], rounds: int, load: Load) -> list[dict[str, Any]]:
    """The same program in each sandbox and without one, in turns. Raises RunFailed where nothing confines it, or it did not print."""
    if not boxes:
        raise RunFailed("nothing would confine a program here")

    def plain(count: int) -> float:
        return _halfway(lambda: subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True).stdout, count)

    def confined(box: Sandbox) -> Callable[[int], float]:
        return lambda count: _halfway(lambda: box.run("python", PROGRAM).stdout, count)

    runs = in_turns({"": plain, **{name: confined(box) for name, box in boxes.items()}}, lambda _: load.runs, rounds)
    note = f"{rounds} x {load.runs}"
    return [PYTHON_50.row(1000 * median(runs[""]), note=note)] + [sandboxed(name).row(paired(runs[name], runs[""]), note=note) for name in boxes]


def _halfway(run: Callable[[], str], count: int) -> float:
    marks = []
    for _ in range(count):
        began = time.perf_counter()
        printed = run()
        marks.append(time.perf_counter() - began)
        if printed != "1\n":
            raise RunFailed(f"The program printed {printed[:80]!r} instead of 1.")
    return percentile(marks, 0.5)


# kills


def killed(scene: Scene, load: Load, seed: int | None = None) -> list[dict[str, Any]]:
    """The rows of so many kills. Raises RunFailed when hardly a call was acknowledged, so that they say nothing."""
    seed = random.randrange(1 << 30) if seed is None else seed
    found = kill.rounds(load.kills, seed, scene.scratch.resolve() / "kill", scene.say)
    done = sum(one.done for one in found)
    if done < load.kills:
        raise RunFailed(f"Only {done} calls were acknowledged before {load.kills} kills, so they say nothing")
    note = f"{load.kills} kills, {done} calls acknowledged, seed {seed}"
    return [limit.row(sum(one.wrong()[name] for one in found), note=note) for name, limit in KILLED.items()]
