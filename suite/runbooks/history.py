"""How each check stood from release to release: flaky, last green, last red, and its states and figures as plots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from suite import render
from suite.errors import NotFound
from suite.render import Drawing
from suite.runbooks import archive, history_plot
from suite.runbooks.archive import ReleaseRow
from suite.runbooks.margin import conditions, margin

GREEN, RED = ("pass",), ("fail", "degraded")  # what was not run, waived or not applicable says nothing about the check
WINDOW, FLIPS = 20, 2  # a check that changed sides at least twice in its last 20 answers is flaky
SHOWN = 60  # releases in a plot
COLUMNS = ("check", "state", "releases", "flaky", "flips", "last green", "last red")


@dataclass(frozen=True)
class CheckHistory:
    """One check over releases: `states` the newest last, `flips` how often it changed between green and red in its last 20 answers.

    `green` and `red` are the newest releases in which it was so; None where there is none.
    """

    id: str
    states: tuple[str, ...]
    flips: int
    green: ReleaseRow | None
    red: ReleaseRow | None

    @property
    def flaky(self) -> bool:
        """Whether it went to the other side and back."""
        return self.flips >= FLIPS

    def to_dict(self) -> dict[str, Any]:
        """JSON form, without the single states."""
        return {"check": self.id, "state": self.states[-1] if self.states else "missing", "releases": len(self.states), "flaky": self.flaky,
                "flips": self.flips, "last green": _named(self.green), "last red": _named(self.red)}


@dataclass(frozen=True, repr=False)
class History:
    """All checks, or one, over the releases of an archive, the first release first."""

    releases: tuple[ReleaseRow, ...]
    checks: tuple[CheckHistory, ...]
    figures: Mapping[str, Sequence[tuple[str, float | None, float | None]]]  # of one check: by condition (release, observed, limit)

    def plot(self) -> Drawing:
        """States as a field of colours, and for one check its figures with their limits."""
        newest = self.releases[-SHOWN:]
        svg = history_plot.states([row.release for row in newest], {one.id: one.states[-SHOWN:] for one in self.checks}, self.figures)
        return Drawing(svg, repr(self))

    def rows(self) -> list[dict[str, Any]]:
        """One row per check."""
        return [one.to_dict() for one in self.checks]

    def __repr__(self) -> str:
        shown = [["yes" if value is True else "no" if value is False else value for value in row.values()] for row in self.rows()]
        return f"{len(self.releases)} releases\n{render.text_table(COLUMNS, shown)}"

    def _repr_html_(self) -> str:
        shown = [["yes" if value is True else "no" if value is False else value for value in row.values()] for row in self.rows()]
        return self.plot()._repr_html_() + render.table(COLUMNS, shown, title=f"{len(self.releases)} releases", whole=5)


def history(reports: Path, check: str = "") -> History:
    """The history of every check in an archive, or of one with its figures. Raises NotFound for a check that no release has."""
    rows = archive.releases(reports)
    names = list(dict.fromkeys(name for row in rows for name in row.states))
    if check and check not in names:
        raise NotFound(f"No release in {reports} has a check {check!r}; " + (f"there are {', '.join(names)}." if names else "there is no release."))
    figures = _figures([row for row in rows if not row.pruned][-SHOWN:], check) if check else {}
    return History(tuple(rows), tuple(_of(name, rows) for name in ([check] if check else names)), figures)


def _of(name: str, rows: Sequence[ReleaseRow]) -> CheckHistory:
    states = tuple(row.states.get(name, "missing") for row in rows)
    sides = [state in GREEN for state in states if state in GREEN + RED][-WINDOW:]
    flips = sum(one != other for one, other in pairwise(sides))
    newest = {side: next((row for row, state in zip(reversed(rows), reversed(states), strict=True) if state in wanted), None)
              for side, wanted in (("green", GREEN), ("red", RED))}
    return CheckHistory(name, states, flips, newest["green"], newest["red"])


def _figures(rows: Sequence[ReleaseRow], check: str) -> dict[str, list[tuple[str, float | None, float | None]]]:
    """What was observed of each condition that has an order, and the limit it had then."""
    seen = []
    for row in rows:
        try:
            found = next((one for one in archive.results(row.path)["checks"] if one["id"] == check), {})
        except NotFound:  # a release that is gone has no figures; its states are in the ledger
            found = {}
        seen.append((row.release, {item["name"]: item for item in conditions(found) if margin(item) is not None}))
    names = list(dict.fromkeys(name for _, items in seen for name in items))
    return {name: [(release, *((float(items[name]["observed"]), float(items[name]["limit"])) if name in items else (None, None)))
                   for release, items in seen] for name in names}


def _named(row: ReleaseRow | None) -> str:
    return "never" if row is None else f"{row.release} ({datetime.fromtimestamp(row.at, UTC):%Y-%m-%d %H:%M})"
