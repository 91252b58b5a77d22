"""`suite bench monitoring` with tiny loads: its rows, and what makes a row fail or not be measured."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from suite.benchmark import monitoring as bench
from suite.benchmark.monitoring_parts import Charts, CountedCalls, Watched, filled
from suite.benchmark.row import Limit, status
from suite.monitoring.history import DAY, History
from suite.monitoring.sample import Sample
from suite.settings import Settings, load
from suite.tools.series import ToolSeries

TINY = bench.Load(rounds=2, chats=2, calls=5, days=0.05, alerts=1, markers=1, interval=1.0)
LIMITED = ("SCRAPE", "TARGETS", "CHAT", "LOGGED", "TOOL", "HISTORY", "CHART", "ALERT", "MARKER")


@pytest.fixture
def settings(tmp_path: Path, models_dir: Path) -> Settings:
    return load({"data_dir": str(tmp_path / "data"), "models_dir": str(models_dir)}, environ={})


def test_every_row_is_measured(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in LIMITED:  # a test asserts no time
        monkeypatch.setattr(bench, name, replace(getattr(bench, name), limit=1e9))
    rows = bench.monitoring(settings, 1, False, lambda text: None, TINY)
    expected = [limit.name for limit in (bench.SCRAPE, bench.TARGETS, bench.ROUND, bench.SERIES, bench.CHAT, bench.LOGGED, bench.CHAT_MS, bench.ALERT, bench.MARKER,
                                         bench.HISTORY, bench.CHART, bench.TOOL)]
    assert [next(row["name"] for row in rows if row["name"].startswith(name)) for name in expected] and len(rows) == len(expected)
    assert status(rows) == 0 and not [row["name"] for row in rows if row["value"] is None], rows
    found = {name: next(row["value"] for row in rows if row["name"].startswith(name)) for name in expected}
    assert found[bench.SERIES.name] > 300 and found[bench.CHAT.name] > 0.1 and 0 < found[bench.TARGETS.name] < found[bench.ROUND.name] and found[bench.SCRAPE.name] > 0
    assert found[bench.ALERT.name] > -TINY.interval and found[bench.HISTORY.name] > 0


@pytest.mark.parametrize(("limit", "good", "bad"), [(bench.SCRAPE, 20, 20.1), (bench.TARGETS, 20, 20.1), (bench.CHAT, 1.02, 1.021), (bench.LOGGED, 1.02, 1.021), (bench.TOOL, 50, 50.1), (bench.HISTORY, 200, 200.1),
                                                    (bench.CHART, 200, 200.1), (bench.ALERT, 1, 1.01), (bench.MARKER, 1, 1.01)])
def test_what_is_over_its_limit_is_not_met(limit: Limit, good: float, bad: float) -> None:
    assert (limit.row(good)["met"], limit.row(bad)["met"]) == (True, False)


@pytest.fixture
def watched(settings: Settings) -> Iterator[Watched]:
    made = Watched({**bench.OWN, "data_dir": str(settings.data_dir), "models_dir": str(settings.models_dir), "monitoring_interval": 60})
    yield made
    made.instrumented(True, True)
    made.close()


def test_what_is_switched_off_is_not_counted_or_not_logged_and_then_is_again(watched: Watched) -> None:
    log, bench_ = logging.getLogger("suite.http"), watched._bench

    def asked(question: str) -> tuple[float, int]:
        """Replies that are counted, and lines of the log about a question that is asked."""
        bench_.chat(question, max_tokens=4)
        log.warning("asked %s", question)
        text = watched._stack.metrics.everything(str).decode()
        return sum(float(row.split()[-1]) for row in text.splitlines() if row.startswith("suite_llm_requests_total{")), len(bench_.logs(contains=f"asked {question}"))

    assert asked("one") == (1, 1)
    watched.instrumented(False, False)
    assert asked("two") == (1, 0)
    watched.instrumented(True, False)
    assert asked("three") == (2, 0)
    watched.instrumented(True, True)
    assert asked("four") == (3, 1)


def test_a_target_that_does_not_answer_is_no_measurement(watched: Watched) -> None:
    assert watched.rounds(1)["down"] == 0
    watched._stack.servers.close("rag")
    assert watched.rounds(1)["down"] == 1


def test_a_history_is_filled_as_a_stack_would_have_left_it(tmp_path: Path) -> None:
    series = [Sample("suite_llm_tokens_total", (("alias", "a"),), 5.0), Sample("suite_host_cpu_ratio", (), 0.5)]
    found = filled(tmp_path, series, 3.0, 600.0)
    assert found["series"] == 2 and found["lost"] == 0 and found["bytes"] > 1000
    history, now = History(tmp_path), time.time()
    (counts,) = history.select("suite_llm_tokens_total", (), 0, now)
    assert 0.9 * found["samples"] < 2 * len(counts.times) <= found["samples"] and now - counts.times[0] > 2.9 * DAY and now - counts.times[-1] < 700
    assert (counts.values[1:] >= counts.values[:-1]).all() and counts.values[-1] > counts.values[0], "a counter never falls"
    old = counts.times < now - 2 * DAY - 600
    assert {round(step) for step in counts.times[old][1:] - counts.times[old][:-1]} == {300}
    history.close()


def test_charts_of_a_history_without_lines_are_told(tmp_path: Path) -> None:
    filled(tmp_path, [Sample("up", (("instance", "i"), ("job", "rag")), 1.0)], 0.01, 15.0)
    drawn: dict[str, Any] = Charts(str(tmp_path)).draw(1)
    assert len(drawn["seconds"]) == len(drawn["lines"]) == 6 and sum(drawn["lines"]) >= 1 and not all(drawn["lines"])


def test_calls_that_are_silent_are_recorded_and_not_counted(tmp_path: Path) -> None:
    made = CountedCalls(str(tmp_path))
    registry = CollectorRegistry()
    made._parts.tools._pipeline._series = ToolSeries(registry)
    for on, count in ((False, 2), (True, 2), (False, 4)):
        made.silent(on)
        made.free(2)
        assert registry.get_sample_value("suite_tool_calls_total", {"tool": "list_files", "outcome": "done"}) == count
    assert made._parts.audit.verify().entries == 12
    made._parts.close()
