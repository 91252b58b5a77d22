"""Prove that a check can fail: break its one thing on a throw-away stack and demand red."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, closing
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from suite.checks.check import Check, now, perform
from suite.checks.code import digest
from suite.checks.criteria import Criteria, load
from suite.checks.fault import REAL, Fault, Stack
from suite.checks.target import Target
from suite.errors import NotFound

RECORD = "drills.json"
DAYS = 30  # for which a proof counts
FAKE = "fake:"
CARDS = (f"{FAKE}nvml", f"{FAKE}amd")  # of a card that is none, nothing is proven, whatever else was real
Throwaway = Callable[[], AbstractContextManager[tuple[Stack, Target]]]


@dataclass(frozen=True)
class Drill:
    """One drill: `red` says that the check passed on a healthy stack and failed on a broken one, under each of its faults; `at` is UTC, ISO 8601.

    `code` is the digest of the check's code, `on` what the drill ran on: real, or what stood in for it, such as fake:nvml.
    """

    id: str
    fault: str
    red: bool
    at: str
    why: str = ""
    code: str = ""
    on: tuple[str, ...] = (REAL,)

    def to_dict(self) -> dict[str, Any]:
        """The row that scripts rely on: {id, fault, red, at, code, on}."""
        return {"id": self.id, "fault": self.fault, "red": self.red, "at": self.at, "code": self.code, "on": list(self.on)}


@dataclass(frozen=True)
class Grade:
    """What the proof of a check is worth: `state` is proven or weak, `why` says why it is weak, `at` is the time of the proof ("" when never)."""

    state: str
    why: str = ""
    at: str = ""

    def to_dict(self) -> dict[str, str]:
        """JSON form."""
        return asdict(self)


def drill(check: Check, throwaway: Throwaway, criteria: Criteria) -> Drill:
    """For each fault of the check start a stack, demand a pass, inject the fault, demand a fail; the first fault that is not seen ends it."""
    faults, code, seen = (check.fault, *check.others), digest(check, criteria.written(check.id)), []
    on = tuple(sorted({fault.on for fault in faults}))
    for fault in faults:
        red, why = _under(fault, check, throwaway, criteria)
        if not red:
            return Drill(check.id, fault.sentence, False, now(), why, code, (fault.on,))
        seen.append(why if not check.others else f"{fault.sentence}: {why}")
    return Drill(check.id, "; ".join(fault.sentence for fault in faults), True, now(), "; ".join(seen), code, on)


def _under(fault: Fault, check: Check, throwaway: Throwaway, criteria: Criteria) -> tuple[bool, str]:
    try:
        with throwaway() as (stack, target), closing(target):
            if check.prepare is not None:
                check.prepare(stack, target)
            healthy = perform(check, target, criteria[check.id])
            if healthy.state != "pass":
                return False, f"it did not pass on a healthy stack: {healthy.why}"
            fault.inject(stack)
            fault.bend(target)
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
    kept[done.id] = {"check": done.id, **{key: value for key, value in done.to_dict().items() if key != "id"}}
    reports.mkdir(parents=True, exist_ok=True)
    partial = reports / f".{RECORD}.{os.getpid()}"
    partial.write_text(json.dumps(kept, indent=2, sort_keys=True), encoding="utf-8")
    os.replace(partial, reports / RECORD)


def proven(reports: Path) -> dict[str, str]:
    """When each check was last proven red (UTC, ISO 8601); a check whose last drill stayed green is not proven."""
    return {name: entry["at"] for name, entry in _read(reports).items() if entry.get("red") is True and entry.get("at")}


def grades(reports: Path, checks: Iterable[Check], now: datetime, criteria: Criteria | None = None) -> dict[str, Grade]:
    """What the proof of each check in `reports` is worth at a moment (with its time zone), by its id.

    It is weak when it is missing, older than 30 days or of the future, of other code or limits than now (`criteria`, the packaged ones when None),
    or made on stand-ins only, which a made driver of a card always is.
    """
    kept, limits = _read(reports), load() if criteria is None else criteria
    return {check.id: _grade(kept.get(check.id, {}), digest(check, limits.written(check.id)), now) for check in checks}


def _grade(entry: dict[str, Any], code: str, now: datetime) -> Grade:
    if not entry:
        return Grade("weak", "it was never drilled")
    try:
        at = datetime.fromisoformat(str(entry.get("at")))
        age = now - at
    except (TypeError, ValueError):  # no time, or one without its zone
        return Grade("weak", f"the time of its drill is {entry.get('at')!r}")
    if entry.get("red") is not True:
        return Grade("weak", f"its last drill did not turn it red ({entry.get('fault')})")
    on = [str(one) for one in entry.get("on") or []]
    fakes = [one for one in on if one.startswith(FAKE)]
    why = ""
    if age > timedelta(days=DAYS):
        why = f"it was proven red {age.days} days ago, and a proof counts for {DAYS} days"
    elif age < timedelta(0):
        why = "the time of its drill has not come yet; a clock was set back"
    elif entry.get("code") != code:
        why = "its code or its limits changed since it was proven red"
    elif len(fakes) == len(on) or set(fakes) & set(CARDS):
        why = f"it was proven on {', '.join(fakes) or 'nobody knows what'} only"
    return Grade("weak" if why else "proven", why, at.isoformat(timespec="milliseconds"))


def _meant(name: str, check: Check) -> bool:
    return name.upper() in (check.id, f"P{check.phase}")


def _read(reports: Path) -> dict[str, dict[str, Any]]:
    try:
        kept = json.loads((reports / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}  # never drilled, or a record that nobody can read proves nothing
    return {name: entry for name, entry in kept.items() if isinstance(entry, dict)} if isinstance(kept, dict) else {}
