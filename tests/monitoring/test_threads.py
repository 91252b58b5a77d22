"""Threads are told by the part they work for, and their processor time never falls."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from types import SimpleNamespace

import psutil
import pytest

from suite.monitoring.threads import OTHER, ThreadSeries, part_of


def seen(series: ThreadSeries) -> dict[str, dict[str, float]]:
    return {family.name: {sample.labels["part"]: sample.value for sample in family.samples} for family in series.collect()}


@pytest.mark.parametrize(("name", "part"), [
    ("decode-inference-chat", "inference-chat"), ("child-inference-code", "inference-code"), ("suite-vectors-optimize", "qdrant"),
    ("suite-memory-vectors", "memory-api"), ("suite-maintainer", "memory-maintainer"), ("suite-scrape", "monitoring"), ("suite-http", "http"),
    ("AnyIO worker thread", "http"), ("suite-usage", "api-gateway"), ("suite-web-proxy", "mcp-server"), ("suite-backup-hash_0", "backup"),
    ("MainThread", OTHER), ("decode-video", OTHER), ("", OTHER),
])
def test_a_name_says_the_part(name: str, part: str) -> None:
    assert part_of(name) == part


def test_real_threads_are_found_by_their_names_and_what_they_computed_stays_when_they_end() -> None:
    series, ready, end = ThreadSeries(), threading.Event(), threading.Event()
    before = seen(series)
    spun: list[float] = []

    def spin() -> None:
        me = threading.get_native_id()
        while not spun:
            sum(range(20_000))
            spun.extend(row.user_time for row in psutil.Process().threads() if row.id == me and row.user_time >= 0.05)
        ready.set()
        end.wait(30)

    thread = threading.Thread(target=spin, name="suite-backup-spin", daemon=True)
    thread.start()
    assert ready.wait(30)
    during = seen(series)
    end.set()
    thread.join()
    after = seen(series)
    assert "backup" not in before["suite_part_threads"] and during["suite_part_threads"]["backup"] == 1 and after["suite_part_threads"]["backup"] == 0
    assert during["suite_part_cpu_seconds"]["backup"] >= 0.05 and after["suite_part_cpu_seconds"]["backup"] == during["suite_part_cpu_seconds"]["backup"]
    assert sum(during["suite_part_threads"].values()) >= threading.active_count() and during["suite_part_cpu_seconds"][OTHER] > 0


def test_a_thread_that_has_the_id_of_one_that_is_gone_adds_to_it() -> None:
    rounds: list[Iterable[tuple[int, float]]] = [[(1, 5.0)], [(1, 1.0)], [], [(1, 2.0), (2, 1.0)]]
    series = ThreadSeries(lambda: rounds.pop(0))
    assert [seen(series)["suite_part_cpu_seconds"][OTHER] for _ in range(4)] == [5.0, 6.0, 6.0, 9.0]


def test_an_id_that_went_to_a_thread_of_another_part_leaves_the_first_what_it_had(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["suite-scrape"]
    monkeypatch.setattr(threading, "enumerate", lambda: [SimpleNamespace(native_id=1, name=names[0])])
    series = ThreadSeries(lambda: [(1, 5.0 if names == ["suite-scrape"] else 7.0)])
    seen(series)
    names[0] = "suite-lane"
    assert seen(series)["suite_part_cpu_seconds"] == {"monitoring": 5.0, "mcp-server": 7.0}


def test_where_threads_are_not_shown_there_is_no_sample() -> None:
    def refused() -> Iterable[tuple[int, float]]:
        raise psutil.AccessDenied()

    assert seen(ThreadSeries(refused)) == {}
