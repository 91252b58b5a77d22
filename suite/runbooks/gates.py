"""The hard gates of a release, and the few other rules of its verdict, as `gates.toml` has them."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from suite.errors import SettingsError
from suite.runbooks.expected import IDS
from suite.settings import package_file

STAGES = ("dev", "staging", "prod")
CHECK_STATES = ("pass", "degraded", "fail", "not-run", "waived", "not-applicable")


@dataclass(frozen=True)
class Gate:
    """One demand that no percentage outvotes: all of `checks` passed, or of a check with named `conditions` those; `evidence`: see readiness."""

    name: str
    title: str
    checks: tuple[str, ...] = ()
    conditions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    evidence: bool = False


@dataclass(frozen=True)
class Excuse:
    """A state that a check may have on the smoke profile, because nothing there can make it pass, and why.

    Its record must say so itself, in a reason that holds the word `says`: a check whose kernel died is not excused.
    """

    states: tuple[str, ...]
    says: str
    why: str


@dataclass(frozen=True)
class Rules:
    """`floor` is the least share of the lowest category by stage, `seconds` the greatest age of evidence, `beyond` what no check looks at."""

    gates: tuple[Gate, ...]
    floor: Mapping[str, float]
    seconds: float
    excuses: Mapping[str, Excuse]
    beyond: tuple[str, ...]


def load_rules(path: str | Path = "") -> Rules:
    """Read gates.toml (the packaged one when `path` is empty); raises SettingsError when it is malformed or lets a release off a gate."""
    file = Path(path) if str(path) else package_file("runbooks/gates.toml")
    try:
        table = tomllib.loads(file.read_text(encoding="utf-8"))
        gates = tuple(Gate(row["name"], row["title"], tuple(row.get("checks", ())),
                           {name: tuple(names) for name, names in row.get("conditions", {}).items()}, row.get("evidence", False) is True)
                      for row in table["gates"])
        rules = Rules(gates, {stage: float(table["floor"][stage]) for stage in STAGES}, float(table["evidence"]["seconds"]),
                      {name: Excuse(tuple(row["states"]), str(row["says"]), str(row["why"])) for name, row in table.get("rehearsal", {}).items()},
                      tuple(table.get("beyond", {}).get("sentences", ())))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise SettingsError(f"The gates of a release in {file} cannot be read ({type(error).__name__}: {error}); mend the file.") from error
    wrong = _wrong(rules)
    if wrong:
        raise SettingsError(f"{file}: {wrong}; mend the file.")
    return rules


def load_risks(path: str | Path = "") -> list[dict[str, Any]]:
    """The accepted risks of risks.toml: name, title, likelihood, impact, answer, checks. Raises SettingsError when one lacks any of these."""
    file = Path(path) if str(path) else package_file("runbooks/risks.toml")
    try:
        rows = [{key: row[key] for key in ("name", "title", "likelihood", "impact", "answer", "checks")}
                for row in tomllib.loads(file.read_text(encoding="utf-8"))["risks"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SettingsError(f"The risks in {file} cannot be read ({type(error).__name__}: {error}); mend the file.") from error
    unknown = sorted({name for row in rows for name in row["checks"]} - set(IDS))
    if unknown:
        raise SettingsError(f"{file} ties a risk to {', '.join(unknown)}, but the checks of a release are {IDS[0]} to {IDS[-1]}; mend the file.")
    return rows


def _wrong(rules: Rules) -> str:
    names = [gate.name for gate in rules.gates]
    unknown = sorted({check for gate in rules.gates for check in (*gate.checks, *gate.conditions)} | set(rules.excuses) - set(IDS))
    unknown = [name for name in unknown if name not in IDS]
    if unknown:
        return f"it names {', '.join(unknown)}, but the checks of a release are {IDS[0]} to {IDS[-1]}"
    if not names or len(set(names)) < len(names) or any(not gate.checks and not gate.evidence for gate in rules.gates):
        return "each gate needs a name of its own, and checks or `evidence = true`"
    if sum(gate.evidence for gate in rules.gates) != 1:
        return "exactly one gate must be the one of the evidence's age"
    if any(set(gate.conditions) - set(gate.checks) for gate in rules.gates):
        return "a gate names conditions of a check that it does not list"
    if any(set(excuse.states) - {"not-run", "not-applicable"} or not excuse.why or not excuse.says for excuse in rules.excuses.values()):
        return "on smoke only not-run and not-applicable can be excused, each with its `says` and `why`: a check that failed has failed"
    if any(not 0 <= least <= 1 for least in rules.floor.values()) or rules.seconds <= 0:
        return "a floor is a share from 0 to 1, and the age of evidence more than 0 seconds"
    return ""
