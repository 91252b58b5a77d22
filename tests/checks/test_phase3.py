"""The checks of monitoring on a real stack: they pass, leave nothing behind, and each fault breaks the condition that it is about."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_stack import TOKEN, FakeStack
from openai_stage import until

from suite.bench import throwaway
from suite.checks import fault_monitoring as fault
from suite.checks import phase3, phase3_alert, watched
from suite.checks.check import perform
from suite.checks.criteria import examine, load
from suite.checks.fault import Fault
from suite.checks.phase3 import CHECKS
from suite.checks.result import Result
from suite.runbooks.execute import execute
from suite.runbooks.run import begin

LIMITS = load()
BY_ID = {check.id: check for check in CHECKS}
BREAKS: dict[str, dict[Fault, str]] = {
    "P3.1": {fault.STALLED_EVALUATION: "evaluation_age", fault.RENAMED_HOST: "host_metrics_missing", fault.RENAMED_PROCESS: "process_metrics_missing"},
    "P3.2": {fault.OPEN_DASHBOARD: "opened_by_others", fault.DEFAULT_PASSWORD: "opened_by_others", fault.LOST_DASHBOARDS: "dashboards_missing",
             fault.DEAD_SOURCE: "source_lines"},
    "P3.3": {fault.EMPTY_PANEL: "panels_empty", fault.RENAMED_PANEL: "age", fault.NO_NUMBERS: "panels_not_finite", fault.LOST_DASHBOARDS: "panels_missing"},
    "P3.4": {fault.LOST_TARGET: "targets_missing", fault.STRANGE_TARGET: "targets_unknown", fault.DOUBLED_TARGET: "targets_twice",
             fault.FLAPPING_TARGET: "scrapes_failed"},
    "P3.5": {fault.STALLED_WRITER: "services_silent", fault.SILENT_SERVICE: "services", fault.DOUBLED_LINES: "lines_twice", fault.BLIND_READER: "slowest"},
    "P3.6": {fault.BROKEN_RULE: "rules_failing", fault.LOST_RULES: "rules_missing", fault.STALLED_RULES: "fired",
             fault.STALLED_EVALUATION: "evaluation_age", fault.DEAD_SINK: "places_silent", fault.MUTED_ALERTS: "delivered",
             fault.ENDLESS_ALERT: "resolved"},
}
FOR_GOOD = {"P3.1": {fault.ENDED_THREAD, fault.CLOSED_LOG, fault.CLOSED_ALERTS}, "P3.2": {fault.CLOSED_DASHBOARD}, "P3.3": {fault.ENDED_THREAD},
            "P3.4": {fault.STOPPED_TARGET}}  # what cannot be undone


@pytest.fixture(scope="module")
def running(models_dir: Path) -> Iterator[Any]:
    with throwaway(profile="smoke", models_dir=str(models_dir), monitoring_interval=1) as (stack, target):
        stack.monitor.scraper.interval = 0.4  # less than a setting may ask for, so that these tests wait less
        yield stack, target


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a check must fail it need not wait long for what does not come."""
    monkeypatch.setattr(watched, "SLACK", 0.3)
    monkeypatch.setattr(phase3, "LOG_SECONDS", 0.3)


@contextmanager
def undone(stack: Any) -> Iterator[None]:
    """What a fault puts into the parts of monitoring is taken out again."""
    watch, scraper, sink = stack.monitor.watch, stack.monitor.scraper, stack.log._sink
    app = stack.servers.app("dashboard")
    parts = [stack.monitor, scraper, watch, watch._alerts, watch._samples, watch._notify, watch.rehearsals, sink, sink._file, stack.log.reader, stack.metrics.registry("monitoring")]
    named = [(scraper, "targets"), (scraper, "_then"), (watch, "telling"), (watch._alerts, "rules"), (app, "matches"),
             (app.signed_in.__self__, "_matches")]
    before, kept = [set(vars(part)) for part in parts], [(part, name, getattr(part, name)) for part, name in named]
    lists = [(each, list(each)) for each in (sink.filters, watch._deliver._outlets)]
    try:
        yield
    finally:
        for part, names in zip(parts, before, strict=True):
            for name in set(vars(part)) - names:
                delattr(part, name)
        for part, name, value in kept:
            setattr(part, name, value)
        for each, items in lists:
            each[:] = items
        watch.rehearsals._known.clear()


def run(identity: str, target: Any) -> Result:
    result = perform(BY_ID[identity], target, LIMITS[identity])
    assert examine(result.to_dict(), LIMITS) == (result.state, [])
    return result


def broken(result: Result) -> set[str]:
    return {item["name"] for item in result.conditions if item["met"] is False}


def test_every_fault_of_these_checks_is_tried() -> None:
    assert {identity: {check.fault, *check.others} for identity, check in BY_ID.items()} == {
        identity: set(faults) | FOR_GOOD.get(identity, set()) for identity, faults in BREAKS.items()}


@pytest.mark.parametrize("identity", sorted(BY_ID))
def test_a_healthy_stack_passes(running: Any, identity: str) -> None:
    result = run(identity, running[1])
    assert result.state == "pass", result.why


def test_a_rehearsal_is_over_when_the_check_is(running: Any) -> None:
    stack, target = running
    assert run("P3.6", target).state == "pass"
    until(lambda: not [alert for alert in stack.monitor.watch.active() if alert.name == "AlertRehearsal"])
    told = [one for one in stack.monitor.watch.notifications() if one.name == "AlertRehearsal"]
    assert {one.status for one in told} == {"firing", "resolved"} and all(one.severity == "warning" for one in told)


@pytest.mark.parametrize(("identity", "broke"), [(identity, broke) for identity in BREAKS for broke in BREAKS[identity]],
                         ids=lambda value: value if isinstance(value, str) else value.sentence)
def test_each_fault_breaks_the_condition_that_it_is_about(running: Any, impatient: None, identity: str, broke: Fault) -> None:
    stack, target = running
    with undone(stack):
        broke.inject(stack)
        result = run(identity, target)
    assert result.state == "fail" and BREAKS[identity][broke] in broken(result), result.why


def few_targets(stack: Any) -> None:
    stack.monitor.scraper.targets = stack.monitor.scraper.targets[:6]


def moved_target(stack: Any) -> None:
    other, *rest = stack.monitor.scraper.targets
    stack.monitor.scraper.targets = (replace(other, url=rest[0].url), *rest)


def no_rules(stack: Any) -> None:
    stack.monitor.watch._alerts.rules = ()


def wordless_rule(stack: Any) -> None:
    first, *rest = stack.monitor.watch._alerts.rules
    stack.monitor.watch._alerts.rules = (replace(first, sentence=""), *rest)


def wrong_names(stack: Any) -> None:
    honest = stack.log.reader.raw
    stack.log.reader.raw = lambda *asked, **more: [(row, json.dumps({**json.loads(line), "service": "other"})) for row, line in honest(*asked, **more)]


def untold_end(stack: Any) -> None:
    honest = stack.monitor.watch._notify.update
    stack.monitor.watch._notify.update = lambda active, at: tuple(one for one in honest(active, at) if one.firing)


def alerts_that_stay(stack: Any) -> None:
    honest, seen = stack.monitor.alerts, {}
    stack.monitor.alerts = lambda: [seen.setdefault(str(one["labels"]), one) for one in honest()] and list(seen.values())


def unkept_target(stack: Any) -> None:
    honest = stack.monitor.select
    stack.monitor.select = lambda *asked, **more: [one for one in honest(*asked, **more) if one.labels["job"] != "rag"]


def strict_door(stack: Any) -> None:
    stack.servers.app("dashboard").matches = lambda token: False


ALSO: list[tuple[str, Callable[[Any], None], str]] = [
    ("P3.1", no_rules, "loads_failed"), ("P3.2", strict_door, "with_token"), ("P3.3", fault.lose_dashboards, "panels"), ("P3.4", few_targets, "targets"), ("P3.4", unkept_target, "scrapes"), ("P3.4", moved_target, "targets_elsewhere"), ("P3.5", wrong_names, "lines_of_others"),
    ("P3.6", untold_end, "resolved"), ("P3.6", alerts_that_stay, "resolved"), ("P3.6", no_rules, "rules"), ("P3.6", wordless_rule, "rules_incomplete"),
]


@pytest.mark.parametrize(("identity", "inject", "condition"), ALSO, ids=lambda value: value if isinstance(value, str) else value.__name__)
def test_other_ways_to_break_a_condition(running: Any, impatient: None, identity: str, inject: Any, condition: str) -> None:
    stack, target = running
    with undone(stack):
        inject(stack)
        result = run(identity, target)
    assert result.state == "fail" and condition in broken(result), result.why


# what the last test here breaks for good, what the next two do, and what only a Prometheus has: test_phase3_prometheus.py
LAST = {("P3.1", "roles_silent"), ("P3.1", "versions_missing"), ("P3.1", "sample_age"), ("P3.2", "ready"), ("P3.3", "panels_stale"),
        ("P3.4", "targets_down")}
SINGLE = {("P3.2", "version"), ("P3.6", "places"), ("P3.6", "alertmanagers")}


def test_every_condition_of_the_criteria_has_its_red_proof() -> None:
    proven = {(identity, condition) for identity, faults in BREAKS.items() for condition in faults.values()} | {(row[0], row[2]) for row in ALSO}
    assert proven | LAST | SINGLE == {(identity, one.name) for identity in BY_ID for one in LIMITS[identity].conditions}


def test_a_dashboard_that_does_not_say_its_version_fails(running: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("suite.http.dashboard.__version__", "")
    assert broken(run("P3.2", running[1])) == {"version"}
    monkeypatch.undo()
    assert broken(run("P3.2", running[1])) == set()


def test_alerts_that_go_nowhere_are_none(running: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    stack, target = running
    monkeypatch.setattr(phase3_alert, "_near", lambda url: False)  # as if the stack were on another machine, where this check cannot listen
    with undone(stack):
        stack.monitor.watch.counts = dict
        assert "places" in broken(run("P3.6", target))
    assert run("P3.6", target).state == "pass"  # the notebook of the stack is a place


@pytest.mark.parametrize("identity", sorted(BY_ID))
def test_a_stack_of_another_make_that_names_no_prometheus_cannot_be_asked(identity: str) -> None:
    target = FakeStack(foreign=True).target()
    result = perform(BY_ID[identity], target, LIMITS[identity])
    target.close()
    assert result.state == "not-applicable" and examine(result.to_dict(), LIMITS) == ("not-applicable", [])


@pytest.mark.parametrize("identity", sorted(BY_ID))
def test_a_stack_of_ours_that_is_not_watched_fails(identity: str) -> None:
    target = FakeStack().target()
    result = perform(BY_ID[identity], target, LIMITS[identity])
    target.close()
    assert result.state == "fail" and ("MONITORING_ENABLED=true" in result.why or "name it as logs" in result.why)


def test_a_prometheus_whose_address_holds_a_password_is_not_asked() -> None:
    stack = FakeStack()
    stack.host = lambda: {**FakeStack.host(stack), "prometheus_url": "sha256:0123", "ports": {}}  # type: ignore[method-assign]
    target = stack.target()
    target.urls = {**target.urls, "monitoring": "http://monitoring"}
    result = perform(BY_ID["P3.4"], target, LIMITS["P3.4"])
    target.close()
    assert result.state == "fail" and "PROMETHEUS_URL holds a password" in result.why


def test_the_runbook_passes_on_the_stack_that_runs(running: Any, tmp_path: Path) -> None:
    stack, _ = running
    here = {"data_dir": str(stack.data), "reports_dir": str(tmp_path)}
    report = execute("phase3_monitoring", {"settings": here}, stack.settings, out=tmp_path / "out.ipynb", progress=False)
    assert report.verdict == "pass" and [result.id for result in report.results] == [check.id for check in CHECKS], report


def test_one_address_stands_for_the_ports_that_a_stack_of_ours_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SESAME", TOKEN)
    stack = FakeStack()
    stack.host = lambda: {**FakeStack.host(stack), "ports": {"monitoring": 9}}  # type: ignore[method-assign]
    with stack.served() as urls:
        watching = dict.fromkeys(("monitoring", "alerts", "dashboard"), "http://127.0.0.1:9")
        found = begin("phase3_monitoring", start=lambda *_, **__: None, base_urls=urls | watching, token_env="SESAME")  # type: ignore[arg-type]
    assert found._target is not None and set(found._target.urls) == {*urls, "monitoring"}
    found._target.close()


def test_what_cannot_be_undone_breaks_them_as_well(running: Any, impatient: None) -> None:
    """Last, as nothing watches this stack afterwards."""
    stack, target = running
    fault.STOPPED_TARGET.inject(stack)
    found = {("P3.4", condition) for condition in broken(run("P3.4", target))}
    for close, role in ((fault.CLOSED_LOG, "log store"), (fault.CLOSED_ALERTS, "alert delivery")):
        close.inject(stack)
        result = run("P3.1", target)
        found |= {("P3.1", condition) for condition in broken(result)}
        assert role in {item["role"] for item in result.evidence if item["name"] == "role" and not item["ready"]}
    fault.ENDED_THREAD.inject(stack)
    assert {"host_metrics_missing", "process_metrics_missing"} <= broken(run("P3.1", target))
    for identity in ("P3.1", "P3.3"):
        found |= {(identity, condition) for condition in broken(run(identity, target))}
    fault.CLOSED_DASHBOARD.inject(stack)
    found |= {("P3.2", condition) for condition in broken(run("P3.2", target))}
    assert found >= LAST
