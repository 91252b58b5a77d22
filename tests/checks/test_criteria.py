"""Criteria: what is demanded, and that anybody can judge a record again from its evidence alone."""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from suite.checks.check import Check, Observation, not_run, perform
from suite.checks.condition import OPS, Condition
from suite.checks.criteria import Criteria, Criterion, Waiver, examine, load
from suite.checks.fault import CLOSED_PORT
from suite.checks.result import Result
from suite.checks.target import Target
from suite.errors import SettingsError

NUMBERS = st.one_of(st.integers(-5, 5), st.floats(-5, 5), st.just(float("nan")), st.just(float("inf")))
VALUES = st.one_of(NUMBERS, st.booleans(), st.sampled_from(["allow", "deny", ""]), st.none())
NOWHERE = Target({})


@st.composite
def conditions(draw: Any) -> tuple[Condition, ...]:
    made = []
    for index in range(draw(st.integers(1, 4))):
        op = draw(st.sampled_from(OPS))
        limit = draw(st.integers(-5, 5)) if op in ("<", "<=", ">", ">=") else draw(st.one_of(st.integers(-5, 5), st.booleans(), st.just("allow")))
        made.append(Condition(f"c{index}", op, limit, "", "a test", draw(st.booleans()), draw(st.booleans())))
    return tuple(made)


def check(values: dict[str, Any] | None = None, error: Exception | None = None, not_applicable: str = "") -> Check:
    def function(_: Target, seen: Observation) -> None:
        seen.values.update(values or {})
        seen.note("free", text="what else was seen")
        seen.not_applicable = not_applicable
        if error is not None:
            raise error

    return Check("P9.9", "A test", 9, "stability", 1, CLOSED_PORT, function)


def criteria(*rows: Condition, **more: Any) -> Criteria:
    return Criteria({"P9.9": Criterion("P9.9", "a test", rows, **more)}, "test")


ONE = Condition("c0", "<=", 3, "s", "a test")


@given(conditions(), st.lists(VALUES, min_size=4, max_size=4))
@settings(max_examples=300, deadline=None)
def test_the_state_can_be_computed_again_from_the_record_after_a_trip_through_json(rows: tuple[Condition, ...], seen: list[Any]) -> None:
    limits = criteria(*rows)
    result = perform(check({f"c{index}": value for index, value in enumerate(seen)}), NOWHERE, limits["P9.9"])
    record = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert examine(record, limits) == (result.state, [])
    assert Result.from_dict(record).to_dict() == record


@given(conditions(), st.lists(VALUES, min_size=4, max_size=4), st.sampled_from(["pass", "degraded", "fail", "waived", "not-applicable"]))
@settings(max_examples=200, deadline=None)
def test_any_other_state_than_the_evidence_gives_is_detected(rows: tuple[Condition, ...], seen: list[Any], claimed: str) -> None:
    limits = criteria(*rows)
    record = perform(check({f"c{index}": value for index, value in enumerate(seen)}), NOWHERE, limits["P9.9"]).to_dict()
    if claimed != record["state"]:
        state, doubts = examine({**record, "state": claimed}, limits)
        assert state == "fail" and doubts


@pytest.mark.parametrize("tamper", [
    lambda r: r["evidence"][0].update(limit=99), lambda r: r["evidence"][0].update(op=">="),
    lambda r: r["evidence"].pop(0),
    lambda r: r["evidence"][0].update(met=True), lambda r: r["observed"].update(value=0), lambda r: r["observed"].update(n=7),
    lambda r: r["criterion"].update(limit=5), lambda r: r["evidence"][0].update(observed=1),
    lambda r: r["evidence"].insert(0, dict(r["evidence"][0])),
    lambda r: r.update(id="P1.1"),
])
def test_a_record_that_was_changed_in_one_place_is_a_fail_with_a_reason(tamper: Any) -> None:
    limits = criteria(ONE)
    record = perform(check({"c0": 4}), NOWHERE, limits["P9.9"]).to_dict()
    changed = copy.deepcopy(record)
    tamper(changed)
    for claimed in ("pass", "fail"):
        state, doubts = examine({**changed, "state": claimed}, limits)
        assert state == "fail" and doubts, claimed


def test_a_value_that_was_not_observed_is_broken_and_an_optional_one_is_skipped() -> None:
    strict, lenient = ONE, Condition("c1", "==", True, "", "a test", optional=True)
    result = perform(check({}), NOWHERE, criteria(strict, lenient)["P9.9"])
    assert result.state == "fail"
    assert [item["met"] for item in result.conditions] == [False, None]
    assert result.observed == {"value": 1, "unit": "broken conditions", "n": 1}
    assert result.margin == -1.0


def test_a_check_that_raises_is_a_fail_with_the_message() -> None:
    limits = criteria(Condition("c0", "<=", 3, "s", "a test", optional=True), ONE.__class__("c1", "<=", 3, "s", "a test"))
    result = perform(check(error=ValueError("the disk is on fire")), NOWHERE, limits["P9.9"])
    assert result.state == "fail"
    assert "ValueError: the disk is on fire" in result.why
    assert examine(result.to_dict(), limits)[0] == "fail"


def test_what_a_check_saw_before_it_raised_is_kept_and_does_not_save_it() -> None:
    limits = criteria(ONE)
    result = perform(check({"c0": 2}, error=ValueError("too late")), NOWHERE, limits["P9.9"])
    assert result.state == "fail" and result.conditions[0]["observed"] == 2
    assert examine(result.to_dict(), limits) == ("fail", [])
    assert examine({**result.to_dict(), "state": "pass"}, limits)[0] == "fail"


def test_a_check_that_did_not_happen_is_not_run_and_says_why() -> None:
    limits = criteria(ONE)
    result = not_run(check(), limits["P9.9"], "nobody came")
    assert (result.state, result.why, result.observed["value"]) == ("not-run", "nobody came", None)
    assert examine(result.to_dict(), limits)[0] == "not-run"


def test_not_applicable_counts_only_where_the_criteria_allow_it() -> None:
    allowed, forbidden = criteria(ONE, may_not_apply=True), criteria(ONE)
    result = perform(check(not_applicable="another make"), NOWHERE, allowed["P9.9"])
    assert (result.state, result.why) == ("not-applicable", "another make")
    assert examine(result.to_dict(), allowed)[0] == "not-applicable"
    assert examine(result.to_dict(), forbidden)[0] == "fail"
    assert perform(check(not_applicable="another make"), NOWHERE, forbidden["P9.9"]).state == "fail"


def test_a_waiver_holds_until_its_day_and_names_who_answers_for_it() -> None:
    import datetime

    late, early = datetime.date(9000, 1, 1), datetime.date(2001, 1, 1)
    waived = perform(check({"c0": 4}), NOWHERE, criteria(ONE, waiver=Waiver("kim", late, "known"))["P9.9"])
    assert waived.state == "waived" and "kim" in waived.why
    assert perform(check({"c0": 4}), NOWHERE, criteria(ONE, waiver=Waiver("kim", early, "known"))["P9.9"]).state == "fail"
    assert perform(check({"c0": 3}), NOWHERE, criteria(ONE, waiver=Waiver("kim", late, "known"))["P9.9"]).state == "pass"


def test_only_conditions_that_degrade_make_a_check_degraded() -> None:
    soft = Condition("c1", "<=", 3, "s", "a test", degrades=True)
    assert perform(check({"c0": 1, "c1": 4}), NOWHERE, criteria(ONE, soft)["P9.9"]).state == "degraded"
    assert perform(check({"c0": 4, "c1": 4}), NOWHERE, criteria(ONE, soft)["P9.9"]).state == "fail"


@pytest.mark.parametrize(("op", "limit", "observed", "met"), [
    ("==", True, 1, False), ("==", 1, True, False), ("==", 384, 384.0, True), ("<=", 3, True, False), ("<=", 3, math.nan, False),
    (">=", 3, math.inf, False), ("!=", 3, math.nan, False), ("!=", 3, 4, True), ("==", "allow", "allow", True), ("<", 3, "2", False),
])
def test_a_value_of_another_kind_or_no_real_number_meets_no_limit(op: str, limit: Any, observed: Any, met: bool) -> None:
    assert Condition("c", op, limit, "", "a test").entry(observed)["met"] is met


def test_the_packaged_limits_load_and_a_parameter_replaces_the_limit_that_names_it() -> None:
    limits = load(parameters={"budget_s": 7.0})
    assert list(limits) == [*(f"P1.{number}" for number in range(1, 7)), *(f"P2.{number}" for number in range(1, 10)), *(f"P3.{number}" for number in range(1, 7)), "P4.1", "P4.4", "P5.4", "P5.7", "P5.8"]
    assert {row.name: row.limit for row in limits["P2.1"].conditions}["slowest_part"] == 7.0
    assert all(row.reason for name in limits for row in limits[name].conditions)


@pytest.mark.parametrize("text", [
    "['P2.1'", "['P2.1']\nreason = 'x'\n", "['P2.1']\nreason = ''\nconditions = [{name='a', op='==', limit=1, unit='', reason='r'}]",
    "['P2.1']\nreason = 'x'\nconditions = [{name='a', op='~', limit=1, unit='', reason='r'}]",
    "['P2.1']\nreason = 'x'\nconditions = [{name='a', op='<', limit='1', unit='', reason='r'}]",
    "['P2.1']\nreason = 'x'\nconditions = [{name='a', op='<', limit=1, unit='', reason=''}]",
    "['P2.1']\nreason = 'x'\nconditions = [{name='a', op='<', limit=1, unit=''}]",
    "['P2.1']\nreason = 'x'\nwaiver = {owner='kim'}\nconditions = [{name='a', op='<', limit=1, unit='', reason='r'}]",
])
def test_a_malformed_criteria_file_is_refused_with_its_name(text: str, tmp_path: Path) -> None:
    file = tmp_path / "limits.toml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(SettingsError, match=r"limits\.toml"):
        load(file)


def test_a_missing_criteria_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"nowhere\.toml"):
        load(tmp_path / "nowhere.toml")
