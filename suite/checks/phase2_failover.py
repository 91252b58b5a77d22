"""A model server is killed under steady load: what every caller gets meanwhile, and how long until all is as before."""

from __future__ import annotations

import math
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import psutil

from suite.checks import fault_failover as fault
from suite.checks.check import Check, Observation
from suite.checks.spread import spread
from suite.checks.steady import FAILED, OUTCOMES, OWN, STAND_IN, Asked, Steady
from suite.checks.target import Target
from suite.errors import BadRequest, NotReady, UpstreamError

PLAN = {"callers": 4, "rate": 10.0, "before_s": 3.0, "after_s": 2.0, "patience_s": 40.0}
VICTIM = "inference-chat"
WARM = 10  # own replies before the kill, at least
STEADY = 5  # own replies in a row after which it is as before
STEP_S = 0.5  # of the timeline
TOKENS = 12


def failover(target: Target, seen: Observation) -> None:
    """P2.3-failover: steady load through the gateway, kill -9 of the chat server's process, and every request by its moment until it serves again."""
    plan = planned(PLAN, target.load)
    before = _server(target)
    pid = _victim(target, seen, before)
    if pid is None:
        return
    callers = int(plan["callers"])
    own = [replace(target) for _ in range(callers)]  # a shared client may close a connection that another thread was just given
    load = Steady(lambda turn: _ask(own[turn % callers], turn), callers, float(plan["rate"]))
    try:
        time.sleep(plan["before_s"])
        load.wait_for(lambda rows: sum(row.outcome == OWN for row in rows) >= WARM, plan["patience_s"])
        os.kill(pid, signal.SIGKILL)
        killed = load.now()
        seen.values["killed"] = True
        load.wait_for(lambda rows: _whole(rows, killed) is not None, plan["patience_s"])
        time.sleep(plan["after_s"])
    finally:
        rows = load.stop()
        for each in own:
            each.close()
    after = _server(target)
    _judge(seen, rows, killed)
    seen.values |= {"restarts": after.get("restarts", 0) - before["restarts"], "new_process": after.get("pid") not in (None, pid)}
    seen.note("load", **plan, requests=len(rows), killed_at_s=round(killed, 3), process=pid, process_after=after.get("pid"))


def planned(known: dict[str, float], asked: Any) -> dict[str, float]:
    """The plan of a load with what the runbook was told. Raises BadRequest for a name or a number that cannot be."""
    for name, value in dict(asked).items():
        if name not in known or isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
            raise BadRequest(f"load has {name!r}: {value!r} but may hold {', '.join(known)}, each a number above 0.")
    return known | dict(asked)


def _victim(target: Target, seen: Observation, server: dict[str, Any]) -> int | None:
    """The process that is to be killed: one of the host's own, on this machine."""
    record, pid = target.parts(), server.get("pid")
    seen.values["killed"] = False
    if record is None or pid is None:
        seen.note("refused", reason=f"{VICTIM} has no process of its own that could be killed; start the stack with SERVING_ISOLATION=process")
        return None
    try:
        parents = {parent.pid for parent in psutil.Process(pid).parents()}
    except psutil.Error:
        parents = set()
    if record["host"]["pid"] not in parents:
        seen.note("refused", reason=f"process {pid} is none of the host's on this machine; run this where the stack runs")
        return None
    return int(pid)


def _server(target: Target) -> dict[str, Any]:
    try:
        rows = target.json("GET", VICTIM, "/v1/models")["data"]
    except (NotReady, UpstreamError):
        return {}
    return rows[0] if rows else {}


def _ask(target: Target, turn: int) -> tuple[str, str]:
    body = {"model": target.aliases[0], "messages": [{"role": "user", "content": f"What comes after {turn}?"}], "max_tokens": TOKENS}
    reply = target.json("POST", "api-gateway", "/v1/chat/completions", json=body)
    if not (reply["choices"][0]["message"]["content"] or "").strip():
        return FAILED, "a reply without a word"
    return (STAND_IN, "") if (reply.get("suite") or {}).get("fallback") else (OWN, "")


def _whole(rows: Sequence[Asked], killed: float) -> float | None:
    """The end of the first of so many own replies in a row that were asked for after the kill; None while there are not so many."""
    after = sorted((row for row in rows if row.began >= killed), key=lambda row: row.ended)
    for place in range(len(after) - STEADY + 1):
        if all(row.outcome == OWN for row in after[place:place + STEADY]):
            return after[place].ended
    return None


def _judge(seen: Observation, rows: list[Asked], killed: float) -> None:
    """The numbers, and the timeline in steps."""
    whole, late = _whole(rows, killed), [row for row in rows if row.ended >= killed]
    first = min((row.ended for row in late if row.outcome != FAILED and row.began >= killed), default=None)
    seen.values |= {
        "own_before": sum(row.outcome == OWN for row in rows if row.ended < killed),
        "failed_before": sum(row.outcome == FAILED for row in rows if row.ended < killed),
        "failed": sum(row.outcome == FAILED for row in late), "until_served": None if first is None else round(first - killed, 3),
        "until_whole": None if whole is None else round(whole - killed, 3),
        "longest_wait": round(max((row.ended - row.began for row in late), default=0.0), 3),
    }
    steps: dict[int, dict[str, int]] = {}
    for row in rows:
        step = steps.setdefault(int((row.ended - killed) // STEP_S), dict.fromkeys(OUTCOMES, 0))
        step[row.outcome] += 1
    first_step, last_step = min(steps, default=0), max(steps, default=0)
    timeline = [{"at_s": step * STEP_S, **steps.get(step, dict.fromkeys(OUTCOMES, 0))} for step in range(first_step, last_step + 1)]
    seen.note("timeline", step_s=STEP_S, rows=timeline, whole_s=seen.values["until_whole"])
    seen.note("waits", **_waits(rows, killed, whole))
    seen.note("failures", whys=sorted({row.why for row in rows if row.outcome == FAILED})[:5])


def _waits(rows: Sequence[Asked], killed: float, whole: float | None) -> dict[str, Any]:
    """Seconds waited before the kill, until all was as before, and after; and when the first and the last request failed, since the kill."""
    end = whole if whole is not None else math.inf
    parts = {"before": (-math.inf, killed), "meanwhile": (killed, end), "after": (end, math.inf)}
    waited = {name: spread([row.ended - row.began for row in rows if since <= row.ended < until and row.outcome != FAILED])
              for name, (since, until) in parts.items()}
    failures = [round(row.ended - killed, 3) for row in rows if row.outcome == FAILED]
    return {**{name: {"n": part["n"], "p95": part.get("p95")} for name, part in waited.items()},
            "first_failure_s": min(failures, default=None), "last_failure_s": max(failures, default=None)}


FAILOVER = (
    Check("P2.3-failover", "A killed model server is stood in for, and back within 30 s", 2, "stability", 2, fault.STAYS_DOWN, failover,
          (fault.NO_STAND_IN, fault.IN_KERNEL)),
)
