"""Read Prometheus' text format, as a scraper does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

from suite.errors import UpstreamError


@dataclass(frozen=True)
class Sample:
    """One number: its full name (a histogram's end in _bucket, _count and _sum), its labels and its value."""

    name: str
    labels: Mapping[str, str]
    value: float


def samples(text: str) -> list[Sample]:
    """All numbers of a page of metrics. Raises UpstreamError where it is none."""
    try:
        return [Sample(one.name, one.labels, float(one.value)) for family in text_string_to_metric_families(text) for one in family.samples]
    except ValueError as error:
        raise UpstreamError(f"The page of metrics cannot be read ({error}); ask for it in Prometheus' text format.") from error
