"""Faults of monitoring: who watches has ended, looks at the wrong things, or tells nobody; each leaves all ports answering, or nearly all."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from suite.checks.fault import Fault, Stack
from suite.errors import StorageError
from suite.monitoring.dashboard import Line
from suite.monitoring.table import MONITORING


def end_thread(stack: Stack) -> None:
    """End the thread that looks at targets and rules."""
    stack.monitor.scraper.close()


def stall_evaluation(stack: Stack) -> None:
    """Let targets be looked at, and the rules no more."""
    stack.monitor.scraper._then = lambda at: None


def stall_rules(stack: Stack) -> None:
    """Let the rules be looked at as if nothing had been measured."""
    stack.monitor.watch._samples.select = lambda metric, matchers, begin, end: []


def rename(stack: Stack, metric: str) -> None:
    """Let a metric have another name from now on, as after a careless change."""
    registry: Any = stack.metrics.registry(MONITORING)
    honest = registry.collect

    def collect() -> Iterator[Any]:
        for family in honest():
            if family.name == metric:
                family.name += "_v2"
                family.samples = [one._replace(name=f"{one.name}_v2") for one in family.samples]
            yield family

    registry.collect = collect


def rename_host(stack: Stack) -> None:
    """Rename the machine's memory."""
    rename(stack, "suite_host_memory_bytes")


def rename_process(stack: Stack) -> None:
    """Rename the kernel's memory."""
    rename(stack, "suite_process_resident_bytes")


def close_log(stack: Stack) -> None:
    """Stop listening on the log's port."""
    stack.servers.close("logs")


def close_alerts(stack: Stack) -> None:
    """Stop listening on the port of alerts."""
    stack.servers.close("alerts")


def open_dashboard(stack: Stack) -> None:
    """Let any token open the dashboard."""
    stack.servers.app("dashboard").matches = lambda token: True


def set_default_password(stack: Stack) -> None:
    """Let everybody sign in who tries the password that dashboards come with."""
    logins = stack.servers.app("dashboard").signed_in.__self__
    honest = logins._matches
    logins._matches = lambda token: token == "admin" or honest(token)


def close_dashboard(stack: Stack) -> None:
    """Stop listening on the dashboard's port."""
    stack.servers.close("dashboard")


def lose_dashboards(stack: Stack) -> None:
    """Let there be no dashboard, as where a folder of them was not read."""
    stack.monitor.dashboards = lambda: []


def kill_source(stack: Stack) -> None:
    """Let the history refuse to be read under the dashboard."""
    def chart(*_: Any) -> Any:
        raise StorageError("The history cannot be read; a drill does that.")

    stack.monitor.chart = chart


def bend_chart(stack: Stack, change: Callable[[int, list[Line]], list[Line]]) -> None:
    """Change the lines of each panel."""
    honest = stack.monitor.chart
    stack.monitor.chart = lambda uid, panel, begin, end, step: change(panel, honest(uid, panel, begin, end, step))


def empty_panel(stack: Stack) -> None:
    """Let one panel have a query that finds nothing."""
    bend_chart(stack, lambda panel, lines: [] if panel == 4 else lines)


def no_numbers(stack: Stack) -> None:
    """Let one panel's newest value be none."""
    def spoilt(line: Line) -> Line:
        values = line.values.copy()
        values[-1] = math.nan
        return replace(line, values=values)

    bend_chart(stack, lambda panel, lines: [spoilt(line) for line in lines] if panel == 3 else lines)


def rename_panel(stack: Stack) -> None:
    """Rename what the panel about processors shows."""
    rename(stack, "suite_host_cpu_ratio")


def stop_target(stack: Stack) -> None:
    """Stop listening on the port of retrieval, as if its process had ended."""
    stack.servers.close("rag")


def lose_target(stack: Stack) -> None:
    """Leave retrieval out of what is looked at."""
    scraper = stack.monitor.scraper
    scraper.targets = tuple(one for one in scraper.targets if one.job != "rag")


def add_strange_target(stack: Stack) -> None:
    """Look at something that cannot be there: an exporter of a database that this stack has not."""
    scraper = stack.monitor.scraper
    scraper.targets = (*scraper.targets, replace(scraper.targets[0], job="postgres-exporter"))


def double_target(stack: Stack) -> None:
    """Look at retrieval twice."""
    scraper = stack.monitor.scraper
    scraper.targets = (*scraper.targets, *(one for one in scraper.targets if one.job == "rag"))


def flap_target(stack: Stack) -> None:
    """Let retrieval fail to answer every second look."""
    scraper, calls = stack.monitor.scraper, [0]
    honest = scraper._ask

    def ask(target: Any, began: float) -> Any:
        if target.job == "rag":
            calls[0] += 1
        return ([], "it flaps") if target.job == "rag" and calls[0] % 2 else honest(target, began)

    scraper._ask = ask


def stall_writer(stack: Stack) -> None:
    """Let the log take lines and write none."""
    stack.log._sink._file.append = lambda line: None


def silence_service(stack: Stack) -> None:
    """Lose the lines of one service."""
    stack.log._sink.addFilter(lambda record: getattr(record, "service", "") != "rag")


def double_lines(stack: Stack) -> None:
    """Write each line twice, as two readers of one file do."""
    honest = stack.log._sink.emit

    def emit(record: logging.LogRecord) -> None:
        honest(record)
        honest(record)

    stack.log._sink.emit = emit


def blind_reader(stack: Stack) -> None:
    """Let the log be written, and nothing be found in it."""
    stack.log.reader.raw = lambda query, oldest=False: []


def break_rule(stack: Stack) -> None:
    """Let one rule be impossible to evaluate."""
    samples = stack.monitor.watch._samples
    honest = samples.select

    def select(metric: str, *rest: Any) -> Any:
        if metric == "suite_host_cpu_ratio":
            raise StorageError("This metric cannot be read; a drill does that.")
        return honest(metric, *rest)

    samples.select = select


def lose_rules(stack: Stack) -> None:
    """Forget the first ten rules, as a file that was cut off does."""
    alerts = stack.monitor.watch._alerts
    alerts.rules = alerts.rules[10:]


def kill_sink(stack: Stack) -> None:
    """Tell a webhook at which nobody listens as well."""
    from suite.monitoring.deliver import Outlet
    from suite.monitoring.sink import WebhookSink

    dead = WebhookSink("http://127.0.0.1:9/")  # the port that discards; nobody listens there
    stack.monitor.watch._deliver._outlets.append((dead.severities, Outlet(dead.name, dead.send, pause=0.1)))


def mute_alerts(stack: Stack) -> None:
    """Look at the rules and tell nobody."""
    stack.monitor.watch.telling = False


def keep_firing(stack: Stack) -> None:
    """Let what is over fire on."""
    stack.monitor.watch.rehearsals.end = lambda marker: None


ENDED_THREAD = Fault("the thread that watches ended", end_thread)
STALLED_EVALUATION = Fault("targets were looked at, and the rules no more", stall_evaluation)
STALLED_RULES = Fault("the rules were looked at without any sample", stall_rules)
RENAMED_HOST = Fault("the machine's memory was measured under another name", rename_host)
RENAMED_PROCESS = Fault("the kernel's memory was measured under another name", rename_process)
CLOSED_LOG = Fault("the log's port was closed", close_log)
CLOSED_ALERTS = Fault("the port of alerts was closed", close_alerts)
OPEN_DASHBOARD = Fault("any token opened the dashboard", open_dashboard)
DEFAULT_PASSWORD = Fault("the password admin opened the dashboard", set_default_password)
CLOSED_DASHBOARD = Fault("the dashboard's port was closed", close_dashboard)
LOST_DASHBOARDS = Fault("the dashboard listed nothing", lose_dashboards)
DEAD_SOURCE = Fault("the dashboard's source could not be read", kill_source)
EMPTY_PANEL = Fault("a panel's query found nothing", empty_panel)
NO_NUMBERS = Fault("a panel's newest value was no number", no_numbers)
RENAMED_PANEL = Fault("what a panel shows was measured under another name", rename_panel)
STOPPED_TARGET = Fault("the port of retrieval was closed", stop_target)
LOST_TARGET = Fault("retrieval was no target any more", lose_target)
STRANGE_TARGET = Fault("a target was added that cannot exist", add_strange_target)
DOUBLED_TARGET = Fault("a target was looked at twice", double_target)
FLAPPING_TARGET = Fault("a target answered every second look", flap_target)
STALLED_WRITER = Fault("the log took lines and wrote none", stall_writer)
SILENT_SERVICE = Fault("the lines of one service were lost", silence_service)
DOUBLED_LINES = Fault("each line was written twice", double_lines)
BLIND_READER = Fault("the log was written and nothing found in it", blind_reader)
BROKEN_RULE = Fault("a rule could not be evaluated", break_rule)
LOST_RULES = Fault("ten rules were lost", lose_rules)
DEAD_SINK = Fault("nobody listened at a webhook", kill_sink)
MUTED_ALERTS = Fault("nobody was told of alerts", mute_alerts)
ENDLESS_ALERT = Fault("an alert went on when it was over", keep_firing)
