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
from suite.checks.criteria import Criteria, Criterion, Waiver, Waivers, examine, load
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
    waived = perform(check({"c0": 4}), NOWHERE, criteria(ONE, waivers=Waivers(Waiver("kim", late, "known")))["P9.9"])
    assert waived.state == "waived" and "kim" in waived.why
    assert perform(check({"c0": 4}), NOWHERE, criteria(ONE, waivers=Waivers(Waiver("kim", early, "known")))["P9.9"]).state == "fail"
    assert perform(check({"c0": 3}), NOWHERE, criteria(ONE, waivers=Waivers(Waiver("kim", late, "known")))["P9.9"]).state == "pass"


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
    counts = {1: 6, 2: 9, 3: 6, 4: 4, 5: 8}
    wanted = {f"P{phase}.{number}" for phase, count in counts.items() for number in range(1, count + 1)}
    assert set(limits) == wanted | {"P2.3-failover", "P5.5-load"} and len(wanted) == 33
    assert {row.name: row.limit for row in limits["P2.1"].conditions}["slowest_part"] == 7.0
    assert all(row.reason for name in limits for row in limits[name].conditions)


ROW = "{name='a', op='<', limit=1, unit='s', reason='r'}"
WHOLE = f"['P2.1']\nreason = 'x'\nweight = 2\nconditions = [{ROW}]\n"


@pytest.mark.parametrize(("text", "said"), [
    ("['P2.1'", "cannot be read"), ("['P2.1']\nreason = 'x'\n", "needs a `reason` and at least one"),
    (WHOLE.replace("reason = 'x'", "reason = ''"), "needs a `reason`"), (WHOLE.replace("op='<'", "op='~'"), "must have one of ==, !="),
    (WHOLE.replace("limit=1", "limit='1'"), "< needs a number"), (WHOLE.replace("reason='r'", "reason=''"), "has no reason"),
    (WHOLE.replace(", reason='r'", ""), "lacks reason"), (WHOLE.replace(" unit='s',", ""), "'a' .* has no unit"),
    (WHOLE.replace("unit='s'", "unit=1"), "a unit is a word"), (WHOLE.replace("name='a', ", ""), "must be a table with a name"),
    (WHOLE.replace("unit='s'", "unit='s', lenient=true"), "unknown key 'lenient'"), (WHOLE.replace("weight = 2\n", ""), "weight None but needs 3"),
    (WHOLE.replace("weight = 2", "weight = 4"), "weight 4 but needs 3"), (WHOLE.replace("weight = 2", "weight = true"), "weight True but needs"),
    (WHOLE.replace("weight", "may_not_aply = true\nweight"), "unknown key 'may_not_aply'"), (WHOLE.replace(f"[{ROW}]", f"[{ROW}, {ROW}]"), "names a condition twice"),
    (WHOLE + "waiver = {owner='kim'}", "needs `owner`, `expiry`"), (WHOLE + "waiver = 'kim'", "needs `owner`, `expiry`"),
    (WHOLE + "waiver = {owner='kim', expiry='2027-01-31', reason='r'}", "a date as 2027-01-31"),
    (WHOLE + "waiver = {owner='kim', expiry=2027-01-31T00:00:00, reason='r'}", "a date as 2027-01-31"),
    (WHOLE + "waiver = {owner=' ', expiry=2027-01-31, reason='r'}", "needs `owner`"),
    (WHOLE + "waiver = {owner='kim', expiry=2027-01-31, reason='r', until=1}", "and nothing else"),
    (WHOLE + "waivers = 1", "a table for each condition"), (WHOLE + "waivers = {b = {owner='kim', expiry=2027-01-31, reason='r'}}", "waives 'b', which none"),
    (WHOLE + "looser = {owner='kim', expiry=2027-01-31}", "looser limits"),
    (WHOLE + "profiles = {abacus = {a = {limit=2, reason='r'}}}", "profile 'abacus', which there is none of"),
    (WHOLE + "profiles = {cpu = {b = {limit=2, reason='r'}}}", "limit for 'b', which no condition"),
    (WHOLE + "profiles = {cpu = {a = {limit=2}}}", "needs { limit"), (WHOLE + "profiles = {cpu = {a = {limit='2', reason='r'}}}", "< needs a number"),
])
def test_a_malformed_criteria_file_is_refused_with_its_name_in_one_sentence(text: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "limits.toml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(SettingsError, match=said) as caught:
        load(file)
    assert "limits.toml" in str(caught.value) and "\n" not in str(caught.value).strip()


def test_the_file_that_those_are_made_from_is_read(tmp_path: Path) -> None:
    (tmp_path / "limits.toml").write_text(WHOLE, encoding="utf-8")
    limits = load(tmp_path / "limits.toml", known=["P2.1", "P2.2"])
    assert (limits["P2.1"].weight, limits["P2.1"].conditions[0].demand()) == (2, "< 1 s")
    with pytest.raises(SettingsError, match=r"speaks of 'P2.1', which no check is called; did you mean P2.2"):
        load(tmp_path / "limits.toml", known=["P2.2", "P5.7"])


def test_a_unit_may_be_empty_but_not_absent(tmp_path: Path) -> None:
    (tmp_path / "limits.toml").write_text(WHOLE.replace("unit='s'", "unit=''"), encoding="utf-8")
    assert load(tmp_path / "limits.toml")["P2.1"].conditions[0].demand() == "< 1"


def test_a_profile_has_limits_of_its_own_and_a_parameter_wins_over_them(tmp_path: Path) -> None:
    own = "profiles = {cpu = {a = {limit=9, reason='a processor is slow'}}}"
    (tmp_path / "limits.toml").write_text(WHOLE.replace("unit='s'", "unit='s', parameter='budget_s'") + own, encoding="utf-8")

    def limit(profile: str, **parameters: Any) -> Any:
        return load(tmp_path / "limits.toml", parameters).under(profile)["P2.1"].conditions[0].limit

    assert (limit(""), limit("smoke"), limit("cpu"), limit("cpu", budget_s=5.0)) == (1, 1, 9, 5.0)
    limits = load(tmp_path / "limits.toml").under("cpu")
    assert limits["P2.1"].conditions[0].reason == "a processor is slow"
    assert limits.under("smoke")["P2.1"].conditions[0].limit == 1  # not what the other profile left


@pytest.mark.parametrize(("op", "limit", "observed", "margin"), [
    ("<=", 3, 2.5, 0.5), ("<", 3, 4, -1), (">=", 3, 5, 2), (">", 3, 3, 0), ("<=", 3, None, None), ("==", 3, 3, None), ("<=", 3, math.inf, None),
    ("<=", 1.7e308, -1.7e308, "inf"), ("<=", 3, True, None),
])
def test_each_condition_says_how_far_it_is_from_its_limit(op: str, limit: Any, observed: Any, margin: Any) -> None:
    assert Condition("c", op, limit, "s", "a test").entry(observed)["margin"] == margin


def test_a_check_may_say_that_it_could_not_be_performed_and_that_is_no_pass_and_is_not_waived() -> None:
    import datetime

    def function(_: Target, seen: Observation) -> None:
        seen.values["c0"] = 3
        seen.note("free", text="what was seen")
        seen.not_run = "nobody named the file"

    waived = criteria(ONE, waivers=Waivers(Waiver("kim", datetime.date(9000, 1, 1), "known")))
    result = perform(Check("P9.9", "A test", 9, "stability", 1, CLOSED_PORT, function), NOWHERE, waived["P9.9"])
    assert (result.state, result.why, result.observed["value"], result.margin) == ("not-run", "nobody named the file", None, None)
    assert examine(result.to_dict(), waived) == ("not-run", []) and result.evidence[-1]["text"] == "what was seen"
    assert examine({**result.to_dict(), "state": "pass"}, waived)[0] == "fail"


def test_a_check_that_raised_after_it_had_said_so_is_a_fail() -> None:
    def function(_: Target, seen: Observation) -> None:
        seen.not_run = "nobody named the file"
        raise ValueError("and something broke")

    result = perform(Check("P9.9", "A test", 9, "stability", 1, CLOSED_PORT, function), NOWHERE, criteria(ONE)["P9.9"])
    assert result.state == "fail" and "something broke" in result.why


def test_a_missing_criteria_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"nowhere\.toml"):
        load(tmp_path / "nowhere.toml")
