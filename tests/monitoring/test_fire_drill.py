"""Fire drills: every alert rule has one, a share of them is done each day, and a rule that cannot fire, or cannot end, or is told to nobody fails it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from suite import bench
from suite.checks import fire_drill
from suite.checks.fault import close_port
from suite.checks.fault_monitoring import rename
from suite.checks.fire import STEP, Fire, MovedClock, Scene, bent, once
from suite.checks.fire_drill import FIRES, Fired, Throwaway, choose_fires, undrilled
from suite.errors import NotFound
from suite.monitoring.rule import Rule

FIXED = ("PartDown/critical", "DiskBytesLow/critical")  # one that is caused, and one that is reported, every day
PLACES = 7  # rules whose turn it is each day beside them
ROWS = {fire.rule: fire for fire in FIRES}
OTHERS = [fire for fire in FIRES if fire.rule not in FIXED]


def share(day: int) -> list[Fire]:
    """The rules whose turn it is beside the fixed ones."""
    return [OTHERS[(day * PLACES + place) % len(OTHERS)] for place in range(PLACES)]


@pytest.fixture
def throwaway(models_dir: Path) -> Throwaway:
    return partial(bench.throwaway, profile="smoke", models_dir=str(models_dir))


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not come is not waited for long."""
    monkeypatch.setattr(fire_drill, "DELIVERED", 1.0)


def altered(throwaway: Throwaway, act: Callable[[Any], None]) -> Throwaway:
    """Stacks to which something is done before the drill begins."""
    @contextmanager
    def made(**settings: Any) -> Iterator[Any]:
        with throwaway(**settings) as (stack, target):
            act(stack)
            yield stack, target

    return made


def with_rule(throwaway: Throwaway, key: str, **changes: Any) -> Throwaway:
    """Stacks with one rule changed."""
    def change(stack: Any) -> None:
        alerts = stack.monitor.watch._alerts
        alerts.rules = tuple(replace(rule, **changes) if rule.key == key else rule for rule in alerts.rules)

    return altered(throwaway, change)


def test_every_rule_has_a_fire_drill_and_every_drill_a_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    assert undrilled() == [] and len(ROWS) == len(FIRES)
    monkeypatch.setattr(fire_drill, "FIRES", (*FIRES[1:], replace(FIRES[0], rule="Unheard/info")))
    assert undrilled() == [FIRES[0].rule, "Unheard/info"]


def test_what_is_caused_and_what_is_reported_is_told_in_data() -> None:
    assert {fire.how for fire in FIRES} == {"caused", "reported"} and len({fire.sentence for fire in FIRES}) == len(FIRES)
    row = Fired(ROWS["GpuHot/warning"], True, "2030-01-01T00:00:00+00:00").to_dict()
    assert {"id", "fault", "red", "at", "how"} <= set(row) and (row["id"], row["how"]) == ("GpuHot/warning", "reported")


def test_within_a_week_every_rule_has_its_turn() -> None:
    assert all({fire.rule for day in range(7) for fire in share(first + day)} | set(FIXED) == set(ROWS) for first in range(1, 360))
    assert all(len({fire.rule for fire in share(day)}) == PLACES for day in range(1, 367))


@pytest.mark.parametrize("key", FIXED)
def test_rules_that_are_drilled_every_day(key: str, throwaway: Throwaway) -> None:
    done = fire_drill.fire_drill(ROWS[key], throwaway)
    assert done.red, done.why
    assert done.why and not {"{", "}"} & set(done.why)


@pytest.mark.parametrize("place", range(PLACES))
def test_rules_of_the_day(place: int, throwaway: Throwaway) -> None:
    fire = share(date.today().timetuple().tm_yday)[place]
    done = fire_drill.fire_drill(fire, throwaway)
    assert done.red, f"{fire.rule}: {done.why}"


@pytest.mark.usefixtures("impatient")
def test_a_rule_whose_limit_is_out_of_reach_is_no_proof(throwaway: Throwaway) -> None:
    done = fire_drill.fire_drill(ROWS["DiskBytesLow/critical"], with_rule(throwaway, "DiskBytesLow/critical", threshold=1e6))
    assert not done.red and done.why.startswith("it was inactive after") and "0 of 1 notifications arrived" in done.why


@pytest.mark.usefixtures("impatient")
def test_a_metric_that_was_renamed_is_no_proof(throwaway: Throwaway) -> None:
    done = fire_drill.fire_drill(ROWS["DiskBytesLow/critical"], altered(throwaway, lambda stack: rename(stack, "suite_host_disk_bytes")))
    assert not done.red and done.why.startswith("it was inactive after")


@pytest.mark.usefixtures("impatient")
def test_a_receiver_that_gets_nothing_is_no_proof(throwaway: Throwaway) -> None:
    done = fire_drill.fire_drill(ROWS["DiskBytesLow/critical"], lambda alert_webhook_url, **settings: throwaway(**settings))
    assert not done.red and done.why.startswith("it was firing after") and "0 of 1 notifications arrived" in done.why


@pytest.mark.usefixtures("impatient")
def test_an_alert_that_goes_on_is_no_proof(throwaway: Throwaway) -> None:
    endless = replace(ROWS["PartNotReady/warning"], cause=once(lambda scene: scene.stack.parts["inference-code"].unload()))
    done = fire_drill.fire_drill(endless, throwaway)
    assert not done.red and "nobody was told that it is over" in done.why


@pytest.mark.usefixtures("impatient")
def test_an_end_that_is_told_to_nobody_is_no_proof(throwaway: Throwaway) -> None:
    @contextmanager
    def muted_then(scene: Scene) -> Iterator[None]:
        with ROWS["AlertRehearsal/warning"].cause(scene):
            yield
        scene.stack.monitor.watch._deliver.close()

    done = fire_drill.fire_drill(replace(ROWS["AlertRehearsal/warning"], cause=muted_then), throwaway)
    assert not done.red and "nobody was told that it is over" in done.why


@pytest.mark.usefixtures("impatient")
def test_a_watchdog_that_goes_on_to_arrive_is_no_proof(throwaway: Throwaway) -> None:
    done = fire_drill.fire_drill(replace(ROWS["Watchdog/none"], cause=once(lambda scene: None)), throwaway)
    assert not done.red and "went on to arrive" in done.why


def test_a_critical_alert_that_the_cause_does_not_explain_is_no_proof_and_one_that_is_listed_is_none_the_less(throwaway: Throwaway) -> None:
    def act(scene: Scene) -> None:
        close_port(scene.stack)
        scene.call("POST", "alerts", "/v1/rehearsals", json={"marker": "drill", "port": 0})
        scene.until(lambda: "PartDown/critical" in scene.burning, 300)

    fire = replace(ROWS["AlertRehearsal/warning"], cause=once(act))
    done = fire_drill.fire_drill(fire, throwaway)
    assert not done.red and done.why == "PartDown/critical fired as well, which the cause does not explain"
    listed = fire_drill.fire_drill(replace(fire, beside=frozenset({"PartDown/critical"})), throwaway)
    assert "explain" not in listed.why and "PartDown/critical" in listed.beside


def test_a_rule_that_fires_where_nothing_is_wrong_is_no_proof(throwaway: Throwaway) -> None:
    done = fire_drill.fire_drill(ROWS["DiskBytesLow/critical"], with_rule(throwaway, "DiskBytesLow/critical", threshold=1e18, hold=0.0))
    assert not done.red and done.why == "it fires on a stack to which nothing was done"


def test_a_sentence_that_is_not_filled_in_is_no_proof(throwaway: Throwaway) -> None:
    done = fire_drill.fire_drill(ROWS["AlertRehearsal/warning"], with_rule(throwaway, "AlertRehearsal/warning", sentence="Rehearsal {marker} of {nobody}."))
    assert not done.red and "it has no nobody" in done.why


@pytest.mark.parametrize("said", ["", "{part} is down.", "It took nan; look.", "NaN% failed.", "+Inf of it."])
def test_words_that_say_nothing_are_found(said: str) -> None:
    alert = {"labels": {"alertname": "R", "severity": "info"}, "status": "firing", "annotations": {"summary": said}}
    scene: Any = SimpleNamespace(listener=SimpleNamespace(came=[{"alerts": [alert]}]))
    with pytest.raises(fire_drill.Failed, match="not filled in"):
        fire_drill._sentence(scene, Rule("R", "", "info"))


def test_a_stack_that_cannot_be_started_is_no_proof_and_no_crash() -> None:
    def broken(**settings: Any) -> Any:
        raise OSError("no room")

    done = fire_drill.fire_drill(FIRES[0], broken)
    assert not done.red and done.why == "OSError: no room"


def test_rules_are_chosen_by_name_with_or_without_severity() -> None:
    assert choose_fires([]) == list(FIRES)
    assert {fire.rule for fire in choose_fires(["partdown", "HostMemoryLow", "RequestErrors/critical"])} == {
        "PartDown/critical", "HostMemoryLow/warning", "HostMemoryLow/critical", "RequestErrors/critical"}
    with pytest.raises(NotFound, match="PartUp"):
        choose_fires(["PartUp"])


def test_the_clock_of_a_drill_goes_on_and_can_be_moved() -> None:
    clock, before = MovedClock(), time.time()
    clock.forward(3600)
    assert 3600 <= clock() - before < 3600 + STEP


def test_what_was_bent_is_as_before_whatever_happens() -> None:
    class Thing:
        own = 1

        def __init__(self) -> None:
            self.mine = 2

    thing = Thing()
    with pytest.raises(ValueError, match="x"), bent(thing, "mine", 3), bent(thing, "own", 4):
        assert (thing.mine, thing.own) == (3, 4)
        raise ValueError("x")
    assert vars(thing) == {"mine": 2} and thing.own == 1
