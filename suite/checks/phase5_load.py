"""A load in levels: first whether what is measured is valid, then how many answers a second the stack gives, and where it gives no more."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from suite.checks import fault, fault_load
from suite.checks.check import Check, Observation
from suite.checks.load_call import Call, calls
from suite.checks.load_level import SERVERS, Row, ask, level
from suite.checks.load_rows import keep
from suite.checks.load_saturation import saturation, summary
from suite.checks.target import Target
from suite.checks.watched import watched
from suite.errors import BadRequest, SuiteError
from suite.monitoring.scaling import scaling_rules

LEVELS, SECONDS, MOST = (1, 5, 25, 50), 5.0, 500


def load(target: Target, seen: Observation) -> None:
    """P5.5-load: one call per route, each question alone, then level after level in a closed loop; rows kept, content judged, the knee found."""
    levels, seconds = planned(target.load)
    asked = calls(target)
    if not _valid(target, seen, asked):
        return
    alone = {call.word: ask(target, call)["text"] for call in asked}
    rows: list[Row] = []
    done = 0
    for callers in levels:
        rows += level(target, callers, seconds, asked, alone)
        if any(not 200 <= row["status"] < 300 for row in rows):
            break  # what comes after it would be measured on a stack that is breaking
        done += 1
    _judge(seen, rows, len(levels) - done)
    seen.values["left_waiting"] = _waiting(target)
    _keep(target, seen, rows)
    _scaling(target, seen)
    record = target.parts()
    own = record is not None and record["host"].get("pid") == os.getpid()
    seen.note("load", levels=levels, seconds=seconds, rows=len(rows), loop="closed",
              made_by="the process that hosts the stack, whose time it shares" if own else "a process of its own")


def planned(asked: Mapping[str, Any]) -> tuple[list[int], float]:
    """The levels and the seconds of each. Raises BadRequest for what cannot be."""
    strange = sorted(asked.keys() - {"levels", "seconds"})
    levels, seconds = asked.get("levels", list(LEVELS)), asked.get("seconds", SECONDS)
    if strange:
        raise BadRequest(f"load has {strange[0]!r} but may hold levels and seconds.")
    whole = isinstance(levels, (list, tuple)) and levels and all(type(each) is int and 0 < each <= MOST for each in levels)
    if not whole or list(levels) != sorted(set(levels)):
        raise BadRequest(f"load has levels {levels!r} but needs rising numbers of callers from 1 to {MOST}, as in [1, 5, 25, 50].")
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not seconds > 0:
        raise BadRequest(f"load has seconds {seconds!r} but needs a number above 0.")
    return list(levels), float(seconds)


def _valid(target: Target, seen: Observation, asked: list[Call]) -> bool:
    """Validity first: each route answers one request with 2xx and a sound reply, or no load is made."""
    wrong = {}
    for route, call in {call.route: call for call in reversed(asked)}.items():
        row = ask(target, call)
        if row["wrong"]:
            wrong[route] = row["wrong"]
    seen.values["routes_invalid"] = len(wrong)
    seen.note("validity", wrong=wrong)
    if wrong:
        seen.note("refused", reason="no load was made, because " + "; ".join(f"{route}: {why}" for route, why in wrong.items()))
    return not wrong


def _judge(seen: Observation, rows: list[Row], missing: int) -> None:
    levels = summary(rows)
    point = saturation(levels)
    good = [row for row in rows if not row["wrong"]]
    seen.values |= {
        "levels_missing": missing, "not_2xx": sum(not 200 <= row["status"] < 300 for row in rows),
        "empty": sum(row["wrong"] == "empty" for row in rows), "mixed": sum(row["wrong"] == "mixed" for row in rows),
        "other_wrong": sum(200 <= row["status"] < 300 and row["wrong"].startswith("no ") for row in rows),
        "stand_ins": sum(row["stand_in"] for row in rows), "same_as_alone": round(sum(row["same"] for row in good) / len(good), 4) if good else None,
        "unsampled": sum(not row["sampled"] for row in rows), "alone_p95": levels[0]["p95"] if levels else None,
        "rate": point["rate"] if point else None, "rate_kept": round(levels[-1]["rate"] / max(row["rate"] for row in levels), 4)
        if levels and any(row["rate"] for row in levels) else None,
    }
    for row in levels:
        seen.note("level", **row)
    seen.note("failures", whys=sorted({f"level {row['level']}, {row['route']}: {row['wrong']}" for row in rows if row["wrong"]})[:5])
    seen.note("saturation", **(point or {"level": None}))


def _waiting(target: Target) -> int | None:
    """Requests that still wait in the model servers after the load."""
    try:
        return sum(int(target.json("GET", part, "/v1/models")["data"][0]["waiting"]) for part in SERVERS)
    except (SuiteError, LookupError):
        return None


def _scaling(target: Target, seen: Observation) -> None:
    """How the monitoring finds each rule of scaling.toml now, and what it says is to be changed."""
    rules = scaling_rules()
    there = watched(target)
    found = {rule["name"]: rule for rule in there.reading.rules()} if there is not None else {}
    seen.values["scaling_missing"] = sum(rule.name not in found or found[rule.name]["health"] == "err" for rule in rules)
    for rule in rules:
        seen.note("scaling", rule=rule.name, state=found.get(rule.name, {}).get("state", "not looked at"),
                  at=f"{rule.metric} {rule.op} {rule.threshold:g}", change=rule.sentence)


def _keep(target: Target, seen: Observation, rows: list[Row]) -> None:
    """The raw rows, where the reports are; where nobody said that, beside the stack's other temporary files."""
    if not rows:
        return
    folder = target.evidence or target.folder or Path(tempfile.gettempdir())
    kept = keep(rows, folder / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-load-rows.parquet")
    seen.values["rows_lost"] = len(rows) - kept["rows"]
    seen.note("rows", **kept)


LOAD = (
    Check("P5.5-load", "The stack keeps its answers under load, and says where it gives no more", 5, "performance", 2, fault_load.MIXED, load,
          (fault.MUTE_MODELS, fault.DEAD_UPSTREAM, fault_load.EMPTY, fault_load.BREAKS, fault_load.CHANGES, fault_load.SLOW_ALONE,
           fault_load.COLLAPSES, fault_load.SILENT_SERVER, fault_load.UNSCALED)),
)
