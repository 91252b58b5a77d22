"""The figures of earlier releases, under one load shape: what a new release's figures are told from noise by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from suite.errors import BadRequest
from suite.runbooks.ground import apart, shape
from suite.runbooks.margin import conditions, margin, number

LEAST = 5  # releases, below which nobody can tell a drift from noise
SIGMAS = 3.0  # a figure further from the usual one than this many standard deviations, and outside all that was seen, is beyond noise
ROBUST = 1.4826  # median absolute deviations to a standard deviation
JUDGED = ("worse", "better", "within noise", "too few")


@dataclass(frozen=True)
class Drift:
    """How a figure moved: `before` and `after` in `unit`, `usual` the median of the `n` releases before, `noise` three standard deviations of them.

    `judged` is worse or better (beyond noise), within noise, or too few (releases to tell).
    """

    check: str
    condition: str
    unit: str
    before: float
    after: float
    usual: float
    noise: float
    n: int
    judged: str

    def __str__(self) -> str:
        unit = f" {self.unit}" if self.unit else ""
        moved = f"{self.check} {self.condition}: {self.before:.4g} → {self.after:.4g}{unit}"
        if self.judged == "too few":
            return f"{moved} ({self.n} releases: too few to tell from noise)"
        return f"{moved} ({self.judged}; usual is {self.usual:.4g} ± {self.noise:.3g} over {self.n} releases)"


class Baseline:
    """Measured figures of one or more releases of the same load shape, the newest last.

    Raises BadRequest for releases of different shapes, or none.
    """

    def __init__(self, releases: Sequence[Mapping[str, Any]]) -> None:
        if not releases:
            raise BadRequest("A baseline needs one release at least; `suite report list` names them.")
        self.shape = shape(releases[-1])
        for results in releases:
            self.demand(results)
        self._figures: dict[tuple[str, str], list[float]] = {}
        for results in releases:
            for key, item in _measured(results).items():
                self._figures.setdefault(key, []).append(float(item["observed"]))

    def demand(self, results: Mapping[str, Any]) -> None:
        """Raises BadRequest for results of another load shape, naming where they differ."""
        wrong = apart(self.shape, shape(results))
        if wrong:
            raise BadRequest(f"The figures of {results.get('release')!r} were measured under another load shape ({', '.join(wrong)}); compare "
                             "releases of the same profile, models and machine, under the same load.")

    def drifts(self, results: Mapping[str, Any]) -> list[Drift]:
        """How each figure of the results stands to those here, in the results' order. Raises BadRequest for another load shape."""
        self.demand(results)
        found = []
        for (check, condition), item in _measured(results).items():
            past = self._figures.get((check, condition))
            if past:
                found.append(_drift(check, condition, item, past))
        return found


def _measured(results: Mapping[str, Any]) -> dict[tuple[str, str], Mapping[str, Any]]:
    """The conditions whose limit has an order and that a number was observed of; a yes or a count of zero is no measurement."""
    return {(check["id"], item["name"]): item for check in results["checks"] for item in conditions(check)
            if margin(item) is not None and number(item["observed"]) is not None}


def _drift(check: str, condition: str, item: Mapping[str, Any], past: Sequence[float]) -> Drift:
    after, usual = float(item["observed"]), median(past)
    noise = SIGMAS * ROBUST * median(abs(value - usual) for value in past)
    beyond = abs(after - usual) > noise and not min(past) <= after <= max(past)
    upper = item["op"] in ("<", "<=")
    judged = "too few" if len(past) < LEAST else "within noise" if not beyond else "worse" if (after > usual) == upper else "better"
    return Drift(check, condition, str(item["unit"]), past[-1], after, usual, noise, len(past), judged)
