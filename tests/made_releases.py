"""Releases as the runner writes them, made by hand: 33 checks with real limits, any of them bent, in directories and without a run."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from suite.checks.check import Check, Observation, perform
from suite.checks.condition import Condition
from suite.checks.criteria import Criterion, Waiver, Waivers
from suite.checks.fault import Fault
from suite.runbooks.seal import seal
from suite.runbooks.sign import load_key, make_key

PHASES = {1: ("phase1_environment", 6), 2: ("phase2_health", 9), 3: ("phase3_monitoring", 6), 4: ("phase4_configuration", 4), 5: ("phase5_validation", 8)}
ALL = [f"P{phase}.{place}" for phase, (_, count) in PHASES.items() for place in range(1, count + 1)]
CATEGORIES = ("infrastructure", "stability", "security", "monitoring", "function", "performance", "recoverability")
NEVER = Fault("nothing is broken", lambda stack: None)
GOOD: dict[str, Any] = {"ready": True, "broken": 0, "slowest": 0.5, "free": 80.0}
FACTS: dict[str, Any] = {
    "commit": "a1b2c3d4e5f60718293a4b5c6d7e8f9001122334", "dirty_diff_sha256": "", "packages_sha256": "11" * 32, "criteria_sha256": "22" * 32,
    "settings_sha256": "33" * 32, "models": {"smoke.gguf": "44" * 32}, "machine": {"system": "Linux", "cpus": 2, "memory_bytes": 25_000_000_000, "gpus": []},
    "python": "3.11.7", "suite": "0.8.0", "profile": "smoke", "smoke": True, "audit_head": "55" * 32,
}


def category(name: str) -> str:
    phase, place = int(name[1]), int(name.split(".")[1])
    late = "function" if place <= 4 else "performance" if place <= 6 else "recoverability"
    return {1: "infrastructure", 2: "stability", 3: "monitoring", 4: "security"}.get(phase, late)


def criterion(name: str, limit: float = 3.0, waiver: Waiver | None = None) -> Criterion:
    """Four conditions: a yes, a count, an upper and a lower limit."""
    rows = (Condition("ready", "==", True, "", "It must say so."), Condition("broken", "==", 0, "parts", "None may be."),
            Condition("slowest", "<=", limit, "s", "Whoever waits longer gives up."), Condition("free", ">=", 20.0, "GB", "Room for a day.", optional=True))
    return Criterion(name, f"What {name} is for.", rows, True, Waivers(waiver), 2)


def check(name: str, values: Mapping[str, Any] | None = None, *, limit: float = 3.0, waiver: Waiver | None = None,
          evidence: tuple[dict[str, Any], ...] = (), raises: str = "", not_applicable: str = "") -> dict[str, Any]:
    """A check's result as results.json has it, judged by the real judge."""
    def look(target: Any, seen: Observation) -> None:
        seen.values.update({**GOOD, **(values or {})})
        seen.evidence.extend(evidence)
        seen.not_applicable = not_applicable
        if raises:
            raise RuntimeError(raises)

    made = Check(name, f"Check {name} of the stack", int(name[1]), category(name), 2, NEVER, look)
    return perform(made, None, criterion(name, limit, waiver), "2026-11-20T08:00:00.000+00:00").to_dict()  # type: ignore[arg-type]


def not_run(name: str, reason: str) -> dict[str, Any]:
    """A check that did not happen."""
    row = check(name)
    return {**row, "state": "not-run", "observed": {"value": None, "unit": "broken conditions", "n": 0}, "margin": None,
            "evidence": [{"name": "not-run", "reason": reason}]}


def release(name: str = "1.0", changed: Mapping[str, dict[str, Any]] | None = None, *, at: str = "2026-11-29T08:00:00.000+00:00", stage: str = "staging",
            facts: Mapping[str, Any] | None = None, without: tuple[str, ...] = ()) -> dict[str, Any]:
    """A results.json; `changed` maps check ids to other results."""
    checks = [(changed or {}).get(one) or check(one) for one in ALL if one not in without]
    scores: dict[str, Any] = {}
    for each in CATEGORIES:
        own = [row for row in checks if row["category"] == each]
        share = sum(row["state"] == "pass" for row in own) / len(own) if own else None
        scores[each] = {"score": share, "state": "unverified" if share is None else "scored", "weight": 2 * len(own), "checks": [row["id"] for row in own]}
    known = [row["score"] for row in scores.values() if row["score"] is not None]
    bad = [row["id"] for row in checks if row["state"] not in ("pass", "waived", "not-applicable")]
    gates = [{"name": "restore", "title": "A backup was restored", "state": "fail" if "P5.7" in bad else "pass", "checks": ["P5.7", "P5.8"], "why": ""},
             {"name": "alert", "title": "An alert arrived", "state": "pass", "checks": ["P3.6"], "why": ""}]
    runs = [{"runbook": runbook, "state": "finished", "seconds": 8.0 + phase, "trouble": "", "path": f"{runbook}.ipynb", "cells": [], "crash": None,
             "started_at": f"2026-11-29T08:00:{10 * phase - 9:02d}.000+00:00", "ended_at": f"2026-11-29T08:00:{10 * phase - 1:02d}.000+00:00"}
            for phase, (runbook, _) in PHASES.items()]
    verdict = "NOT READY" if bad else "REHEARSAL"
    return {"schema": 1, "release": name, "stage": stage, "verdict": verdict, "line": f"{verdict}: {len(checks) - len(bad)} of {len(checks)} hold",
            "score": {"categories": scores, "lowest": min(known), "mean": sum(known) / len(known)}, "gates": gates, "checks": checks, "runs": runs,
            "not_verified": ["the quality of answers: smoke models were used"], "risks": [], "waivers": [],
            "facts": copy.deepcopy({**FACTS, "started_at": at, "ended_at": at, "seconds": 50.0, **(facts or {})})}


def sealed(reports: Path, results: Sequence[Mapping[str, Any]]) -> list[Path]:
    """Seal releases into an archive, one after the other, for real; gives their folders."""
    key, places = reports.parent / "key.pem", []
    if not key.exists():
        make_key(key)
    for number, one in enumerate(results):
        folder = reports / f".20261129T08{number // 60:02d}{number % 60:02d}Z-{one['release']}.partial"
        folder.mkdir(parents=True)
        (folder / "results.json").write_text(json.dumps(one), encoding="utf-8")
        (folder / "criteria.toml").write_text("", encoding="utf-8")
        places.append(seal(folder, reports, load_key(key)).path)
    return places
