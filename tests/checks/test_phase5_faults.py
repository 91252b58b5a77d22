"""Each fault of P5.1, P5.2, P5.3, P5.5 and P5.6 turns its check red on a real stack, by the condition that is about it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from fake_stack import FakeStack

from suite.bench import throwaway
from suite.checks import fault, fault_embedding, fault_knowledge, fault_speed
from suite.checks.check import perform
from suite.checks.criteria import examine, load
from suite.checks.fault import Fault
from suite.runbooks.catalog import RUNBOOKS
from suite.settings import package_file

LIMITS = load()
EIGHT = {check.id: check for check in RUNBOOKS["phase5_validation"]}
NEW = ("P5.1", "P5.2", "P5.3", "P5.5", "P5.6")
BREAKS = {
    "P5.1": {fault.LOST_WRITES: "points_different", fault_knowledge.SHIFTED_CHUNKS: "payload_wrong", fault_knowledge.LOST_CHUNKS: "characters_lost",
             fault_knowledge.WRITTEN_OVER: "notes_wrong", fault_knowledge.FORGOTTEN_INDEX: "again_written",
             fault_knowledge.FROZEN_INDEX: "change_wrong", fault_knowledge.WORST_FIRST: "not_found", fault.IGNORED_DELETES: "removed_left",
             fault_knowledge.KEPT_COLLECTIONS: "left_behind"},
    "P5.2": {fault_knowledge.WORST_FIRST: "hit@5_ko", fault.DAMAGED_PASSAGES: "cited", fault_knowledge.ANSWERED_ALL: "far_refused",
             fault_knowledge.NEVER_ANSWERED: "answered", fault_knowledge.LATE_ANSWER: "cold_slowest", fault_knowledge.KEPT_NOTHING: "not_cached",
             fault_knowledge.SLOW_CACHE: "cached_slowest"},
    "P5.3": {fault.BLURRED_VECTORS: "wrong_order_en", fault.SHORT_VECTORS: "dimension", fault.LONG_VECTORS: "norm_error",
             fault.WAVERING_VECTORS: "repeat_distance", fault_embedding.CUT_LISTS: "cut_in_silence", fault_embedding.CUT_TEXTS: "cut_in_silence",
             fault_embedding.SMALL_LISTS: "missing_at_limit", fault_embedding.CLAIMED_KOREAN: "wrong_order_ko",
             fault_embedding.UNSTATED: "languages"},
    "P5.5": {fault_speed.LATE_REPLY: "p95_high", fault_speed.EMPTY_REPLIES: "silent", fault.MUTE_MODELS: "failed", fault.DEAD_UPSTREAM: "by_stand_in",
             fault_speed.BLUNT_BUCKETS: "buckets_beyond", fault_speed.UNCOUNTED: "not_counted"},
    "P5.6": {fault_speed.UNUSED_CARD: "least_of_plan", fault_speed.FULL_CARD: "card_used", fault_speed.FULL_MEMORY: "memory_used",
             fault_speed.SHRUNK_MODELS: "least_of_plan", fault.MUTE_MODELS: "models_missing", fault_speed.UNTOLD_MEMORY: "unmeasured"},
}
SLOW = {"P5.2": 2}  # of these, so many faults are tried each day; `suite drill` tries all


def todays(identity: str) -> list[Fault]:
    """The faults whose turn it is."""
    faults = [EIGHT[identity].fault, *EIGHT[identity].others]
    count, day = SLOW.get(identity, len(faults)), date.today().timetuple().tm_yday
    return [faults[(day * count + place) % len(faults)] for place in range(count)]


@pytest.fixture(scope="module")
def running(models_dir: Path) -> Iterator[Any]:
    with throwaway(profile="smoke", models_dir=str(models_dir)) as (stack, target):
        yield stack, target


@contextmanager
def mended(stack: Any) -> Iterator[None]:
    """Whatever is changed on the parts is undone, and the models are loaded again."""
    rag, gateway = stack.parts["rag"], stack.parts["api-gateway"]
    things = [*stack.parts.values(), rag._index, rag._answers, rag._preparation, stack.metrics,
              *(stack.metrics.registry(job) for job in ("api-gateway", "monitoring"))]
    kept, alias = [(thing, dict(vars(thing))) for thing in things], stack.settings.api_gateway_code_model
    upstream = gateway.first(alias)
    try:
        yield
    finally:
        for thing, values in kept:
            for name in vars(thing).keys() - values.keys():
                delattr(thing, name)
            for name in ("embed", "settings", "stream", "query", "upsert", "delete", "model", "collect", "observe"):
                if name in values and vars(thing).get(name) is not values[name]:
                    setattr(thing, name, values[name])
        gateway.assign(alias, [upstream])
        for name in ("inference-chat", "inference-code"):
            stack.parts[name].unload()
            stack.parts[name].load()


@pytest.mark.parametrize("identity", NEW)
def test_a_healthy_stack_passes_and_keeps_nothing_of_it(running: Any, identity: str) -> None:
    stack, target = running
    before = stack.knowledge.collections(), [info.name for info in stack.store.collections()], list(Path(target.folder).glob("suite-check-*"))
    result = perform(EIGHT[identity], target, LIMITS[identity])
    assert result.state == "pass", result
    assert examine(result.to_dict(), LIMITS) == ("pass", [])
    after = stack.knowledge.collections(), [info.name for info in stack.store.collections()], list(Path(target.folder).glob("suite-check-*"))
    assert after == before


@pytest.mark.parametrize("identity", NEW)
def test_every_fault_turns_its_check_red_by_its_own_condition(running: Any, identity: str) -> None:
    stack, target = running
    for each in todays(identity):
        with mended(stack):
            each.inject(stack)
            result = perform(EIGHT[identity], target, LIMITS[identity])
        assert result.state == "fail", (each.sentence, result)
        broken = [item["name"] for item in result.conditions if item["met"] is False]
        assert BREAKS[identity][each] in broken, (each.sentence, broken, result)
    assert perform(EIGHT[identity], target, LIMITS[identity]).state == "pass"


@pytest.mark.parametrize("identity", NEW)
def test_each_fault_is_named_with_its_condition(identity: str) -> None:
    faults = [EIGHT[identity].fault, *EIGHT[identity].others]
    assert set(BREAKS[identity]) == set(faults) and len({each.sentence for each in faults}) == len(faults)
    assert set(BREAKS[identity].values()) <= {condition.name for condition in LIMITS[identity].conditions}


@pytest.mark.parametrize("identity", ["P5.1", "P5.2", "P5.6"])
def test_a_stack_of_another_make_is_not_asked_for_what_it_cannot_tell(identity: str) -> None:
    target = FakeStack(foreign=True).target()
    result = perform(EIGHT[identity], target, LIMITS[identity])
    target.close()
    assert result.state == "not-applicable" and examine(result.to_dict(), LIMITS) == ("not-applicable", [])


def test_a_stack_of_another_make_is_timed_and_its_histogram_not_demanded() -> None:
    target = FakeStack(foreign=True).target()
    result = perform(EIGHT["P5.5"], target, LIMITS["P5.5"])
    target.close()
    assert result.state == "pass", result
    assert [item["name"] for item in result.conditions if item["met"] is None] == ["not_counted", "buckets_within", "buckets_beyond"]


def test_a_stack_of_ours_without_its_histogram_is_red() -> None:
    target = FakeStack().target()
    result = perform(EIGHT["P5.5"], target, LIMITS["P5.5"])
    target.close()
    assert {"not_counted", "buckets_within", "buckets_beyond"} == {item["name"] for item in result.conditions if item["met"] is False}


def test_there_are_eight_in_the_categories_of_the_score() -> None:
    assert list(EIGHT) == [f"P5.{number}" for number in range(1, 9)]
    assert [check.category for check in EIGHT.values()] == ["function"] * 4 + ["performance"] * 2 + ["recoverability"] * 2


def test_the_runbook_runs_as_plain_papermill_and_shows_the_waits(models_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for key, value in {"DATA_DIR": str(tmp_path / "data"), "MODELS_DIR": str(models_dir), "SUITE_PORT_BASE": "auto"}.items():
        monkeypatch.setenv(key, value)
    out = tmp_path / "out.ipynb"
    done = subprocess.run([sys.executable, "-m", "papermill", str(package_file("runbooks/phase5_validation.ipynb")), str(out), "--no-progress-bar"],
                          capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    cells = json.loads(out.read_text(encoding="utf-8"))["cells"]
    outputs = [output.get("data", {}) for cell in cells for output in cell.get("outputs", [])]
    text = "\n".join("".join(data.get("text/plain", "")) for data in outputs)
    assert all(f"{identity} pass" in text for identity in EIGHT) and "phase5_validation: PASS, 8 pass of 8" in text
    assert all(words in text for words in ("P5.2   cold", "P5.2   cached", "P5.5   POST /v1/chat/completions", "RPO, s"))
    assert any("<svg" in "".join(data.get("text/html", "")) and "Waiting" in "".join(data["text/html"]) for data in outputs)
