"""The limits of all checks, from criteria.toml, and the state that a record's evidence gives under them."""

from __future__ import annotations

import difflib
import hashlib
import json
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from suite.checks.condition import Condition
from suite.checks.looser import Loosened, loosened
from suite.checks.waiver import KEYS, Waiver, Waivers, read_waivers
from suite.errors import SettingsError
from suite.serving.catalog import profiles as known_profiles
from suite.settings import package_file

__all__ = ["STATES", "UNIT", "WEIGHTS", "Criteria", "Criterion", "Judgement", "Loosened", "Waiver", "Waivers", "examine", "load", "loosened"]

UNIT = "broken conditions"
STATES = ("pass", "degraded", "fail", "not-run", "waived", "not-applicable")
WEIGHTS = (1, 2, 3)  # hygiene; availability and function; loss and security
_TABLE = {"reason", "weight", "conditions", "may_not_apply", "profiles", *KEYS}
Override = tuple[Any, str]  # the limit of a profile of its own, and why


@dataclass(frozen=True)
class Judgement:
    """The state, and how many of the judged conditions are broken."""

    state: str
    broken: int
    judged: int


@dataclass(frozen=True)
class Criterion:
    """All demands of one check; `profiles` holds the limits that single profiles have of their own, by profile and condition."""

    id: str
    reason: str
    conditions: tuple[Condition, ...]
    may_not_apply: bool = False
    waivers: Waivers = field(default_factory=Waivers)
    weight: int = 1
    profiles: Mapping[str, Mapping[str, Override]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The criterion of a result: the same for every check, so that anybody can judge it from the record."""
        return {"op": "==", "limit": 0, "unit": UNIT, "reason": self.reason}

    def entries(self, values: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The evidence of every condition, in the order of criteria.toml."""
        return [condition.entry(values.get(condition.name)) for condition in self.conditions]

    def broken(self, values: Mapping[str, Any]) -> list[Condition]:
        """The conditions that these values break."""
        return [condition for condition in self.conditions if condition.met(values.get(condition.name)) is False]

    def judge(self, values: Mapping[str, Any], raised: bool, day: str) -> Judgement:
        """What follows from these values, on a day given as YYYY-MM-DD; a check that raised is broken, whatever it had seen by then."""
        broken = self.broken(values)
        judged = sum(condition.met(values.get(condition.name)) is not None for condition in self.conditions)
        number = len(broken) or int(raised)
        if not number:
            return Judgement("pass", 0, judged)
        answered = [self.waivers.of(condition.name, day) for condition in broken] + ([self.waivers.of("", day)] if raised else [])
        if all(answered):  # one that nobody answers for is enough for a fail
            return Judgement("waived", number, judged)
        soft = not raised and all(condition.degrades for condition in broken)
        return Judgement("degraded" if soft else "fail", number, judged)

    def waived(self, values: Mapping[str, Any], day: str) -> list[dict[str, Any]]:
        """The evidence of the waivers of broken conditions: `{name, condition, owner, expiry, reason}`; those that have expired by another name."""
        found: list[dict[str, Any]] = []
        for name in [condition.name for condition in self.broken(values)] or [""]:
            living, dead = self.waivers.of(name, day), self.waivers.expired(name, day)
            if living is not None:
                found.append({"name": "waiver", "condition": name, **living.to_dict()})
            elif dead is not None:
                found.append({"name": "expired-waiver", "condition": name, **dead.to_dict()})
        return found

    def under(self, profile: str, parameters: Mapping[str, Any]) -> Criterion:
        """The same with the limits that this profile has of its own, and those that parameters of the runbook give, which win."""
        own = self.profiles.get(profile, {})
        rows = [replace(row, limit=own[row.name][0], reason=own[row.name][1]) if row.name in own else row for row in self.conditions]
        return replace(self, conditions=tuple(_with_parameter(row, parameters) for row in rows), profiles={})

    def facts(self) -> dict[str, Any]:
        """The table of criteria.toml that says the same, days as text."""
        table: dict[str, Any] = {"reason": self.reason, "weight": self.weight}
        table |= {"may_not_apply": True} if self.may_not_apply else {}
        table["conditions"] = [condition.facts() for condition in self.conditions]
        kept = self.waivers
        table |= {"waiver": kept.whole.to_dict()} if kept.whole else {}
        table |= {"waivers": {name: row.to_dict() for name, row in kept.conditions.items()}} if kept.conditions else {}
        return table | ({"looser": kept.looser.to_dict()} if kept.looser else {})


class Criteria(Mapping[str, Criterion]):
    """The criteria by check id as they hold under a profile and with the parameters of a run, and where they were read from."""

    def __init__(self, rows: Mapping[str, Criterion], source: str, parameters: Mapping[str, Any] | None = None, profile: str = "") -> None:
        self._written, self._parameters, self.source = dict(rows), dict(parameters or {}), source
        self._rows = {name: row.under(profile, self._parameters) for name, row in rows.items()}

    def under(self, profile: str) -> Criteria:
        """The same criteria as they hold where this profile runs."""
        return Criteria(self._written, self.source, self._parameters, profile)

    def written(self, key: str) -> Criterion:
        """The criterion as the file has it, whatever profile runs and whatever parameters a run is given."""
        return self._written[self[key].id]

    @property
    def digest(self) -> str:
        """sha256 of all that is demanded and waived here, as 64 hex digits; comments and the order of keys do not count."""
        return hashlib.sha256(json.dumps({name: row.facts() for name, row in self._rows.items()}, sort_keys=True).encode()).hexdigest()

    def to_toml(self) -> str:
        """A criteria file that says just this, for whoever judges again: `load` of it has the same digest."""
        lines = [f"# The criteria of {Path(self.source).name} as they held in one run."]
        for name, row in self._rows.items():
            facts = row.facts()
            lines += ["", f"[{_toml(name)}]", *(f"{key} = {_toml(facts[key])}" for key in ("reason", "weight", "may_not_apply") if key in facts)]
            lines += ["conditions = [", *(f"    {_toml(condition)}," for condition in facts["conditions"]), "]"]
            lines += [f"{key} = {_toml(facts[key])}" for key in KEYS if key in facts]
        return "\n".join([*lines, ""])

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


def load(path: str | Path = "", parameters: Mapping[str, Any] | None = None, *, waivers: str | Path | None = None,
         known: Iterable[str] = ()) -> Criteria:
    """Read criteria.toml (the packaged one when `path` is empty); `parameters` replace the limits that name them.

    `waivers` is a file of waivers beside it, `known` the ids of all checks there are. Raises SettingsError for a missing or malformed file,
    condition or waiver, and for an id that is not among the known ones.
    """
    file = Path(path) if str(path) else package_file("runbooks/criteria.toml")
    try:
        tables = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"The criteria file {file} cannot be read: {error}. Name another one, or none for the packaged limits.") from error
    rows = {name: _criterion(name, table, f"{file} [{name}]") for name, table in tables.items()}
    _known(rows, list(known), file)
    for name, more in (read_waivers(waivers) if waivers else {}).items():
        _known({name: None}, list(rows), Path(str(waivers)))
        rows[name] = replace(rows[name], waivers=_placed(more, rows[name].conditions, f"{waivers} [{name}]").over(rows[name].waivers))
    return Criteria(rows, str(file), parameters)


def _known(ids: Iterable[str], known: list[str], file: Path) -> None:
    for name in (name for name in ids if known and name not in known):
        near = difflib.get_close_matches(name, known, 3, 0.5)
        raise SettingsError(f"{file} speaks of {name!r}, which no check is called; {'did you mean ' + ', '.join(near) if near else 'remove it'}.")


def _criterion(name: str, table: Mapping[str, Any], where: str) -> Criterion:
    if not isinstance(table, Mapping) or not table.get("conditions") or not str(table.get("reason", "")).strip():
        raise SettingsError(f"{where} needs a `reason` and at least one [[{name}.conditions]] table.")
    strange = sorted(set(table) - _TABLE)
    if strange:
        raise SettingsError(f"{where} has the unknown key {strange[0]!r}; known are {', '.join(sorted(_TABLE))}.")
    weight = table.get("weight")
    if isinstance(weight, bool) or weight not in WEIGHTS:
        raise SettingsError(f"{where} has weight {weight!r} but needs 3 (loss, security), 2 (availability, function) or 1 (hygiene).")
    conditions = tuple(Condition.from_toml(row, where) for row in table["conditions"])
    names = [condition.name for condition in conditions]
    if len(set(names)) < len(names):
        raise SettingsError(f"{where} names a condition twice ({', '.join(names)}); give each its own name.")
    waivers = _placed(Waivers.from_toml(table, where), conditions, where)
    profiles = {profile: _overrides(profile, rows, conditions, where) for profile, rows in table.get("profiles", {}).items()}
    return Criterion(name, table["reason"], conditions, bool(table.get("may_not_apply", False)), waivers, weight, profiles)


def _placed(waivers: Waivers, conditions: Iterable[Condition], where: str) -> Waivers:
    names = [condition.name for condition in conditions]
    for name in (name for name in waivers.conditions or {} if name not in names):
        raise SettingsError(f"{where} waives {name!r}, which none of its conditions is called; there are {', '.join(names)}.")
    return waivers


def _overrides(profile: str, rows: Mapping[str, Any], conditions: Iterable[Condition], where: str) -> dict[str, Override]:
    """The limits of one profile; each must be one that its condition could have, with a reason."""
    if profile not in known_profiles():
        raise SettingsError(f"{where} has limits for profile {profile!r}, which there is none of; there are {', '.join(known_profiles())}.")
    by_name, found, where = {condition.name: condition for condition in conditions}, {}, f"{where} for profile {profile!r}"
    for name, row in rows.items():
        if name not in by_name:
            raise SettingsError(f"{where} has a limit for {name!r}, which no condition is called; there are {', '.join(by_name)}.")
        if not isinstance(row, Mapping) or set(row) != {"limit", "reason"}:
            raise SettingsError(f"{where} gives {name!r} {row!r} but needs {{ limit = …, reason = \"…\" }}.")
        changed = Condition.from_toml({**by_name[name].facts(), **row}, where)
        found[name] = (changed.limit, changed.reason)
    return found


def _with_parameter(condition: Condition, parameters: Mapping[str, Any]) -> Condition:
    value = parameters.get(condition.parameter) if condition.parameter else None
    return condition if value is None else replace(condition, limit=value)


def _toml(value: Any, key: str = "") -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{name if name.isidentifier() and name.isascii() else _toml(name)} = {_toml(inner, name)}"
                                for name, inner in value.items()) + " }"
    if key == "expiry":
        return str(value)  # a day, not a text
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


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
