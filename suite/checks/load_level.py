"""One level of a load: so many callers, each asking again as soon as it was answered, and what the servers said of themselves meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from suite.checks.load_call import GATEWAY, Call
from suite.checks.load_machine import MACHINE, UNKNOWN, machine
from suite.checks.target import Target
from suite.errors import SuiteError

SAMPLE_S = 0.2
SERVERS = {"inference-chat": "chat", "inference-code": "code"}
Row = dict[str, Any]


def ask(target: Target, call: Call, alone: Mapping[str, str] | None = None) -> Row:
    """Send one call and judge it: seconds, status, what is wrong with its content, and whether it is what was said when it was asked alone."""
    began = target.clock()
    row: Row = {"route": call.route, "word": call.word, "status": 0, "seconds": 0.0, "tokens": 0, "text": "", "wrong": "", "same": False,
                "stand_in": False, "queue_ms": 0.0, "first_token_ms": 0.0}
    try:
        answer = target.call("POST", GATEWAY, call.path, json=call.body)
    except SuiteError as error:
        return row | {"seconds": target.clock() - began, "wrong": f"no answer: {error}"[:200]}
    row |= {"seconds": target.clock() - began, "status": answer.status_code}
    if not answer.is_success:
        return row | {"wrong": f"status {answer.status_code}: {answer.text[:160]}"}
    try:
        body = answer.json()
        text = call.text(body)
    except (ValueError, LookupError, TypeError) as error:
        return row | {"wrong": f"no reply: {type(error).__name__}"}
    timings = body.get("timings") or {}
    return row | {"text": text, "wrong": call.sound(text), "same": alone is not None and alone.get(call.word) == text,
                  "tokens": (body.get("usage") or {}).get("completion_tokens") or 0, "stand_in": bool((body.get("suite") or {}).get("fallback")),
                  "queue_ms": float(timings.get("queue_ms") or 0.0), "first_token_ms": float(timings.get("first_token_ms") or 0.0)}


def level(target: Target, callers: int, seconds: float, calls: Sequence[Call], alone: Mapping[str, str]) -> list[Row]:
    """Rows of one level in the order of their ends, each with the sample of the servers that was taken last before it.

    The level ends early when any request gets no 2xx answer.
    """
    rows: list[Row] = []
    own = [replace(target) for _ in range(callers)]  # a shared client may close a connection that another thread was just given
    samples: list[Row] = [_sample(target, 0.0)]
    ending, adding, began = threading.Event(), threading.Lock(), time.monotonic()

    def one(number: int) -> None:
        turn = number
        while not ending.is_set() and time.monotonic() - began < seconds:
            start = time.monotonic() - began
            row = ask(own[number], calls[turn % len(calls)], alone) | {"level": callers, "caller": number, "began": start}
            with adding:
                rows.append(row | {"ended": time.monotonic() - began})
            if not 200 <= row["status"] < 300:
                ending.set()
            turn += callers if callers % len(calls) else callers + 1

    def watch() -> None:
        while not ending.wait(SAMPLE_S):
            samples.append(_sample(target, time.monotonic() - began))

    threads = [threading.Thread(target=one, args=(number,), name=f"load-{number}", daemon=True) for number in range(callers)]
    watching = threading.Thread(target=watch, name="load-watch", daemon=True)
    for thread in (*threads, watching):
        thread.start()
    for thread in threads:
        thread.join()
    ending.set()
    watching.join()
    for each in own:
        each.close()
    return joined(rows, [sample for sample in samples if sample["heard"]])


def joined(rows: Sequence[Row], samples: Sequence[Row]) -> list[Row]:
    """Each row with the last sample at or before its end; without one, `sampled` is false."""
    made = []
    for row in sorted(rows, key=lambda row: row["ended"]):
        before = [sample for sample in samples if sample["at"] <= row["ended"]]
        nearest = before[-1] if before else {}
        servers = {f"{role}_{what}": nearest.get(f"{role}_{what}", -1) for role in SERVERS.values() for what in ("busy", "waiting")}
        made.append({**row, "sampled": bool(before), "sampled_at": nearest.get("at", -1.0), **servers,
                     **{name: nearest.get(name, UNKNOWN) for name in MACHINE}})
    return made


def _sample(target: Target, at: float) -> Row:
    """How many requests each model server writes and lets wait, and what the machine has to do."""
    sample: Row = {"at": at, "heard": True, **machine(target)}
    for part, role in SERVERS.items():
        try:
            info = target.json("GET", part, "/v1/models")["data"][0]
            sample |= {f"{role}_busy": int(info["busy"]), f"{role}_waiting": int(info["waiting"])}
        except (SuiteError, LookupError):
            sample["heard"] = False
    return sample
