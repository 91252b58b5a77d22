"""What changed from one release to another: states, figures against noise, limits, checks, and what changed although nothing else did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from suite import render
from suite.errors import BadRequest
from suite.runbooks import archive
from suite.runbooks.baseline import LEAST, Baseline, Drift
from suite.runbooks.ground import apart, ground, known, shape
from suite.runbooks.limit_change import LimitChange, changed_limits
from suite.runbooks.margin import conditions, margin

HISTORY = 20  # releases before the second one that are asked for noise
RANK = ("pass", "not-applicable", "degraded", "waived", "not-run", "fail")  # what stands further right is worse; an unknown state is worst
COLUMNS = ("what", "check", "before", "after", "said")


@dataclass(frozen=True)
class Change:
    """A check whose state changed."""

    check: str
    title: str
    before: str
    after: str
    why: str

    @property
    def worse(self) -> bool:
        """Whether it holds less than before."""
        return _rank(self.after) > _rank(self.before)


@dataclass(frozen=True)
class Unexplained:
    """Something that was observed otherwise although code, inputs and environment are the same; `condition` is empty for the state itself."""

    check: str
    condition: str
    before: Any
    after: Any


@dataclass(frozen=True)
class Difference:
    """All that changed from release `a` to release `b`.

    `apart` names what the two do not share of code, inputs and environment (empty: the same ground); `notes` say what could not be compared, and why.
    """

    a: str
    b: str
    verdicts: tuple[str, str]
    changes: tuple[Change, ...]
    drifts: tuple[Drift, ...]
    unexplained: tuple[Unexplained, ...]
    new: tuple[str, ...]
    removed: tuple[str, ...]
    limits: tuple[LimitChange, ...]
    apart: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def worse(self) -> bool:
        """Whether anything holds less than before: a state, a figure beyond noise, a looser limit, or a check that is gone."""
        return bool(self.removed or any(change.worse for change in self.changes) or any(limit.looser for limit in self.limits)
                    or any(drift.judged == "worse" for drift in self.drifts))

    def rows(self) -> list[tuple[str, str, str, str, str]]:
        """One row per difference: what, check, before, after, and what is said of it; the gravest kinds first."""
        found = [("state", one.check, one.before, one.after, f"{one.title}{': ' + one.why if one.why else ''}")
                 for one in sorted(self.changes, key=lambda change: not change.worse)]
        found += [("unexplained", f"{one.check} {one.condition}".rstrip(), _plain(one.before), _plain(one.after),
                   "code, inputs and environment are the same") for one in self.unexplained]
        found += [("removed", name, "checked", "–", "this check is gone") for name in self.removed]
        found += [("limit", f"{one.check} {one.condition}", one.before, one.after, "looser" if one.looser else "tighter") for one in self.limits]
        found += [("figure", f"{one.check} {one.condition}", f"{one.before:.4g} {one.unit}".rstrip(), f"{one.after:.4g} {one.unit}".rstrip(),
                   one.judged if one.judged == "too few" else f"{one.judged}; usual {one.usual:.4g} ± {one.noise:.3g} ({one.n})")
                  for one in sorted(self.drifts, key=lambda drift: drift.judged != "worse") if one.judged != "within noise"]
        return found + [("new", name, "–", "checked", "this check is new") for name in self.new]

    def to_dict(self) -> dict[str, Any]:
        """JSON form; `rows` is what a listing shows."""
        rows = [dict(zip(COLUMNS, row, strict=True)) for row in self.rows()]
        return {"a": self.a, "b": self.b, "verdicts": list(self.verdicts), "worse": self.worse, "apart": list(self.apart), "notes": list(self.notes),
                "drifts": [asdict(drift) for drift in self.drifts], "rows": rows}

    def _head(self) -> str:
        return f"{self.a} ({self.verdicts[0]}) → {self.b} ({self.verdicts[1]}): {'worse' if self.worse else 'nothing is worse'}"

    def __repr__(self) -> str:
        rows = self.rows()
        return "\n".join([self._head(), *([render.text_table(COLUMNS, rows)] if rows else []), *self.notes])

    def _repr_html_(self) -> str:
        return render.table(COLUMNS, self.rows(), title=self._head(), note=" ".join(self.notes), whole=4)


def compare(reports: Path, a: str, b: str, history: int = HISTORY) -> Difference:
    """The difference of two sealed releases, each given by path, folder or name; noise is told by up to `history` releases that end with `a`.

    Raises NotFound for a release that is not there, BadRequest for one whose results cannot be read.
    """
    first, second = archive.find(reports, a), archive.find(reports, b)
    paths = [row.path for row in archive.releases(reports) if not row.pruned]
    before = paths[:paths.index(first)] if first in paths else []
    earlier = [archive.results(path) for path in before[-history:] if path != second] if history else []
    return diff(archive.results(first), archive.results(second), earlier)


def diff(a: Mapping[str, Any], b: Mapping[str, Any], earlier: Sequence[Mapping[str, Any]] = ()) -> Difference:
    """What changed from results `a` to results `b`, as results.json has them; `earlier` are those before `a`, the newest last."""
    first, second = _by_id(a), _by_id(b)
    both = [name for name in second if name in first]
    changes = tuple(Change(name, second[name]["title"], first[name]["state"], second[name]["state"], _why(second[name])) for name in both
                    if first[name]["state"] != second[name]["state"])
    drifts, notes = _drifts(a, b, earlier)
    one, other = ground(a), ground(b)
    differing = apart(one, other)
    same = not differing and known(one)
    if differing:
        notes.append(f"Not the same ground: {', '.join(differing)}.")
    elif not same:
        notes.append("Whether the ground is the same cannot be told: commit, packages or criteria are not on record.")
    unexplained = _unexplained(first, second, both, drifts) if same else []
    return Difference(str(a["release"]), str(b["release"]), (str(a["verdict"]), str(b["verdict"])), changes, tuple(drifts), tuple(unexplained),
                      tuple(name for name in second if name not in first), tuple(name for name in first if name not in second),
                      tuple(change for name in both for change in changed_limits(first[name], second[name])), tuple(differing), tuple(notes))


def _drifts(a: Mapping[str, Any], b: Mapping[str, Any], earlier: Sequence[Mapping[str, Any]]) -> tuple[list[Drift], list[str]]:
    """The figures that moved, and what is to be said of the comparison."""
    alike = [results for results in earlier if not apart(shape(results), shape(a))]
    others = len(earlier) - len(alike)
    notes = [f"{others} earlier releases were measured under another load shape and are left out."] if others else []
    baseline = Baseline([*alike, a])
    try:
        found = [drift for drift in baseline.drifts(b) if drift.before != drift.after or drift.judged in ("worse", "better")]
    except BadRequest as error:
        return [], [*notes, f"Figures are not compared: {error.message}"]
    if len(alike) + 1 < LEAST:
        notes.append(f"Releases of this load shape that are known: {len(alike) + 1}; {LEAST} are needed to tell a drift from noise.")
    return found, notes


def _unexplained(first: Mapping[str, Any], second: Mapping[str, Any], both: Sequence[str], drifts: Sequence[Drift]) -> list[Unexplained]:
    """States and plain observations that differ on the same ground; a measured figure only where it is beyond noise."""
    beyond = {(drift.check, drift.condition) for drift in drifts if drift.judged in ("worse", "better")}
    found = []
    for name in both:
        before, after = first[name], second[name]
        if before["state"] != after["state"]:
            found.append(Unexplained(name, "", before["state"], after["state"]))
        seen = {item["name"]: item for item in conditions(before)}
        for item in conditions(after):
            earlier = seen.get(item["name"])
            if earlier is None or earlier["observed"] == item["observed"]:
                continue
            measured = margin(item) is not None and margin(earlier) is not None
            if not measured or (name, item["name"]) in beyond:
                found.append(Unexplained(name, item["name"], earlier["observed"], item["observed"]))
    return found


def _by_id(results: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    return {check["id"]: check for check in results["checks"]}


def _why(check: Mapping[str, Any]) -> str:
    from suite.checks.result import Result

    return Result.from_dict(check).why


def _rank(state: str) -> int:
    return RANK.index(state) if state in RANK else len(RANK)


def _plain(value: Any) -> str:
    text = "–" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 80 else text[:79] + "…"
