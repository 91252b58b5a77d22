"""Prove that a check can fail: break its one thing on a throw-away stack and demand red."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from suite.checks.check import Check, now, perform
from suite.checks.criteria import Criteria
from suite.checks.fault import Fault, Stack
from suite.checks.target import Target
from suite.errors import NotFound

RECORD = "drills.json"
Throwaway = Callable[[], AbstractContextManager[tuple[Stack, Target]]]


@dataclass(frozen=True)
class Drill:
    """One drill: `red` says that the check passed on a healthy stack and failed on a broken one, under each of its faults; `at` is UTC, ISO 8601."""

    id: str
    fault: str
    red: bool
    at: str
    why: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The row that scripts rely on: {id, fault, red, at}."""
        return {"id": self.id, "fault": self.fault, "red": self.red, "at": self.at}


def drill(check: Check, throwaway: Throwaway, criteria: Criteria) -> Drill:
    """For each fault of the check start a stack, demand a pass, inject the fault, demand a fail; the first fault that is not seen ends it."""
    seen = []
    for fault in (check.fault, *check.others):
        red, why = _under(fault, check, throwaway, criteria)
        if not red:
            return Drill(check.id, fault.sentence, False, now(), why)
        seen.append(why if not check.others else f"{fault.sentence}: {why}")
    return Drill(check.id, "; ".join(fault.sentence for fault in (check.fault, *check.others)), True, now(), "; ".join(seen))


def _under(fault: Fault, check: Check, throwaway: Throwaway, criteria: Criteria) -> tuple[bool, str]:
    try:
        with throwaway() as (stack, target), closing(target):
            if check.prepare is not None:
                check.prepare(stack, target)
            healthy = perform(check, target, criteria[check.id])
            if healthy.state != "pass":
                return False, f"it did not pass on a healthy stack: {healthy.why}"
            fault.inject(stack)
            broken = perform(check, target, criteria[check.id])
    except Exception as error:  # noqa: BLE001 - the edge of a drill: a stack that breaks otherwise proves nothing about the check
        return False, f"{type(error).__name__}: {error}"
    if broken.state != "fail":
        return False, f"it still says {broken.state} although {fault.sentence}"
    return True, broken.why


def drills(checks: Iterable[Check], throwaway: Throwaway, criteria: Criteria, reports: Path,
           announce: Callable[[Drill], None] = lambda _: None) -> list[Drill]:
    """Drill one check after the other, each on its own stack, and keep the record in `reports`."""
    done = []
    for check in checks:
        done.append(drill(check, throwaway, criteria))
        record(reports, done[-1])
        announce(done[-1])
    return done


def choose(asked: Iterable[str], checks: Iterable[Check]) -> list[Check]:
    """The checks that are meant by `P2` (a phase) or `P2.3` (one); all when nothing is asked. Raises NotFound for a name of neither kind."""
    known, asked = list(checks), list(asked)
    for name in (name for name in asked if not any(_meant(name, check) for check in known)):
            raise NotFound(f"No check is called {name!r}; there are {', '.join(check.id for check in known)}, and P2 means a whole phase.")
    return [check for check in known if not asked or any(_meant(name, check) for name in asked)]


def record(reports: Path, done: Drill) -> None:
    """Keep the last drill of each check in drills.json, replaced in one step."""
    kept = _read(reports)
    kept[done.id] = {"check": done.id, "fault": done.fault, "red": done.red, "at": done.at}
    reports.mkdir(parents=True, exist_ok=True)
    partial = reports / f".{RECORD}.{os.getpid()}"
    partial.write_text(json.dumps(kept, indent=2, sort_keys=True), encoding="utf-8")
    os.replace(partial, reports / RECORD)


def proven(reports: Path) -> dict[str, str]:
    """When each check was last proven red (UTC, ISO 8601); a check whose last drill stayed green is not proven."""
    return {name: entry["at"] for name, entry in _read(reports).items() if entry.get("red") is True and entry.get("at")}


def _meant(name: str, check: Check) -> bool:
    return name.upper() in (check.id, f"P{check.phase}")


def _read(reports: Path) -> dict[str, dict[str, Any]]:
    try:
        kept = json.loads((reports / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}  # never drilled, or a record that nobody can read proves nothing
    return {name: entry for name, entry in kept.items() if isinstance(entry, dict)} if isinstance(kept, dict) else {}
