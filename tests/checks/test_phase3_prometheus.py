"""P3.1, P3.4 and P3.6 read a real Prometheus and Alertmanager where the settings name them, and each of their faults turns a check red."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import alertmanager_stage
import httpx
import prometheus_stage
import pytest
from alertmanager_stage import receiving
from fake_stack import FakeStack
from openai_stage import until
from watching_stage import Watcher, free_port, watching

import suite
from suite.bench import Bench, throwaway
from suite.checks import phase3_alert, watched
from suite.checks.check import perform
from suite.checks.criteria import examine, load
from suite.checks.phase3 import CHECKS
from suite.checks.result import Result
from suite.checks.target import Target
from suite.errors import BadRequest, NotReady
from suite.monitoring.elsewhere import Elsewhere, Prometheus
from suite.monitoring.monitoring import Monitoring

LIMITS = load()
BY_ID = {check.id: check for check in CHECKS}

pytestmark = [pytest.mark.skipif(not prometheus_stage.installed(), reason=prometheus_stage.MISSING),
              pytest.mark.skipif(alertmanager_stage.PROGRAM is None, reason=alertmanager_stage.MISSING)]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory, models_dir: Path) -> Iterator[Any]:
    """A stack, the Prometheus that watches it, the Alertmanager that it tells, and who is told by that one."""
    folder, port = tmp_path_factory.mktemp("watching"), free_port()
    with receiving() as receiver, alertmanager_stage.alertmanager(folder, receiver.url) as manager, throwaway(
            profile="smoke", models_dir=str(models_dir), monitoring_interval=1, prometheus_url=f"http://127.0.0.1:{port}",
            alertmanager_url=manager) as (stack, target), watching(folder / "prometheus", port, stack.ports, manager) as watcher:
        yield SimpleNamespace(stack=stack, target=target, watcher=watcher, receiver=receiver, manager=manager,
                              configuration=folder / "alertmanager.yml")


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watched, "SLACK", 4.0)


def run(identity: str, target: Target) -> Result:
    result = perform(BY_ID[identity], target, LIMITS[identity])
    assert examine(result.to_dict(), LIMITS) == (result.state, [])
    return result


def passes(identity: str, target: Target) -> bool:
    """Whether the check passes; on a busy machine a Prometheus does not wait for an answer as long as a stack itself does."""
    return run(identity, target).state == "pass"


def broken(result: Result) -> set[str]:
    return {item["name"] for item in result.conditions if item["met"] is False}


def test_they_pass_on_a_stack_that_a_prometheus_watches(scene: Any) -> None:
    until(scene.watcher.settled)
    for identity in ("P3.1", "P3.4", "P3.6"):
        until(partial(passes, identity, scene.target), 60)
    roles = {item["server"]: item for item in run("P3.1", scene.target).evidence if item["name"] == "role"}
    assert roles["Prometheus"]["version"].startswith("2.") and roles["Alertmanager"]["version"].startswith("0.")
    told = [alert for _, body in scene.receiver.came for alert in body["alerts"] if alert["labels"]["alertname"] == "AlertRehearsal"]
    assert "firing" in {alert["status"] for alert in told}
    assert not any("Authorization" in headers and scene.target.token in headers["Authorization"] for headers, _ in scene.receiver.came)


def foreign(scene: Any, urls: dict[str, str], **more: str) -> Target:
    """A stack of another make, of which nothing is known but who watches it."""
    return Target({**urls, "monitoring": f"{scene.watcher.server.http.base_url}", **more})


def test_a_stack_of_another_make_is_asked_by_its_own_prometheus_and_alertmanager(scene: Any) -> None:
    with FakeStack(foreign=True).served() as urls:
        target = foreign(scene, urls, alerts=scene.manager)
        until(partial(passes, "P3.4", target), 60)
        result = run("P3.6", target)
        assert result.state == "pass" and {item["name"]: item["met"] for item in result.conditions}["fired"] is None, result.why
        target.close()
        scene.receiver.wait(lambda came: any(alert["labels"].get("alertname") == "AlertRehearsal" for _, body in came for alert in body["alerts"]))
        nobody = foreign(scene, urls)
        result = run("P3.6", nobody)
        nobody.close()
    assert result.state == "fail" and "name it as alerts in base_urls" in result.why


def test_the_bench_and_its_panels_read_that_prometheus_too(scene: Any) -> None:
    bench, own = Bench(scene.stack.settings, scene.stack), Monitoring(scene.stack.monitor)
    read = bench.monitoring
    until(scene.watcher.settled)
    assert read.rules()["name"].tolist() == own.rules()["name"].tolist() and (read.rules()["error"] == "").all()
    until(lambda: "Watchdog" in read.alerts()["name"].tolist(), 60)
    (dog,) = (row for row in read.alerts().to_dict("records") if row["name"] == "Watchdog")
    assert (dog["severity"], dog["state"], dog["labels"]) == ("none", "firing", {})
    until(lambda: "up" in set(read.metrics()["name"]), 60)
    until(lambda: len(read.samples("up", "5m", job="rag")) >= 2, 60)
    assert set(read.samples("up", "5m", job="rag")["instance"]) == {f"127.0.0.1:{scene.stack.ports['rag']}"}
    for panel in own.dashboards()["title"][:6]:
        until(lambda shown=panel: set(read.chart("AI Suite Overview", shown, "5m")["line"]) == set(own.chart("AI Suite Overview", shown, "5m")["line"]) != set(), 60)
    there, here = (one.chart("AI Suite Overview", "Memory in use", "2m").set_index("at")["value"].iloc[-1] for one in (read, own))
    assert abs(there - here) < 0.2 and 0 < there < 1
    with pytest.raises(BadRequest, match="has no metric 'no_such'"):
        read.samples("no_such")
    assert misled(scene.watcher, scene.stack.ports) == 200  # what only that Prometheus believes
    until(lambda: "postgres-exporter" in set(read.targets()["job"]) and not read.targets()["up"].all(), 60)
    panel = suite.panels.alerts(bench)
    assert "targets down" in panel.twin()[1] and own.targets()["up"].all()
    panel.close()
    assert scene.watcher.change() == 200 and read.silences().empty and len(read.memory()) == len(own.memory())
    bench._prometheus.close()
    nobody = Prometheus("http://127.0.0.1:9")
    with pytest.raises(NotReady, match=r"The Prometheus of PROMETHEUS_URL, http://127.0.0.1:9, does not answer"):
        Monitoring(Elsewhere(scene.stack.monitor, nobody.ask)).targets()
    nobody.close()


def renamed(watcher: Watcher) -> int:
    config = watcher.copy()
    for row in config["scrape_configs"]:
        row["metric_relabel_configs"] = [{"source_labels": ["__name__"], "regex": name, "target_label": "__name__", "replacement": f"{name}_v2"}
                                         for name in ("suite_host_memory_bytes", "suite_process_threads")]
    return watcher.change(config)


def misled(watcher: Watcher, ports: dict[str, int]) -> int:
    """One target is left out, one cannot exist, one is at another's port, at one nobody listens."""
    config = watcher.copy()
    elsewhere = {"qdrant": ports["rag"], "memory-api": 9}
    config["scrape_configs"] = [
        {**row, "static_configs": [{"targets": [f"127.0.0.1:{elsewhere.get(row['job_name'], ports[row['job_name']])}"]}]}
        for row in config["scrape_configs"] if row["job_name"] != "embedding"]
    config["scrape_configs"].append({"job_name": "postgres-exporter", "static_configs": [{"targets": [f"127.0.0.1:{ports['mcp-server']}"]}]})
    return watcher.change(config)


def misruled(watcher: Watcher) -> int:
    """One rule has another name, one has no severity, one cannot be evaluated."""
    rules = watcher.rules.replace("alert: PartDown", "alert: PartUp").replace('"up == 0"', '"up * on() up == 5"')
    return watcher.change(rules=rules.replace("severity: none", "team: none"))


FAULTS: dict[str, tuple[str, Callable[[Any], Any], set[str]]] = {
    "rules that cannot be read": ("P3.1", lambda scene: scene.watcher.change(rules="groups: [{") == 500, {"loads_failed"}),
    "metrics under other names": ("P3.1", lambda scene: renamed(scene.watcher) == 200, {"host_metrics_missing", "process_metrics_missing"}),
    "wrong targets": ("P3.4", lambda scene: misled(scene.watcher, scene.stack.ports) == 200,
                      {"targets_missing", "targets_unknown", "targets_elsewhere", "targets_down", "scrapes", "scrapes_failed"}),
    "wrong rules": ("P3.6", lambda scene: misruled(scene.watcher) == 200, {"rules_missing", "rules_incomplete", "rules_failing"}),
    "nobody to tell": ("P3.6", lambda scene: scene.watcher.change({**scene.watcher.copy(), "alerting": {}}) == 200, {"alertmanagers"}),
    "a receiver that refuses": ("P3.6", lambda scene: scene.watcher.change() == 200 and not setattr(scene.receiver, "status", 500),
                                {"places_silent", "delivered"}),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_breaks_the_conditions_that_it_is_about(scene: Any, fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(phase3_alert, "GROUPED", 2.0)  # this Alertmanager waits for nothing
    identity, inject, conditions = FAULTS[fault]
    assert inject(scene)
    until(scene.watcher.settled)
    try:
        result = run(identity, scene.target)
    finally:
        scene.receiver.status = 200
        scene.watcher.change()
    assert result.state == "fail" and broken(result) >= conditions, (sorted(broken(result)), result.why)


def test_an_alertmanager_that_could_not_read_its_configuration_goes_on_and_is_told_of(scene: Any) -> None:
    whole = scene.configuration.read_text()
    scene.configuration.write_text("route: [")
    try:
        assert httpx.post(f"{scene.manager}/-/reload").status_code == 500
        result = run("P3.1", scene.target)
    finally:
        scene.configuration.write_text(whole)
        assert httpx.post(f"{scene.manager}/-/reload").status_code == 200
    assert "loads_failed" in broken(result) and "roles_silent" not in broken(result), result.why


def test_a_prometheus_that_ended_turns_all_three_red(scene: Any) -> None:
    scene.watcher.server.process.terminate()
    scene.watcher.server.process.wait(30)
    for identity in ("P3.1", "P3.4", "P3.6"):
        result = run(identity, scene.target)
        assert result.state == "fail" and "Nothing answers" in result.why, result.why
