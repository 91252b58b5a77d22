"""Phase 3: who watches the stack is asked for fresh evidence that it does; a port that answers is none."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from suite.checks import fault_monitoring as fault
from suite.checks.check import Check, Observation
from suite.checks.phase3_alert import alert_delivery
from suite.checks.phase3_dashboard import access, panels
from suite.checks.target import Target, told
from suite.checks.trace import MARK, marker
from suite.checks.watched import NO_STACK, UNMEASURED, Server, Watched, moment_of, newest, wait_for, watched
from suite.errors import NotReady, UpstreamError
from suite.monitoring.log_line import SERVICES

HOST = ("suite_host_cpu_ratio", "suite_host_memory_bytes", "suite_host_disk_bytes")
PROCESS = ("suite_process_resident_bytes", "suite_process_cpu_seconds_total", "suite_process_threads")
THEIR_HOST, THEIR_PROCESS = ("node_memory_MemAvailable_bytes", "node_cpu_seconds_total"), ("process_resident_memory_bytes",)  # of other makes
SCRAPES = 3  # in a row that each target must answer
LOG_SECONDS = 5.0  # that a line may take from its service to whoever looks for it


def roles(target: Target, seen: Observation) -> None:
    """P3.1: every server of monitoring is ready and says its version; samples, evaluations, host and process are newer than this check."""
    began, there = time.time(), watched(target)
    if there is None:
        seen.not_applicable = NO_STACK
        return
    asked = [_ask(seen, role, server, path, version) for role, server, path, version in _servers(target, there)]
    seen.values |= {"roles_silent": sum(not ready for ready, _ in asked), "versions_missing": sum(not version for _, version in asked)}
    seen.values["loads_failed"] = _loads_failed(there, seen)
    host, process = (THEIR_HOST, THEIR_PROCESS) if there.ports is None else (HOST, PROCESS)
    rounds = _Rounds(there, began)
    wait_for(lambda: rounds.all_new(*host, *process), there.patience)
    stale = [name for name in (*host, *process) if not rounds.new(name)]
    seen.values |= {"sample_age": rounds.age(rounds.sampled()), "evaluation_age": rounds.age(rounds.evaluated()),
                    "host_metrics_missing": len(set(stale) & set(host)), "process_metrics_missing": len(set(stale) & set(process))}
    seen.note("fresh", interval_s=rounds.interval, missing=stale, host=rounds.values(host), process=rounds.values(process))


def targets(target: Target, seen: Observation) -> None:
    """P3.4: each port that gives numbers is a target, once; none is unknown; each answered every look while this check watched."""
    began, there = time.time(), watched(target)
    if there is None:
        seen.not_applicable = NO_STACK
        return
    wanted = None if there.ports is None else {job: port for job, port in there.ports.items() if job not in UNMEASURED}
    wait_for(lambda: _decided(there, began), (SCRAPES + 1) * there.reading.interval() + there.patience)
    rows, looks = there.reading.targets(), _looks(there, began)
    jobs = Counter(one.target.job for one in rows)
    places = Counter(one.target.url for one in rows)
    seen.values |= {
        "targets": len(rows), "targets_twice": sum(count > 1 for count in places.values()), "targets_down": sum(not one.up for one in rows),
        "scrapes": min((looks[one.target.job, one.target.instance].count(1.0) for one in rows), default=0),
        "scrapes_failed": sum(value != 1.0 for values in looks.values() for value in values),
    }
    if wanted is not None:
        seen.values |= {"targets_missing": len(wanted.keys() - jobs.keys()), "targets_unknown": len(jobs.keys() - wanted.keys()),
                        "targets_elsewhere": sum(urlsplit(one.target.url).port != wanted.get(one.target.job, 0) for one in rows
                                                 if one.target.job in wanted)}
        seen.note("manifest", missing=sorted(wanted.keys() - jobs.keys()), unknown=sorted(jobs.keys() - wanted.keys()))
    for one in rows:
        seen.note("target", job=one.target.job, url=one.target.url, up=one.up, error=one.error,
                  looks=looks[one.target.job, one.target.instance])


def log_lines(target: Target, seen: Observation) -> None:
    """P3.5: every service writes a line that nobody wrote before, and each of them is found under its own name."""
    if target.parts() is None:
        seen.not_applicable = "no service of this stack writes a line on request (its gateway is of another make); look for one of its own lines"
        return
    if "logs" not in target.urls:
        raise NotReady("There is no URL of the log store; name it as logs in base_urls.")
    text, began, start = f"{MARK} {marker()}", time.time(), target.clock()
    told(target.call("POST", "logs", "/api/v1/logs/mark", params={"text": text}), "logs answered POST /api/v1/logs/mark")
    found: dict[str, list[str]] = {}
    delays: dict[str, float] = {}

    def all_there() -> bool:
        for service in SERVICES:
            if service not in delays and (lines := _lines(target, service, text, began)):
                found[service], delays[service] = lines, round(target.clock() - start, 3)
        return len(delays) == len(SERVICES)

    wait_for(all_there, LOG_SECONDS)
    silent = [service for service in SERVICES if service not in delays]
    seen.values |= {
        "services": len(delays), "services_silent": len(silent), "slowest": max(delays.values()) if not silent else None,
        "lines_twice": sum(len(lines) > 1 for lines in found.values()),
        "lines_of_others": sum(json.loads(line).get("service") != service for service, lines in found.items() for line in lines),
    }
    seen.note("marker", text=text, silent=silent, delays_s=delays)


class _Rounds:
    """What has been seen since a check began."""

    def __init__(self, there: Watched, began: float) -> None:
        self._there, self._began, self.interval = there, began, there.reading.interval()

    def sampled(self) -> float | None:
        """When the newest sample was taken."""
        rows = newest(self._there.reading, "up", self._began - 100 * self.interval).values()
        return max((at for at, _ in rows), default=None)

    def evaluated(self) -> float | None:
        """When the rule that was looked at longest ago was."""
        return min((moment_of(rule["lastEvaluation"]) for rule in self._there.reading.rules()), default=None)

    def new(self, metric: str) -> bool:
        """Whether every series of a metric that there is has a finite number since then."""
        return bool(newest(self._there.reading, metric, self._began))

    def all_new(self, *metrics: str) -> bool:
        """Whether all of it is new."""
        moments = (self.sampled(), self.evaluated())
        return all(at is not None and at >= self._began for at in moments) and all(self.new(metric) for metric in metrics)

    def age(self, at: float | None) -> float | None:
        """How many rounds ago that was."""
        return None if at is None or not self.interval else round((time.time() - at) / self.interval, 3)

    def values(self, metrics: tuple[str, ...]) -> dict[str, float]:
        """One number of each metric."""
        found = {metric: newest(self._there.reading, metric, self._began) for metric in metrics}
        return {metric: next(iter(rows.values()))[1] for metric, rows in found.items() if rows}


def _servers(target: Target, there: Watched) -> list[tuple[str, Server | None, str, Callable[[Server], Any]]]:
    """Role, server, where it says that it is ready, and how it says its version."""
    def of_alertmanager(server: Server) -> Any:
        return server.json("/api/v2/status")["versionInfo"]["version"]

    asked: list[tuple[str, Server | None, str, Callable[[Server], Any]]] = [
        ("metrics store", there.store, "/-/ready", lambda _: there.reading.build().version),
        ("log store", _of(target, "logs"), "/ready", lambda server: server.json("/loki/api/v1/status/buildinfo")["version"])]
    if there.ports is not None:
        asked.append(("dashboard", _of(target, "dashboard"), "/health", lambda server: server.json("/api/dashboards")["version"]))
    else:
        asked.append(("dashboard", _of(target, "dashboard"), "/api/health", lambda server: server.json("/api/health")["version"]))
    if there.ports is not None or there.alertmanager is None:
        asked.append(("alert delivery", there.alerts, "/-/ready", of_alertmanager))
    if there.alertmanager is not None:
        asked.append(("alert delivery", there.alertmanager, "/-/ready", of_alertmanager))
    return asked


def _of(target: Target, part: str) -> Server | None:
    return Server(part, lambda method, path, **options: target.call(method, part, path, **options)) if part in target.urls else None


def _ask(seen: Observation, role: str, server: Server | None, path: str, version: Callable[[Server], Any]) -> tuple[bool, str]:
    """Whether the role would serve now, and which version it says; the reason why not is kept."""
    if server is None:
        seen.note("role", role=role, reason="it has no port in this stack, or base_urls does not name it")
        return False, ""
    try:
        answer = server.send("GET", path)
        said = str(version(server) or "") if answer.is_success else ""
        seen.note("role", role=role, server=server.name, ready=answer.is_success, version=said, reason="" if answer.is_success else answer.text[:200])
        return answer.is_success, said
    except (NotReady, UpstreamError, KeyError, TypeError) as error:
        seen.note("role", role=role, server=server.name, ready=False, reason=f"{type(error).__name__}: {error}"[:300])
        return False, ""


def _loads_failed(there: Watched, seen: Observation) -> int | None:
    """How many of those who read a configuration could not read the last one."""
    try:
        loaded = {there.store.name: there.reading.build().loaded}
        if there.alertmanager is not None:
            text = there.alertmanager.send("GET", "/metrics").text
            loaded[there.alertmanager.name] = "\nalertmanager_config_last_reload_successful 1\n" in text
    except (NotReady, UpstreamError) as error:
        seen.note("refused", reason=str(error))
        return None
    seen.note("loaded", **loaded)
    return sum(not well for well in loaded.values())


def _looks(there: Watched, began: float) -> dict[tuple[str, str], list[float]]:
    """By job and instance: what each look since then found, 1 for an answer."""
    found: dict[tuple[str, str], list[float]] = {(one.target.job, one.target.instance): [] for one in there.reading.targets()}
    for series in there.reading.select("up", (), began):
        found[series.labels.get("job", ""), series.labels.get("instance", "")] = series.values.tolist()
    return found


def _decided(there: Watched, began: float) -> bool:
    looks = _looks(there, began)
    return bool(looks) and (any(value != 1.0 for values in looks.values() for value in values) or min(map(len, looks.values())) >= SCRAPES)


def _lines(target: Target, service: str, text: str, began: float) -> list[str]:
    query = {"query": f'{{service="{service}"}} |= "{text}"', "start": f"{began - 60:.3f}", "limit": 10}
    answer = told(target.call("GET", "logs", "/loki/api/v1/query_range", params=query), "logs answered GET /loki/api/v1/query_range")
    return [line for stream in answer["data"]["result"] for _, line in stream["values"]]


CHECKS = (
    Check("P3.1", "All roles of monitoring answer with fresh evidence", 3, "monitoring", 2, fault.ENDED_THREAD, roles,
          (fault.STALLED_EVALUATION, fault.RENAMED_HOST, fault.RENAMED_PROCESS, fault.CLOSED_LOG, fault.CLOSED_ALERTS)),
    Check("P3.2", "The dashboard opens to the token alone, and its source answers", 3, "monitoring", 2, fault.OPEN_DASHBOARD, access,
          (fault.DEFAULT_PASSWORD, fault.CLOSED_DASHBOARD, fault.LOST_DASHBOARDS, fault.DEAD_SOURCE)),
    Check("P3.3", "Every panel of the overview shows data", 3, "monitoring", 2, fault.EMPTY_PANEL, panels,
          (fault.RENAMED_PANEL, fault.ENDED_THREAD, fault.NO_NUMBERS, fault.LOST_DASHBOARDS)),
    Check("P3.4", "Every target is there once and up", 3, "monitoring", 2, fault.STOPPED_TARGET, targets,
          (fault.LOST_TARGET, fault.STRANGE_TARGET, fault.DOUBLED_TARGET, fault.FLAPPING_TARGET)),
    Check("P3.5", "A line of each service is found in the log", 3, "monitoring", 2, fault.STALLED_WRITER, log_lines,
          (fault.SILENT_SERVICE, fault.DOUBLED_LINES, fault.BLIND_READER)),
    Check("P3.6", "Rules are looked at, and an alert arrives", 3, "monitoring", 2, fault.BROKEN_RULE, alert_delivery,
          (fault.LOST_RULES, fault.STALLED_RULES, fault.STALLED_EVALUATION, fault.DEAD_SINK, fault.MUTED_ALERTS, fault.ENDLESS_ALERT)),
)
