"""One number of one series at one moment."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sample:
    """A number of the series `name` with these `labels`, which are pairs in the order of their names."""

    name: str
    labels: tuple[tuple[str, str], ...]
    value: float
