"""The verdict of a sealed release, computed again from its own results, its copy of the gates, and what else the runner knew."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from suite.checks.result import Result
from suite.errors import SuiteError
from suite.runbooks.archive import GATES, RESULTS
from suite.runbooks.expected import IDS, Planned
from suite.runbooks.gates import load_rules
from suite.runbooks.readiness import READY, REHEARSAL, Counted, Graded, Source, assess
from suite.runbooks.statement import rows

INPUTS = "inputs"  # of results.json: what the verdict was computed from besides results and gates


@dataclass(frozen=True)
class _Graded:
    state: str
    why: str


def inputs(checks: Sequence[Counted], graded: Mapping[str, Graded], *, strict: bool, source: Source, trouble: str = "",
           against: Sequence[str] = ()) -> dict[str, Any]:
    """What `assess` was given besides the results, the stage and the gates, as JSON: the runner keeps it in results.json under `inputs`."""
    return {"checks": [asdict(Planned(one.id, one.title, one.phase, one.category, one.weight)) for one in checks],
            "graded": {name: {"state": grade.state, "why": grade.why} for name, grade in graded.items()}, "strict": strict, "trouble": trouble,
            "against": list(against),
            "source": {**asdict(source), "found": {name: list(pair) for name, pair in source.found.items()}}}


def reassessed(place: Path, results: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Where verdict, score and gates in results.json are not those that follow, as (doubts, notes)."""
    given, verdict = results.get(INPUTS), results.get("verdict")
    if not isinstance(given, Mapping) or not (place / GATES).is_file():
        why = f"the report holds no {GATES} or no inputs of the verdict, so that was not computed again"
        return ([f"{verdict} is not borne out: {why}."], []) if verdict in (READY, REHEARSAL) else ([], [f"{why[0].upper()}{why[1:]}."])
    try:
        checks = [Planned(**row) for row in given["checks"]]
        source = Source(given["source"]["now"], given["source"]["commit"], given["source"]["config"],
                        {name: (pair[0], pair[1]) for name, pair in given["source"]["found"].items()})
        found = assess([Result.from_dict(row) for row in rows(results)], checks, stage=str(results.get("stage")),
                       smoke=bool((results.get("facts") or {}).get("smoke")), gates=load_rules(place / GATES),
                       graded={name: _Graded(row["state"], row["why"]) for name, row in given["graded"].items()}, strict=given["strict"] is True,
                       source=source, trouble=str(given["trouble"]),
                       against=[str(sentence) for sentence in given.get("against", [])]).to_dict()
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, SuiteError) as error:
        return [f"The verdict cannot be computed again from {RESULTS} ({type(error).__name__}: {str(error)[:150]})."], []
    doubts = [f"{name} is none of the checks that the verdict was computed from." for name in IDS if name not in {check.id for check in checks}]
    for key in ("verdict", "line", "score", "gates"):
        if results.get(key) != found[key]:
            doubts.append(f"The {key} in {RESULTS} is {results.get(key)!r}, but {found[key]!r} follows from its results and gates."[:600])
    smoke = {name for name, row in _by_id(results).items() if row.smoke}
    if smoke and not (results.get("facts") or {}).get("smoke"):
        doubts.append(f"{RESULTS} says that no smoke model was used, but one answered in {', '.join(sorted(smoke))}.")
    return doubts, []


def _by_id(results: Mapping[str, Any]) -> dict[str, Result]:
    return {str(row["id"]): Result.from_dict(row) for row in rows(results)}
