"""The limits of all checks, from criteria.toml, and the state that a record's evidence gives under them."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

from suite.checks.condition import Condition
from suite.errors import SettingsError
from suite.settings import package_file

UNIT = "broken conditions"
STATES = ("pass", "degraded", "fail", "not-run", "waived", "not-applicable")


@dataclass(frozen=True)
class Waiver:
    """Somebody answers for a check that does not pass, until the end of a day (UTC)."""

    owner: str
    expiry: date
    reason: str

    def to_dict(self) -> dict[str, str]:
        """JSON form, kept in the evidence."""
        return {"owner": self.owner, "expiry": self.expiry.isoformat(), "reason": self.reason}


@dataclass(frozen=True)
class Judgement:
    """The state, and how many of the judged conditions are broken."""

    state: str
    broken: int
    judged: int


@dataclass(frozen=True)
class Criterion:
    """All demands of one check."""

    id: str
    reason: str
    conditions: tuple[Condition, ...]
    may_not_apply: bool = False
    waiver: Waiver | None = None

    def to_dict(self) -> dict[str, Any]:
        """The criterion of a result: the same for every check, so that anybody can judge it from the record."""
        return {"op": "==", "limit": 0, "unit": UNIT, "reason": self.reason}

    def entries(self, values: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The evidence of every condition, in the order of criteria.toml."""
        return [condition.entry(values.get(condition.name)) for condition in self.conditions]

    def judge(self, values: Mapping[str, Any], raised: bool, day: str) -> Judgement:
        """What follows from these values, on a day given as YYYY-MM-DD; a check that raised is broken, whatever it had seen by then."""
        met = [condition.met(values.get(condition.name)) for condition in self.conditions]
        broken = [condition for condition, holds in zip(self.conditions, met, strict=True) if holds is False]
        judged = sum(holds is not None for holds in met)
        number = len(broken) or int(raised)
        if not number:
            return Judgement("pass", 0, judged)
        if self.waiver is not None and day <= self.waiver.expiry.isoformat():
            return Judgement("waived", number, judged)
        soft = not raised and all(condition.degrades for condition in broken)
        return Judgement("degraded" if soft else "fail", number, judged)


class Criteria(Mapping[str, Criterion]):
    """The criteria by check id, and where they were read from."""

    def __init__(self, rows: Mapping[str, Criterion], source: str) -> None:
        self._rows, self.source = dict(rows), source

    def __getitem__(self, key: str) -> Criterion:
        if key not in self._rows:
            raise SettingsError(f"{self.source} has no criteria for {key}; add a [{key}] table with its conditions.")
        return self._rows[key]

    def __contains__(self, key: object) -> bool:
        return key in self._rows

    def __iter__(self):
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)


def load(path: str | Path = "", parameters: Mapping[str, Any] | None = None) -> Criteria:
    """Read criteria.toml (the packaged one when `path` is empty); `parameters` replace the limits that name them.

    Raises SettingsError for a missing or malformed file, condition or waiver.
    """
    file = Path(path) if str(path) else package_file("runbooks/criteria.toml")
    try:
        tables = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"The criteria file {file} cannot be read: {error}. Name another one, or none for the packaged limits.") from error
    return Criteria({name: _criterion(name, table, f"{file} [{name}]", parameters or {}) for name, table in tables.items()}, str(file))


def _criterion(name: str, table: Mapping[str, Any], where: str, parameters: Mapping[str, Any]) -> Criterion:
    if not isinstance(table, Mapping) or not table.get("conditions") or not str(table.get("reason", "")).strip():
        raise SettingsError(f"{where} needs a `reason` and at least one [[{name}.conditions]] table.")
    conditions = tuple(_with_parameter(Condition.from_toml(row, where), parameters) for row in table["conditions"])
    names = [condition.name for condition in conditions]
    if len(set(names)) < len(names):
        raise SettingsError(f"{where} names a condition twice ({', '.join(names)}); give each its own name.")
    return Criterion(name, table["reason"], conditions, bool(table.get("may_not_apply", False)), _waiver(table.get("waiver"), where))


def _with_parameter(condition: Condition, parameters: Mapping[str, Any]) -> Condition:
    value = parameters.get(condition.parameter) if condition.parameter else None
    return condition if value is None else replace(condition, limit=value)


def _waiver(table: Mapping[str, Any] | None, where: str) -> Waiver | None:
    if table is None:
        return None
    expiry = table.get("expiry")
    if not table.get("owner") or not isinstance(expiry, date) or not table.get("reason"):
        raise SettingsError(f"The waiver of {where} is {dict(table)!r} but needs `owner`, `expiry` (a date as 2027-01-31) and `reason`.")
    return Waiver(str(table["owner"]), expiry, str(table["reason"]))


def examine(record: Mapping[str, Any], criteria: Criteria) -> tuple[str, list[str]]:
    """The state that a result's own evidence gives, and every sentence that speaks against the record.

    A record that contradicts itself or was judged by other limits is a fail, whatever it says.
    """
    claimed = record.get("state")
    evidence = [item for item in record.get("evidence") or [] if isinstance(item, Mapping)]
    if claimed == "not-run":
        return "not-run", []
    if record.get("id") not in criteria:
        return "fail", [f"there are no criteria for {record.get('id')!r}"]
    criterion = criteria[str(record.get("id"))]
    if claimed == "not-applicable":
        reasoned = criterion.may_not_apply and any(item.get("name") == "not-applicable" and item.get("reason") for item in evidence)
        return ("not-applicable", []) if reasoned else ("fail", ["not-applicable without a reason, or where every stack must answer"])
    found = [item for item in evidence if "op" in item and "met" in item]
    values = {str(item.get("name")): item.get("observed") for item in found}
    raised = any(item.get("name") == "error" for item in evidence)
    judged = criterion.judge(values, raised, str(record.get("ended_at", ""))[:10] or "9999")
    doubts = _doubts(record, criterion, found, values, judged)
    if claimed != judged.state:
        doubts.insert(0, f"the record says {claimed!r} but its evidence gives {judged.state!r}")
    return ("fail" if doubts else judged.state), doubts


def _doubts(record: Mapping[str, Any], criterion: Criterion, found: list[Mapping[str, Any]], values: Mapping[str, Any],
            judged: Judgement) -> list[str]:
    entries, observed = criterion.entries(values), record.get("observed") or {}
    doubts = [f"condition {wanted['name']!r} is recorded as {dict(item)!r}, not as {wanted!r}"
              for wanted, item in zip(entries, found, strict=False) if dict(item) != wanted]
    if len(found) != len(entries):
        doubts.append(f"{len(found)} conditions are recorded, not {len(entries)}")
    if (observed.get("value"), observed.get("n")) != (judged.broken, judged.judged):
        doubts.append(f"observed is {observed.get('value')!r} of {observed.get('n')!r} but the evidence gives {judged.broken} of {judged.judged}")
    if record.get("criterion") != criterion.to_dict():
        doubts.append("the criterion is not the one of the criteria file")
    return doubts
