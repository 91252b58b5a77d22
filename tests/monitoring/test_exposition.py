"""The text that is scraped is the one that prometheus_client writes."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.samples import Sample

from suite.monitoring.exposition import text
from suite.monitoring.metric import Metrics

NAMES = st.sampled_from(("suite_a", "suite_b_seconds", "llamacpp:tokens"))
LABELS = st.dictionaries(st.sampled_from(("part", "le", "route", "status")), st.text(st.characters(exclude_categories=("Cs",))), max_size=3)
NUMBERS = st.floats() | st.integers(-10**20, 10**20) | st.sampled_from((0.0, -0.0, math.inf, 1e6, 1e7, 123456789.0, 1e21))


@st.composite
def families(draw: st.DrawFn) -> Metric:
    made = Metric(draw(NAMES), draw(st.sampled_from(("Says what.", "back\\slash", "two\nlines", 'a "quote"', "한글"))), draw(st.sampled_from(("counter", "gauge", "histogram"))))
    endings = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}[made.type]
    made.samples = [Sample(made.name + draw(st.sampled_from(endings)), draw(LABELS), draw(NUMBERS)) for _ in range(draw(st.integers(0, 5)))]
    return made


class Given:
    def __init__(self, given: list[Metric]) -> None:
        self._given = given

    def collect(self) -> list[Metric]:
        return self._given


@given(st.lists(families(), max_size=4))
def test_it_is_byte_for_byte_what_the_library_writes(made: list[Metric]) -> None:
    assert text(made) == generate_latest(Given(made))
    assert text(made) == generate_latest(Given(made)), "and again, when what stands before the numbers is remembered"


def test_a_kind_that_is_written_in_another_way_is_refused() -> None:
    with pytest.raises(ValueError, match="suite_a is a stateset"):
        text([Metric("suite_a", "says", "stateset")])


def test_when_a_series_began_is_left_out() -> None:
    metrics = Metrics()
    metrics.observe("rag", "rag", "/query", 200, 0.1)
    for told in (metrics.exposition("rag"), metrics.everything(str)):
        assert b"_created" not in told and b"suite_requests_total" in told and b"suite_request_seconds_count" in told
