"""What the proof of a check is worth: it must be red, young, of this very code and these limits, and not made on stand-ins."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from fake_stack import FakeStack, change

from suite.checks import code
from suite.checks.criteria import load
from suite.checks.drill import Grade, drills, grades
from suite.checks.fault import Fault
from suite.checks.phase2 import CHECKS
from suite.checks.target import Target

LIMITS = load()
NOW = datetime(2026, 11, 29, 3, 0, tzinfo=UTC)


def bend_size(stack: Any) -> None:
    stack.bend("embedding POST /embed", change(dim=1))


def bend_parts(stack: Any) -> None:
    stack.bend("api-gateway GET /v1/parts", change(parts=[]))


EMBEDDING = replace(next(check for check in CHECKS if check.id == "P2.5"), fault=Fault("a test", bend_size), others=())


@contextmanager
def throwaway() -> Iterator[tuple[Any, Target]]:
    stack = FakeStack()
    target = stack.target()
    yield stack, target
    target.close()


def drilled(reports: Path, check: Any = EMBEDDING, **entry: Any) -> Path:
    """The record of a drill that was really made, with some of it changed."""
    assert [row.red for row in drills([check], throwaway, LIMITS, reports)] == [True]
    kept = json.loads((reports / "drills.json").read_text())
    kept[check.id] |= {"at": (NOW - timedelta(days=1)).isoformat(), **entry}
    (reports / "drills.json").write_text(json.dumps(kept))
    return reports


def graded(reports: Path, check: Any = EMBEDDING, now: datetime = NOW, **more: Any) -> Grade:
    return grades(reports, [check], now, **more)[check.id]


def test_a_drill_of_yesterday_proves_this_code(tmp_path: Path) -> None:
    grade = graded(drilled(tmp_path))
    assert grade == Grade("proven", "", "2026-11-28T03:00:00.000+00:00") and grade.to_dict()["state"] == "proven"
    entry = json.loads((tmp_path / "drills.json").read_text())["P2.5"]
    assert set(entry) == {"check", "fault", "red", "at", "code", "on"} and entry["on"] == ["real"] and len(entry["code"]) == 64


def test_a_check_that_was_never_drilled_is_weak(tmp_path: Path) -> None:
    assert graded(tmp_path / "nothing") == Grade("weak", "it was never drilled", "")


@pytest.mark.parametrize(("days", "state"), [(29.9, "proven"), (30.1, "weak"), (365, "weak")])
def test_a_proof_counts_for_thirty_days(days: float, state: str, tmp_path: Path) -> None:
    grade = graded(drilled(tmp_path, at=(NOW - timedelta(days=days)).isoformat()))
    assert grade.state == state and (state == "proven" or f"proven red {int(days)} days ago" in grade.why)


def test_a_proof_of_a_time_that_has_not_come_is_weak(tmp_path: Path) -> None:
    grade = graded(drilled(tmp_path, at=(NOW + timedelta(minutes=1)).isoformat()))
    assert grade.state == "weak" and "clock was set back" in grade.why


@pytest.mark.parametrize("at", ["", "yesterday", None, 3, "2026-11-28T03:00:00"])
def test_a_proof_without_a_time_is_weak(at: Any, tmp_path: Path) -> None:
    assert graded(drilled(tmp_path, at=at)).why == f"the time of its drill is {at!r}"


def test_a_drill_that_stayed_green_is_weak_and_named(tmp_path: Path) -> None:
    assert "did not turn it red (a test)" in graded(drilled(tmp_path, red=False)).why


@pytest.mark.parametrize(("on", "state"), [
    (["real"], "proven"), (["fake:statvfs", "real"], "proven"), (["adapter:prometheus"], "proven"), (["fake:statvfs"], "weak"),
    (["fake:nvml", "real"], "weak"), ([], "weak"), (None, "weak"),
])
def test_what_was_proven_on_stand_ins_only_or_on_a_made_card_is_weak(on: Any, state: str, tmp_path: Path) -> None:
    grade = graded(drilled(tmp_path, on=on))
    assert grade.state == state and (state == "proven" or "it was proven on " in grade.why)


def test_a_drill_says_what_it_ran_on(tmp_path: Path) -> None:
    two = replace(EMBEDDING, others=(Fault("another", bend=lambda target: target.close(), on="fake:nvml"),))
    row = drills([two], throwaway, LIMITS, tmp_path)[0]
    assert (row.red, row.on) == (True, ("fake:nvml", "real")), row.why
    blind = replace(EMBEDDING, others=(Fault("nothing happens", on="fake:nvml"),))
    row = drills([blind], throwaway, LIMITS, tmp_path)[0]
    assert (row.red, row.fault, row.on) == (False, "nothing happens", ("fake:nvml",))


def test_other_limits_make_a_proof_weak_and_a_waiver_does_not(tmp_path: Path) -> None:
    text = Path(LIMITS.source).read_text(encoding="utf-8")
    head, mark, tail = text.partition('["P2.5"]')
    (tmp_path / "other.toml").write_text(head + mark + tail.replace('limit = 384, unit = "numbers"', 'limit = 383, unit = "numbers"', 1), encoding="utf-8")
    waiver = '\n["P2.5".waiver]\nowner = "somebody"\nexpiry = 2027-01-31\nreason = "a test"\n'
    (tmp_path / "waived.toml").write_text(text + waiver, encoding="utf-8")
    reports = drilled(tmp_path / "reports")
    assert "its code or its limits changed" in graded(reports, criteria=load(tmp_path / "other.toml")).why
    assert graded(reports, criteria=load(tmp_path / "waived.toml")).state == "proven"


def test_the_profile_and_the_parameters_of_a_run_are_no_other_limits(tmp_path: Path) -> None:
    slow = replace(next(check for check in CHECKS if check.id == "P2.1"), fault=Fault("a test", bend_parts), others=())
    reports = drilled(tmp_path / "reports", slow)
    assert graded(reports, slow, criteria=load(parameters={"budget_s": 7.0}).under("gpu-6gb")).state == "proven"
    text = Path(LIMITS.source).read_text(encoding="utf-8")
    own = 'profiles = { cpu = { slowest_part = { limit = 300.0, reason = "a test" } } }\n'
    (tmp_path / "other.toml").write_text(text.replace('["P2.1"]\n', f'["P2.1"]\n{own}'), encoding="utf-8")
    assert "its code or its limits changed" in graded(reports, slow, criteria=load(tmp_path / "other.toml")).why


def test_another_function_or_fault_makes_a_proof_weak(tmp_path: Path) -> None:
    reports = drilled(tmp_path)
    assert graded(reports, replace(EMBEDDING, title="Another title")).state == "proven"
    elsewhere = Fault("of another file", shutil.rmtree)
    assert graded(reports, replace(EMBEDDING, fault=elsewhere)).state == "weak"
    assert graded(reports, replace(EMBEDDING, prepare=shutil.rmtree)).state == "weak"
    assert code.digest(replace(EMBEDDING, fault=Fault("x", partial(bend_size))), LIMITS["P2.5"]) == code.digest(EMBEDDING, LIMITS["P2.5"])


@pytest.mark.parametrize("changed", ["made", "near", "far", "lazy", "act"])
def test_a_change_of_any_module_that_a_check_loads_changes_its_digest(changed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sources = {"made": "from suite_checks_made.near import x\nfrom suite_checks_made import far\ndef look(target, seen):\n    from suite_checks_made import lazy\n",
               "near": "import suite_checks_made.far\nx = 1\n", "far": "y = 1\n", "lazy": "z = 1\n", "act": "def act(stack): ...\n", "stranger": "w = 1\n"}

    def digest(**edited: str) -> str:
        for name, text in {**sources, **edited}.items():
            (tmp_path / "suite_checks_made" / f"{name}.py").write_text(text)
        for name in [name for name in sys.modules if name.startswith("suite_checks_made")]:
            del sys.modules[name]
        code._read.cache_clear()
        made, act = (__import__(f"suite_checks_made.{name}", fromlist=["x"]) for name in ("made", "act"))
        return code.digest(replace(EMBEDDING, function=made.look, fault=Fault("x", act.act)), LIMITS["P2.5"])

    (tmp_path / "suite_checks_made").mkdir()
    (tmp_path / "suite_checks_made" / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setattr(code, "PACKAGE", "suite_checks_made")
    first = digest()
    assert digest(stranger="w = 2\n") == first == digest()
    assert digest(**{changed: sources[changed] + "# another line\n"}) != first
    code._read.cache_clear()
