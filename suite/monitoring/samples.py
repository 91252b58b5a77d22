"""What the rules read: series of samples in time, from wherever they are kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from suite.monitoring.rule import Matcher


@dataclass(frozen=True)
class Series:
    """One series of a metric: `times` (UTC seconds, ascending) and `values` are float64 arrays of one length.

    A value that is NaN is a staleness marker: from that moment the series is gone, until its next sample.
    """

    labels: Mapping[str, str]
    times: Any
    values: Any


class Samples(Protocol):
    """A store of series."""

    def select(self, metric: str, matchers: Sequence[Matcher], begin: float, end: float) -> Sequence[Series]:
        """The series of a metric that meet all matchers, with their samples from `begin` to `end`, both included; those without may be left out."""
        ...
