"""The same histories through the rules of a real Prometheus and through ours: `python tests/replayed_rules.py N SEED` for a large round.

Two comparisons. The server gets every history in turn and is asked each rule's expression at each step; ours must hold for the same label sets with the
same values. promtool runs the rule file itself, with `for`, and must have the same pending and firing alerts at each step, and the same sentences.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import prometheus_stage as stage
from rule_histories import GROUP, LIMITS, PROBES, SCRAPE, SCRAPES, SERIES, STEP, History, history, theme

from suite.monitoring.alert import FIRING
from suite.monitoring.alerts import Alerts
from suite.monitoring.evaluate import evaluate
from suite.monitoring.load_rules import load_rules
from suite.monitoring.promql import FILE, expression, rule_file
from suite.monitoring.rule import Rule
from suite.monitoring.window import Semantics

BEGIN = 1_700_000_040  # a full minute
LENGTH = SCRAPE * SCRAPES
PERIOD = 4800  # seconds from one history's begin to the next: no window reaches back into the one before
STEPS = range(0, LENGTH + 1, STEP)
WORKERS = 2


@dataclass
class Round:
    """What a replay compared: expressions and alerts at steps, how many of them were true, and where the two differ."""

    histories: int
    seed: int
    seconds: float = 0.0
    compared: int = 0
    held: int = 0
    fired: int = 0
    exact: int = 0
    rules: set[str] = field(default_factory=set)  # those that held somewhere
    different: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return (f"{self.histories} histories (seed {self.seed}): {self.compared} expressions at steps, {self.held} label sets held, {self.exact} of them "
                f"equal to the last bit, {self.fired} firing alerts at steps; {len(self.different)} differences; {self.seconds:.1f} s")


def replay(histories: int, seed: int, folder: Path) -> Round:
    """Both comparisons of that many histories."""
    began, done = time.monotonic(), Round(histories, seed)
    rules = (*load_rules(), *PROBES)
    numbers = [range(first, min(first + GROUP, histories)) for first in range(0, histories, GROUP)]
    with stage.running(folder / "server") as server, ProcessPoolExecutor(WORKERS, mp_context=get_context("spawn")) as pool:
        server.write([({**labels, "__name__": metric}, _ms([-86_400]), [0.0]) for metric, labels in _all_series()])
        for group in numbers:
            for number in group:
                server.write(list(_written(history(rules, seed, number))))
        ours = pool.map(_ours, [(seed, group, stage.semantics()) for group in numbers])
        tested = pool.map(_promtool, [(seed, group, folder / f"promtool{group.start}") for group in numbers])
        for group, expected in zip(numbers, ours, strict=True):
            _compare(server, rules, group, expected, done)
        for found, fired in tested:
            done.different += found
            done.fired += fired
    done.seconds = time.monotonic() - began
    return done


def _all_series() -> Iterator[tuple[str, dict[str, str]]]:
    """Every series there may be, sorted: the server adds them up in the order in which it first saw them."""
    found = []
    for metric, rows in SERIES.items():
        for labels in rows:
            if metric in LIMITS:
                found += [(f"{metric}_bucket", {**labels, "le": name}) for name in (*(str(float(limit)) for limit in LIMITS[metric]), "+Inf")]
            found.append((f"{metric}_count" if metric in LIMITS else metric, labels))
    return iter(sorted(found, key=lambda one: (one[0], sorted(one[1].items()))))


def _ms(seconds: Sequence[float]) -> Any:
    import numpy as np

    return np.array([round((BEGIN + second) * 1000) for second in seconds], dtype=np.int64)


def _begin(number: int) -> int:
    return BEGIN + number * PERIOD


def _written(made: History) -> Iterator[tuple[dict[str, str], Any, Any]]:
    store = made.samples(_begin(made.number), late=True)
    for metric, rows in store.series.items():
        for labels, times, values in rows:
            if len(times):
                yield {**labels, "__name__": metric}, (times * 1000).round().astype("int64"), values


def _ours(task: tuple[int, range, Semantics]) -> dict[tuple[str, int], dict[tuple[tuple[str, str], ...], float]]:
    """What our evaluator says: per rule and moment, the label sets that hold; nothing where none does."""
    seed, group, semantics = task
    rules, held = (*load_rules(), *PROBES), {}
    for number in group:
        store = history(rules, seed, number).samples(_begin(number), late=True)
        for rule in rules:
            for step in STEPS:
                moment = _begin(number) + step
                found = evaluate(rule, store, moment, semantics)
                if found:
                    held[rule.key, moment] = {tuple(sorted(one.labels.items())): one.value for one in found}
    return held


def _compare(server: stage.Server, rules: Sequence[Rule], group: range, ours: dict[Any, dict[Any, float]], done: Round) -> None:
    moments = {_begin(number) + step: number for number in group for step in STEPS}
    for rule in rules:
        theirs: dict[int, dict[Any, float]] = {moment: {} for moment in moments}
        for row in server.range(expression(rule), _begin(group.start), _begin(group.stop - 1) + LENGTH, STEP):
            labels = tuple(sorted((name, value) for name, value in row["metric"].items() if name != "__name__"))
            for moment, value in row["values"]:
                if moment in theirs:
                    theirs[moment][labels] = float(value)
        for moment, number in moments.items():
            mine, real = ours.get((rule.key, moment), {}), theirs[moment]
            done.compared += 1
            done.held += len(real)
            done.exact += sum(repr(value) == repr(real.get(labels)) for labels, value in mine.items())
            if real:
                done.rules.add(rule.key)
            if mine.keys() != real.keys() or any(not _same(value, real[labels]) for labels, value in mine.items()):
                done.different.append(f"seed {done.seed}, history {number}, {rule.key} at {moment - _begin(number)} s: ours {mine}, Prometheus {real}")


def _same(one: float, other: float) -> bool:
    return one == other or (one != one and other != other) or abs(one - other) <= 1e-9 * abs(other)


def _promtool(task: tuple[int, range, Path]) -> tuple[list[str], int]:
    """The differences that promtool finds in a group of histories, and how many alerts at steps were expected to fire."""
    seed, group, folder = task
    folder.mkdir(parents=True)
    rules, fired, tests = (*load_rules(), *PROBES), 0, []
    themed = theme(rules, seed, group.start)
    (folder / FILE).write_text(rule_file(themed), encoding="utf-8")
    for number in group:
        test, count = _rule_test(themed, history(rules, seed, number).untied())
        tests.append(test | {"name": f"seed {seed}, history {number}"})
        fired += count
    file = folder / "tests.yml"
    file.write_text(json.dumps({"rule_files": [FILE], "evaluation_interval": f"{STEP}s", "tests": tests}), encoding="utf-8")  # JSON is YAML
    ran = stage.rule_tests(file)
    return ([] if ran.returncode == 0 else [f"seed {seed}, histories {group.start} to {group.stop - 1}: {(ran.stdout + ran.stderr)[:4000]}"]), fired


def _rule_test(rules: Sequence[Rule], made: History) -> tuple[dict[str, Any], int]:
    store, alerts = made.samples(0.0, late=False), Alerts(rules, stage.semantics())
    samples, sentences, told, fired = [], [], set(), 0
    for step in STEPS:
        alerts.evaluate(store, float(step))
        active = alerts.active()
        fired += sum(alert.state == FIRING for alert in active)
        samples.append({"expr": "ALERTS", "eval_time": f"{step}s",
                        "exp_samples": [{"labels": _labels({"__name__": "ALERTS", "alertstate": alert.state, **alert.labels}), "value": 1}
                                        for alert in active]})
        for name in {alert.name for alert in active if alert.state == FIRING} - told:  # the sentences of the first step at which a rule's alerts fire
            told.add(name)
            sentences.append({"alertname": name, "eval_time": f"{step}s", "exp_alerts": [
                {"exp_labels": {label: value for label, value in alert.labels.items() if label != "alertname"}, "exp_annotations": {"summary": alert.summary}}
                for alert in active if alert.state == FIRING and alert.name == name]})
    series = [{"series": _labels({**dict(labels), "__name__": metric}), "values": _notation(metric, dict(labels), made)}
              for metric, labels in sorted(made.series)]
    return {"interval": f"{SCRAPE}s", "input_series": series, "alert_rule_test": sentences, "promql_expr_test": samples}, fired


def _labels(labels: Any) -> str:
    rows = dict(labels)
    metric = rows.pop("__name__")
    return f"{metric}{{{', '.join(f'{name}={json.dumps(value)}' for name, value in sorted(rows.items()))}}}"


def _notation(metric: str, labels: dict[str, str], made: History) -> str:
    values = made.series[metric, tuple(sorted(labels.items()))]
    return " ".join("_" if value is None else "stale" if value != value else f"{value:.17g}" for value in values)


if __name__ == "__main__":
    if not stage.installed():
        sys.exit(stage.MISSING)
    with tempfile.TemporaryDirectory() as place:
        result = replay(int(sys.argv[1]), int(sys.argv[2]), Path(place))
    print(result)
    print("\n".join(result.different[:20]))
    sys.exit(1 if result.different else 0)
