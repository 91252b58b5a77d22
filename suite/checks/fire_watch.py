"""Fire drills of the rules about the log and about monitoring itself."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from suite.checks.fault_monitoring import kill_sink, stall_evaluation
from suite.checks.fire import STEP, Fire, Scene, bent
from suite.checks.trace import marker
from suite.monitoring.log import NAME
from suite.monitoring.log_line import LENT
from suite.monitoring.monitor import Monitor
from suite.monitoring.sink import WebhookSink
from suite.monitoring.watch import Told

LINES = 5


@contextmanager
def no_writer(scene: Scene) -> Iterator[None]:
    """Somebody set the logging up anew and took the log's writer off; then it is back."""
    sink, names = scene.stack.log._sink, (NAME, *LENT)
    for name in names:
        logging.getLogger(name).removeHandler(sink)
    yield
    for name in names:
        logging.getLogger(name).addHandler(sink)


@contextmanager
def no_folder(scene: Scene) -> Iterator[None]:
    """Where the log's folder was lies a file, and lines come."""
    folder: Path = scene.stack.log.file.parent
    aside = folder.rename(folder.with_name("logs-aside"))
    folder.touch()
    scene.round()  # the log looks after its file once a second
    for number in range(LINES):
        logging.getLogger(f"{NAME}.stack").warning("line %d of a drill", number)
    yield
    folder.unlink()
    aside.rename(folder)


@contextmanager
def dead_sink(scene: Scene) -> Iterator[None]:
    """Nobody listens at one of two places that are told."""
    deliver = scene.stack.monitor.watch._deliver
    with bent(deliver, "_outlets", list(deliver._outlets)):
        kill_sink(scene.stack)
        yield


def watch_from_outside(scene: Scene) -> None:
    """Let somebody else look at the stack as well, by the same rules, as a Prometheus beside it does."""
    own, folder = scene.stack.monitor, Path(scene.stack.settings.data_dir) / "cache" / "outside"
    told = Told((WebhookSink(scene.listener.url),))
    scene.watchers.append(Monitor(scene.stack.metrics, own.scraper.targets, folder, own.watch.rules, told, STEP, clock=scene.clock))


@contextmanager
def stalled(scene: Scene) -> Iterator[None]:
    """The stack looks at its targets, and at its rules no more."""
    scraper = scene.stack.monitor.scraper
    with bent(scraper, "_then", scraper._then):
        stall_evaluation(scene.stack)
        yield


@contextmanager
def running(scene: Scene) -> Iterator[None]:
    """The stack runs; then its rules are looked at no more."""
    yield
    stall_evaluation(scene.stack)


@contextmanager
def rehearsed(scene: Scene) -> Iterator[None]:
    """Somebody checks whether alerts arrive."""
    name = marker()
    scene.call("POST", "alerts", "/v1/rehearsals", json={"marker": name, "port": 0})
    yield
    scene.call("DELETE", "alerts", f"/v1/rehearsals/{name}")


FIRES = (
    Fire("LogSilent/warning", "caused", "the log's writer was taken off", no_writer),
    Fire("LogLinesLost/warning", "caused", "a file lay in the place of the log's folder", no_folder),
    Fire("NotificationsFailing/warning", "caused", "nobody listened at a second webhook", dead_sink),
    # a stack whose evaluation stands still cannot say so itself: whoever looks at it from outside does, and its Watchdog stops
    Fire("EvaluationStalled/critical", "caused", "targets were looked at, and the rules no more", stalled, before=watch_from_outside),
    Fire("AlertRehearsal/warning", "caused", "a rehearsal was begun", rehearsed),
    Fire("Watchdog/none", "caused", "nothing was wrong, until the rules were looked at no more", running, ends="stops"),
)
