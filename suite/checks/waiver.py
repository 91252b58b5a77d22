"""Somebody answers, until a day, for what does not hold: a check, one of its conditions, or a limit that was made looser."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from suite.errors import SettingsError

KEYS = ("waiver", "waivers", "looser")  # of a check's table: for all of it, for conditions by name, for its looser limits
_OWN = {"owner", "expiry", "reason"}


@dataclass(frozen=True)
class Waiver:
    """Who answers, until the end of which day (UTC), and why."""

    owner: str
    expiry: date
    reason: str

    def holds(self, day: str) -> bool:
        """Whether it still holds on a day given as YYYY-MM-DD."""
        return day <= self.expiry.isoformat()

    def to_dict(self) -> dict[str, str]:
        """JSON form, kept in the evidence."""
        return {"owner": self.owner, "expiry": self.expiry.isoformat(), "reason": self.reason}


@dataclass(frozen=True)
class Waivers:
    """The waivers of one check: of the check itself, of conditions by name, of its looser limits."""

    whole: Waiver | None = None
    conditions: Mapping[str, Waiver] | None = None
    looser: Waiver | None = None

    @classmethod
    def from_toml(cls, table: Mapping[str, Any], where: str) -> Waivers:
        """Read the keys `waiver`, `waivers` and `looser` of a check's table; raises SettingsError for a malformed one."""
        several = table.get("waivers", {})
        if not isinstance(several, Mapping):
            raise SettingsError(f"The waivers of {where} are {several!r} but must be a table for each condition, by its name.")
        return cls(_one(table.get("waiver"), where), {name: _must(row, f"{name!r} in {where}") for name, row in several.items()},
                   _one(table.get("looser"), f"looser limits in {where}"))

    def over(self, others: Waivers) -> Waivers:
        """These, and where they have none those of `others`."""
        return Waivers(self.whole or others.whole, {**(others.conditions or {}), **(self.conditions or {})}, self.looser or others.looser)

    def of(self, condition: str, day: str) -> Waiver | None:
        """The waiver that answers for a broken condition on that day: its own, else that of the check; None when none does."""
        return next((row for row in ((self.conditions or {}).get(condition), self.whole) if row is not None and row.holds(day)), None)

    def expired(self, condition: str, day: str) -> Waiver | None:
        """A waiver that answered for the condition before that day."""
        return next((row for row in ((self.conditions or {}).get(condition), self.whole) if row is not None and not row.holds(day)), None)


def read_waivers(path: str | Path) -> dict[str, Waivers]:
    """The waivers of a file of its own, by check id: tables as in criteria.toml, and nothing else in them.

    Raises SettingsError for a missing or malformed file.
    """
    try:
        tables = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"The waivers file {path} cannot be read: {error}. Name another one in WAIVERS, or none.") from error
    found = {}
    for name, table in tables.items():
        strange = sorted(set(table) - set(KEYS)) if isinstance(table, Mapping) else [name]
        if strange:
            raise SettingsError(f"{path} [{name}] has {strange[0]!r} but a waivers file holds only {', '.join(KEYS)}; limits are in criteria.toml.")
        found[name] = Waivers.from_toml(table, f"{path} [{name}]")
    return found


def _one(table: Any, where: str) -> Waiver | None:
    return None if table is None else _must(table, where)


def _must(table: Any, where: str) -> Waiver:
    expiry = table.get("expiry") if isinstance(table, Mapping) else None
    texts = isinstance(table, Mapping) and all(isinstance(table.get(key), str) and table[key].strip() for key in ("owner", "reason"))
    if not texts or type(expiry) is not date or set(table) != _OWN:
        shown = dict(table) if isinstance(table, Mapping) else table
        wanted = "`owner`, `expiry` (a date as 2027-01-31) and `reason`, and nothing else"
        raise SettingsError(f"The waiver of {where} is {shown!r} but needs {wanted}.")
    return Waiver(table["owner"], expiry, table["reason"])
