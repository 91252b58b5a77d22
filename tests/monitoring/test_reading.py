"""A real Prometheus and our own port are read alike."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import prometheus_stage as stage
import pytest

from suite.monitoring.reading import EmbeddedReading, PrometheusReading, reading
from suite.monitoring.rule import Matcher

JOB, OTHER = {"job": "rag", "instance": "a:1"}, {"job": "qdrant", "instance": "b:2"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    if not stage.installed():
        pytest.skip(stage.MISSING)
    with stage.running(tmp_path_factory.mktemp("read")) as running:
        yield running


def ask_of(server: Any) -> Any:
    return lambda path, parameters: server.http.get(path, params=dict(parameters)).raise_for_status().json()


def test_a_prometheus_says_that_it_is_one_and_gives_samples_by_labels_and_time(server: Any) -> None:
    now = round(time.time())
    moments = [(now - 30 + 10 * place) * 1000 for place in range(3)]
    server.write([({"__name__": "level", **JOB}, moments, [1.0, 2.0, 3.0]), ({"__name__": "level", **OTHER}, moments, [7.0, 8.0, 9.0])])
    found = reading(ask_of(server))
    assert isinstance(found, PrometheusReading) and not isinstance(found, EmbeddedReading)
    [series] = found.select("level", [Matcher("job", "=", "rag")], now - 25, now)
    assert series.labels == JOB and series.times.tolist() == [now - 20, now - 10] and series.values.tolist() == [2.0, 3.0]
    assert {one.labels["job"] for one in found.select("level", (), now - 25)} == {"rag", "qdrant"}
    assert found.select("nothing", (), now - 25) == [] and "level" in found.names()
    build = found.build()
    assert build.version[0].isdigit() and build.loaded and found.targets() == found.rules() == found.alerts() == [] and found.interval() == 0.0


def target(**changed: Any) -> dict[str, Any]:
    return {"labels": JOB, "scrapeUrl": "http://a:1/metrics", "lastError": "", "lastScrape": "2026-11-28T20:00:00.123456789Z", "lastScrapeDuration": 0.25,
            "health": "up", "scrapeInterval": "1m30s", **changed}


def answers(**found: Any) -> Any:
    """Somebody who gives these answers, by the last word of the path."""
    return lambda path, parameters: {"data": found[path.rsplit("/", 1)[1]]}


def test_a_target_that_was_not_looked_at_yet_is_not_up() -> None:
    rows = [target(), target(health="unknown", lastScrape="0001-01-01T00:00:00Z"), target(health="down", lastError="refused")]
    found = PrometheusReading(answers(targets={"activeTargets": rows})).targets()
    assert [(one.up, one.error) for one in found] == [(True, ""), (False, "it is unknown"), (False, "refused")]
    assert found[0].at == pytest.approx(1795896000.123456) and found[0].seconds == 0.25 and math.isnan(found[1].at)


def test_the_interval_is_the_longest_that_anything_takes() -> None:
    rules = {"groups": [{"interval": 15, "rules": []}, {"interval": 60.0, "rules": []}]}
    assert PrometheusReading(answers(targets={"activeTargets": [target()]}, rules=rules)).interval() == 90.0
    assert PrometheusReading(answers(targets={"activeTargets": [target(scrapeInterval="500ms")]}, rules=rules)).interval() == 60.0


def test_recording_rules_are_no_alert_rules() -> None:
    rules = {"groups": [{"interval": 1, "rules": [{"type": "recording", "name": "sum"}, {"type": "alerting", "name": "Down"}]}]}
    assert [rule["name"] for rule in PrometheusReading(answers(rules=rules)).rules()] == ["Down"]


@pytest.mark.parametrize(("said", "loaded"), [({"reloadConfigSuccess": True}, True), ({"reloadConfigSuccess": False}, False), ({}, False)])
def test_a_prometheus_says_whether_its_last_reload_went_well(said: dict[str, Any], loaded: bool) -> None:
    assert PrometheusReading(answers(buildinfo={"version": "2.0"}, runtimeinfo=said)).build().loaded is loaded


def test_our_own_port_says_what_it_is_and_a_value_that_is_none_stays_none(tmp_path: Path) -> None:
    def ask(path: str, parameters: Any) -> Any:
        if path == "/v1/samples":
            assert dict(parameters) == {"metric": "up", "begin": 1.0, "match": ['job="rag"']}
            return {"series": [{"labels": JOB, "times": [1.0, 2.0], "values": [1.0, "nan"]}]}
        return {"data": {"application": "local-ai-suite", "version": "9"} if path.endswith("buildinfo") else {"groups": [{"interval": 1, "rules": [{}]}]}}

    found = reading(ask)
    assert isinstance(found, EmbeddedReading) and (found.build().version, found.build().loaded) == ("9", True)
    [series] = found.select("up", [Matcher("job", "=", "rag")], 1.0)
    assert series.values[0] == 1.0 and series.values[1] != series.values[1]
