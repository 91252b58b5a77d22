"""The failover check: its numbers from made-up requests, its faults on real stacks whose model server is killed, and its runbook."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from fake_stack import FakeStack

from suite.bench import throwaway
from suite.checks import fault_failover, phase2_failover
from suite.checks.check import Observation, perform
from suite.checks.criteria import load
from suite.checks.drill import drill
from suite.checks.steady import FAILED, OWN, STAND_IN, Asked, Steady
from suite.runbooks.catalog import STRESSED, stressing
from suite.settings import package_file

LIMITS = load()
[CHECK] = phase2_failover.FAILOVER
QUICK = {"callers": 2, "rate": 20.0, "before_s": 1.0, "after_s": 0.2, "patience_s": 20.0}


def asked(*outcomes: str, at: float = 0.0, every: float = 0.1) -> list[Asked]:
    return [Asked(at + every * place, at + every * place + 0.05, outcome) for place, outcome in enumerate(outcomes)]


def judged(rows: list[Asked], killed: float) -> dict[str, Any]:
    seen = Observation()
    phase2_failover._judge(seen, rows, killed)
    return seen.values | {"timeline": next(item for item in seen.evidence if item["name"] == "timeline")}


def test_it_is_whole_when_five_in_a_row_are_its_own_again() -> None:
    rows = [*asked(*[OWN] * 10), *asked(STAND_IN, OWN, OWN, STAND_IN, *[OWN] * 5, at=1.0)]
    found = judged(rows, 0.99)
    assert (found["until_served"], found["until_whole"]) == (0.06, 0.46)
    assert (found["own_before"], found["failed_before"], found["failed"]) == (10, 0, 0)


def test_what_failed_is_counted_before_and_after_and_never_whole_is_none() -> None:
    found = judged([*asked(OWN, FAILED), *asked(FAILED, STAND_IN, OWN, OWN, OWN, OWN, at=1.0)], 0.99)
    assert (found["failed_before"], found["failed"], found["until_whole"], found["until_served"]) == (1, 1, None, 0.16)
    assert found["timeline"]["whole_s"] is None


def test_waits_are_told_before_the_kill_until_it_is_whole_and_after() -> None:
    rows = [*asked(*[OWN] * 4), Asked(0.95, 1.2, FAILED), Asked(1.2, 3.2, STAND_IN), Asked(3.0, 3.4, FAILED), *asked(*[OWN] * 6, at=3.5)]
    seen = Observation()
    phase2_failover._judge(seen, rows, 1.0)
    waits = next(item for item in seen.evidence if item["name"] == "waits")
    assert [waits[part]["n"] for part in ("before", "meanwhile", "after")] == [4, 1, 6] and waits["meanwhile"]["p95"] == 2.0
    assert waits["before"]["p95"] == pytest.approx(0.05) and (waits["first_failure_s"], waits["last_failure_s"]) == (0.2, 2.4)


def test_a_reply_to_what_was_asked_before_the_kill_does_not_count_as_served() -> None:
    assert judged([Asked(0.0, 1.5, OWN), Asked(1.2, 4.0, STAND_IN)], 1.0)["until_served"] == 3.0


def test_the_timeline_has_a_step_for_each_half_second_even_where_nothing_ended() -> None:
    rows = judged([Asked(0.0, 0.2, OWN), Asked(0.0, 3.2, STAND_IN)], 1.0)["timeline"]["rows"]
    assert [row["at_s"] for row in rows] == [-1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0]
    assert [row[OWN] + row[STAND_IN] for row in rows] == [1, 0, 0, 0, 0, 0, 1]


def test_a_steady_load_asks_on_whatever_it_gets_and_ends_when_told() -> None:
    def ask(turn: int) -> tuple[str, str]:
        if turn % 3 == 0:
            raise ValueError("no")
        return OWN, ""

    before = threading.active_count()
    steady = Steady(ask, 3, 200.0)
    assert steady.wait_for(lambda rows: len(rows) >= 12, 60)
    rows = steady.stop()
    assert threading.active_count() == before
    assert {row.outcome for row in rows} == {OWN, FAILED} and "ValueError: no" in {row.why for row in rows}
    assert len(steady.rows()) == len(rows)


@contextmanager
def stage(models_dir: Path) -> Iterator[Any]:
    with throwaway(profile="smoke", models_dir=str(models_dir), **STRESSED) as (stack, target):
        target.load = QUICK
        yield stack, target


def test_a_killed_server_is_stood_in_for_and_comes_back(models_dir: Path) -> None:
    with stage(models_dir) as (_, target):
        result = perform(CHECK, target, LIMITS[CHECK.id])
    assert result.state == "pass", result
    [timeline] = [item for item in result.evidence if item.get("name") == "timeline"]
    assert sum(row[STAND_IN] for row in timeline["rows"]) > 0


@pytest.mark.parametrize(("fault", "conditions"), [(fault_failover.NO_STAND_IN, {"failed"}),
                                                   (fault_failover.IN_KERNEL, {"killed", "until_whole", "own_before"}),
                                                   (fault_failover.STAYS_DOWN, {"until_whole", "restarts", "new_process"})],
                         ids=["no stand-in", "in the kernel", "stays down"])
def test_each_fault_turns_it_red(models_dir: Path, fault: Any, conditions: set[str]) -> None:
    with stage(models_dir) as (stack, target):
        target.load = QUICK | {"patience_s": 3.0}
        fault.inject(stack)
        result = perform(CHECK, target, LIMITS[CHECK.id])
    assert result.state == "fail", result
    assert conditions <= {item["name"] for item in result.conditions if item["met"] is False}, result
    assert {each.sentence for each in (CHECK.fault, *CHECK.others)} >= {fault.sentence}


@pytest.mark.parametrize("pid", [None, 1, 2**22 + 1])
def test_only_a_process_of_the_host_is_killed(pid: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    killed: list[Any] = []
    monkeypatch.setattr(phase2_failover.os, "kill", lambda *given: killed.append(given))
    monkeypatch.setattr(FakeStack, "host", lambda self, honest=FakeStack.host: honest(self) | {"pid": 4_000_000})
    target = FakeStack().bend("inference-chat GET /v1/models", lambda found: (200, {"data": [{"id": "m", "pid": pid, "restarts": 0}]})).target()
    result = perform(CHECK, target, LIMITS[CHECK.id])
    target.close()
    assert result.state == "fail" and not killed and ("SERVING_ISOLATION=process" if pid is None else "none of the host's") in result.why


@pytest.mark.parametrize("load", [{"rates": 3}, {"rate": 0}, {"rate": "many"}, {"callers": True}])
def test_a_load_that_cannot_be_is_refused_with_the_names(load: dict[str, Any]) -> None:
    target = FakeStack().target(load=load)
    result = perform(CHECK, target, LIMITS[CHECK.id])
    target.close()
    assert result.state == "fail" and "callers, rate, before_s" in result.why


def test_it_is_drilled_when_it_is_named_and_only_then(models_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(phase2_failover, "PLAN", QUICK | {"patience_s": 3.0})
    assert stressing(["p2.3-failover", "P2.1"]) == [CHECK] and stressing(["P2"]) == stressing([]) == []
    alone = type(CHECK)(**{**{name: getattr(CHECK, name) for name in CHECK.__dataclass_fields__}, "others": ()})
    done = drill(alone, partial(throwaway, profile="smoke", models_dir=str(models_dir), **STRESSED), LIMITS)
    assert done.red, done.why


def test_the_runbook_runs_as_plain_papermill_and_draws_the_timeline(models_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for key, value in {"DATA_DIR": str(tmp_path / "data"), "MODELS_DIR": str(models_dir), "SUITE_PORT_BASE": "auto"}.items():
        monkeypatch.setenv(key, value)
    out = tmp_path / "out.ipynb"
    done = subprocess.run([sys.executable, "-m", "papermill", str(package_file("runbooks/failover.ipynb")), str(out), "--no-progress-bar",
                           "-y", json.dumps({"load": QUICK})], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    outputs = [output.get("data", {}) for cell in json.loads(out.read_text(encoding="utf-8"))["cells"] for output in cell.get("outputs", [])]
    text, html = ("\n".join("".join(data.get(kind, "")) for data in outputs) for kind in ("text/plain", "text/html"))
    assert "P2.3-failover pass" in text and "failover: PASS, 1 pass of 1" in text and "s since the kill" in text
    assert "whole again" in html and "<svg" in html
