"""Drills: a check counts as proven only when it passed on the healthy stack and failed on the broken one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_stack import FakeStack, change, status

from suite.checks.criteria import load
from suite.checks.drill import Drill, choose, drill, drills, proven, record
from suite.checks.fault import Fault
from suite.checks.phase2 import CHECKS
from suite.checks.target import Target
from suite.errors import NotFound

LIMITS = load()
EMBEDDING = next(check for check in CHECKS if check.id == "P2.5")


def with_fault(inject: Any) -> Any:
    return replace(EMBEDDING, fault=Fault("a test", inject), others=())


@contextmanager
def throwaway() -> Iterator[tuple[Any, Target]]:
    stack = FakeStack()
    target = stack.target()
    yield stack, target
    target.close()


def test_a_fault_that_the_check_sees_proves_it() -> None:
    done = drill(with_fault(lambda stack: stack.bend("embedding POST /embed", change(dim=1))), throwaway, LIMITS)
    assert done.red and "stated_dimension" in done.why
    assert set(done.to_dict()) == {"id", "fault", "red", "at", "code", "on"}


def test_a_fault_that_the_check_does_not_see_is_no_proof() -> None:
    done = drill(with_fault(lambda stack: None), throwaway, LIMITS)
    assert not done.red and "still says pass" in done.why


def test_a_check_with_several_faults_is_proven_only_by_all_of_them() -> None:
    def one(stack: Any) -> None:
        stack.bend("embedding POST /embed", change(dim=1))

    def other(stack: Any) -> None:
        stack.bend("embedding GET /health", status(503))

    both = replace(with_fault(one), others=(Fault("another", other),))
    done = drill(both, throwaway, LIMITS)
    assert done.red and done.fault == "a test; another" and "stated_dimension" in done.why and "ready" in done.why
    blind = replace(with_fault(one), others=(Fault("another", other), Fault("nothing at all", lambda _: None)))
    done = drill(blind, throwaway, LIMITS)
    assert (done.red, done.fault) == (False, "nothing at all") and "still says pass" in done.why


def test_a_check_that_is_red_on_a_healthy_stack_is_no_proof() -> None:
    @contextmanager
    def sick() -> Iterator[tuple[Any, Target]]:
        target = FakeStack().bend("embedding GET /health", status(503)).target()
        yield None, target
        target.close()

    assert not drill(with_fault(lambda stack: None), sick, LIMITS).red


def test_a_stack_that_cannot_be_started_or_broken_is_no_proof_and_no_crash() -> None:
    def fail(_: Any) -> None:
        raise OSError("no such seam")

    done = drill(with_fault(fail), throwaway, LIMITS)
    assert not done.red and "no such seam" in done.why


def test_the_record_of_drills_keeps_the_last_of_each_and_only_red_ones_are_proven(tmp_path: Path) -> None:
    rows = drills([with_fault(lambda stack: stack.bend("embedding GET /health", status(503)))], throwaway, LIMITS, tmp_path)
    assert proven(tmp_path) == {"P2.5": rows[0].at}
    record(tmp_path, Drill("P2.5", "a test", False, "2030-01-01T00:00:00+00:00"))
    assert proven(tmp_path) == {}
    assert [path.name for path in tmp_path.glob("*drills*")] == ["drills.json"]
    assert json.loads((tmp_path / "drills.json").read_text())["P2.5"]["red"] is False


@pytest.mark.parametrize("text", ["", "[]", "{", '{"P2.5": 1}', '{"P2.5": {"red": "yes", "at": "x"}}'])
def test_a_damaged_record_proves_nothing(text: str, tmp_path: Path) -> None:
    (tmp_path / "drills.json").write_text(text)
    assert proven(tmp_path) == {}


def test_a_phase_a_check_or_nothing_chooses_checks_and_another_name_is_refused() -> None:
    assert len(choose(["P2"], CHECKS)) == len(choose([], CHECKS)) == 9
    assert [check.id for check in choose(["P2.3", "p2.1"], CHECKS)] == ["P2.1", "P2.3"]
    with pytest.raises(NotFound, match=r"P2\.10"):
        choose(["P2.10"], CHECKS)


def test_every_check_has_its_own_fault_with_a_sentence() -> None:
    faults = list(dict.fromkeys(fault for check in CHECKS for fault in (check.fault, *check.others)))  # one may turn two checks red
    assert len({fault.sentence for fault in faults}) == len({fault.inject for fault in faults}) == len(faults)
    assert len({check.fault for check in CHECKS}) == len(CHECKS) == 9
