"""The verdict: shares and gates as properties that hold for any results, and each rule with what breaks it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from suite.checks.result import Result
from suite.errors import BadRequest, SettingsError
from suite.runbooks import expected
from suite.runbooks.gates import load_risks, load_rules
from suite.runbooks.readiness import CATEGORIES, COULD_NOT_RUN, EXIT, NOT_READY, READY, REHEARSAL, Source, assess
from suite.settings import package_file

RULES, CHECKS, COMMIT = load_rules(), expected.planned(), "c0ffee" * 6 + "c0ff"
STATES = ("pass", "degraded", "fail", "not-run", "waived", "not-applicable")
NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
CONDITIONS = {name: names for gate in RULES.gates for name, names in gate.conditions.items()}


@dataclass(frozen=True)
class Proof:
    state: str = "proven"
    why: str = ""


PROVEN = {check.id: Proof() for check in CHECKS}


def result(name: str, state: str = "pass", **more: Any) -> Result:
    check = next(check for check in CHECKS if check.id == name)
    moment = (NOW - timedelta(minutes=5)).isoformat()
    evidence = [{"name": condition, "observed": 0, "op": "==", "limit": 0, "unit": "", "met": True} for condition in CONDITIONS.get(name, ())]
    reason = more.pop("reason", "made")
    evidence += [{"name": state, "reason": reason}] if state in ("not-run", "not-applicable") else []
    found = Result(name, check.title, check.phase, check.category, state, {"value": 0, "unit": "", "n": 1}, {}, None, tuple(evidence), moment, moment)
    return replace(found, **more)


def all_in(**states: str) -> list[Result]:
    """All 33, in pass but for those named, as in P1_1="fail"."""
    return [result(name, states.get(name.replace(".", "_"), "pass")) for name in expected.IDS]


def judge(results: list[Result], smoke: bool = False, stage: str = "prod", **more: Any) -> Any:
    source = Source(NOW.timestamp(), COMMIT, "cfg", {"phase2_health": (COMMIT, "cfg")})
    return assess(results, CHECKS, stage=stage, smoke=smoke, gates=RULES, **{"graded": PROVEN, "source": source} | more)


def gate(found: Any, name: str) -> dict[str, Any]:
    return next(row for row in found.to_dict()["gates"] if row["name"] == name)


states_of_33 = some.lists(some.sampled_from(STATES), min_size=33, max_size=33).map(
    lambda states: [result(name, state) for name, state in zip(expected.IDS, states, strict=True)])


def test_there_are_33_checks_of_which_each_has_its_category() -> None:
    assert [sum(name.startswith(f"P{phase}.") for name in expected.IDS) for phase in range(1, 6)] == [6, 9, 6, 4, 8]
    assert {check.category for check in CHECKS} == set(CATEGORIES)
    assert [check.id for check in CHECKS if check.category == "recoverability"] == ["P5.7", "P5.8"]
    assert [check.id for check in CHECKS if check.category == "performance"] == ["P5.5", "P5.6"]


def test_all_passed_is_ready_and_on_smoke_a_rehearsal() -> None:
    found = judge(all_in())
    assert (found.verdict, found.lowest, found.mean, found.blocking) == (READY, 1.0, 1.0, ())
    assert judge(all_in(), smoke=True).verdict == REHEARSAL
    assert (EXIT[READY], EXIT[NOT_READY], EXIT[COULD_NOT_RUN], EXIT[REHEARSAL]) == (0, 1, 2, 3)


@given(states_of_33)
def test_smoke_is_never_ready_and_a_gate_is_never_outvoted(results: list[Result]) -> None:
    assert judge(results, smoke=True).verdict != READY
    found = judge(results)
    if any(row["state"] != "pass" for row in found.gates):
        assert found.verdict in (NOT_READY, COULD_NOT_RUN)
    if any(one.state in ("fail", "not-run", "degraded") for one in results):
        assert found.verdict != READY


@given(states_of_33)
def test_the_lowest_is_the_least_of_the_categories_and_never_above_the_mean(results: list[Result]) -> None:
    found = judge(results)
    scores = [row["score"] for row in found.categories.values() if row["score"] is not None]
    assert all(0 <= score <= 1 for score in scores)
    assert found.lowest == (min(scores) if scores else None)
    assert not scores or found.lowest <= found.mean <= max(scores)
    assert sorted(name for row in found.categories.values() for name in row["checks"]) == sorted(expected.IDS)


@given(states_of_33, some.permutations(range(33)))
def test_the_order_of_results_does_not_matter(results: list[Result], order: list[int]) -> None:
    assert judge([results[place] for place in order]).to_dict() == judge(results).to_dict()


@given(states_of_33, some.integers(0, 32), some.sampled_from(["fail", "not-run", "waived"]))
def test_a_check_that_does_worse_never_helps(results: list[Result], place: int, worse: str) -> None:
    passed = [*results[:place], result(expected.IDS[place]), *results[place + 1:]]
    before, after = judge(passed), judge([*results[:place], result(expected.IDS[place], worse), *results[place + 1:]])
    category = expected.category(expected.IDS[place])
    assert after.categories[category]["score"] < before.categories[category]["score"]
    assert after.lowest <= before.lowest
    assert not (before.verdict != READY and after.verdict == READY)


@given(states_of_33, some.sets(some.sampled_from(expected.IDS)))
def test_strict_never_lets_more_through(results: list[Result], weak: set[str]) -> None:
    graded = {name: Proof("weak" if name in weak else "proven", "never") for name in expected.IDS}
    lax, strict = judge(results, graded=graded), judge(results, graded=graded, strict=True)
    assert not (strict.verdict == READY and lax.verdict != READY)
    assert strict.lowest is None or strict.lowest <= lax.lowest
    assert set(lax.weak) == {one.id for one in results if one.state == "pass" and one.id in weak}


def test_what_does_not_apply_leaves_the_denominator_and_a_category_without_any_is_unverified() -> None:
    found = judge(all_in(P1_1="not-applicable", P1_2="fail"))
    weights = {check.id: check.weight for check in CHECKS if check.category == "infrastructure" and check.id != "P1.1"}
    assert found.categories["infrastructure"]["score"] == pytest.approx(1 - weights["P1.2"] / sum(weights.values()))
    none = judge(all_in(**{f"P1_{number}": "not-applicable" for number in range(1, 7)}))
    assert none.categories["infrastructure"] | {"checks": 0} == {"score": None, "state": "unverified", "weight": 0, "checks": 0}
    assert none.verdict == NOT_READY and "category infrastructure is unverified" in none.blocking
    assert any("infrastructure" in sentence for sentence in none.not_verified)


def test_degraded_counts_half_and_waived_nothing_but_waived_stops_no_release() -> None:
    assert judge(all_in(P3_3="degraded")).categories["monitoring"]["score"] == pytest.approx(11 / 12)
    waived = judge(all_in(P3_3="waived"))
    assert waived.categories["monitoring"]["score"] == pytest.approx(10 / 12) and waived.verdict == READY
    assert judge(all_in(P3_3="degraded")).verdict == NOT_READY


def test_a_floor_that_is_not_reached_stops_a_release_though_all_is_waived() -> None:
    half = all_in(P2_1="waived", P2_3="waived", P2_4="waived", P2_5="waived", P2_6="waived")
    assert judge(half, stage="prod").verdict == NOT_READY and "less than 80%" in judge(half, stage="prod").blocking[-1]
    assert judge(half, stage="dev").verdict == READY


@pytest.mark.parametrize(("name", "check"), [(gate.name, check) for gate in RULES.gates for check in gate.checks if not gate.conditions])
@pytest.mark.parametrize("state", ["waived", "not-applicable", "not-run", "fail", "degraded"])
def test_nothing_but_a_pass_opens_a_gate(name: str, check: str, state: str) -> None:
    found = judge(all_in(**{check.replace(".", "_"): state}))
    assert gate(found, name)["state"] == ("not-run" if state in ("not-run", "not-applicable") else "fail")
    assert found.verdict == NOT_READY and check in gate(found, name)["why"]


def test_a_gate_of_conditions_holds_while_another_condition_of_the_check_is_waived() -> None:
    assert gate(judge(all_in(P4_4="waived")), "default_credentials")["state"] == "pass"
    broken = {"name": "opened_by_wrong_token", "observed": 2, "op": "==", "limit": 0, "unit": "", "met": False}
    for evidence in ((broken,), (), ({**broken, "met": None},), ({**broken, "met": True}, {"name": "doubt", "reason": "edited"})):
        changed = [one if one.id != "P4.4" else replace(one, state="waived", evidence=evidence) for one in all_in()]
        assert gate(judge(changed), "default_credentials")["state"] == "fail", evidence


@pytest.mark.parametrize(("more", "why"), [
    ({"started_at": (NOW - timedelta(hours=25)).isoformat()}, "more than 24 h ago"),
    ({"ended_at": (NOW + timedelta(minutes=5)).isoformat()}, "clock was set back"),
    ({"ended_at": (NOW - timedelta(hours=2)).isoformat()}, "clock was set back"),
    ({"started_at": ""}, "does not say when"),
])
def test_evidence_that_is_old_or_of_the_future_fails_its_gate(more: dict[str, str], why: str) -> None:
    results = [replace(one, **more) if one.id == "P1.3" else one for one in all_in()]
    found = judge(results)
    assert gate(found, "evidence")["state"] == "fail" and why in gate(found, "evidence")["why"] and "P1.3" in gate(found, "evidence")["why"]
    assert found.verdict == NOT_READY


@pytest.mark.parametrize(("commit", "found", "why"), [
    (COMMIT, ("0" * 40, "cfg"), "phase2_health checked commit 0000"), (COMMIT, (COMMIT, "other"), "another configuration"),
    (COMMIT + "-dirty", (COMMIT + "-dirty", "cfg"), "was changed"), ("", ("", "cfg"), "nobody knows which commit"),
])
def test_evidence_of_another_commit_or_configuration_fails_its_gate(commit: str, found: tuple[str, str], why: str) -> None:
    said = judge(all_in(), source=Source(NOW.timestamp(), commit, "cfg", {"phase2_health": found}))
    assert gate(said, "evidence")["state"] == "fail" and why in gate(said, "evidence")["why"] and said.verdict == NOT_READY


def test_on_smoke_only_what_says_itself_that_nothing_there_can_make_it_pass_is_excused() -> None:
    def with_ci(state: str, reason: str, smoke: bool = True) -> Any:
        return judge([result("P4.2", state, reason=reason) if one.id == "P4.2" else one for one in all_in()], smoke=smoke)

    found = with_ci("not-run", "no job's result is named")
    assert found.verdict == REHEARSAL and found.excused == ("P4.2",) and "P4.2 could not pass here" in found.line
    assert gate(found, "ci_green")["state"] == "not-run"
    assert with_ci("not-run", "The kernel died in cell 3").verdict == NOT_READY
    assert with_ci("fail", "no job's result is named").verdict == NOT_READY
    assert with_ci("not-run", "no job's result is named", smoke=False).verdict == NOT_READY


def test_what_was_not_verified_is_said_sentence_by_sentence() -> None:
    graded = {**PROVEN, "P2.3": Proof("weak", "drilled on a fake only")}
    found = judge(all_in(P1_2="not-applicable", P5_3="waived", P5_5="not-run"), smoke=True, graded=graded)
    text = "\n".join(found.not_verified)
    for words in ("P1.2", "P5.3", "P5.5", "P2.3 passed, but nobody knows that it can fail: drilled on a fake only", "smoke models", "Gate latency",
                  *RULES.beyond):
        assert words in text, words


def test_a_check_without_a_result_is_not_run_and_nothing_at_all_could_not_run() -> None:
    found = judge(all_in()[1:])
    assert found.verdict == NOT_READY and found.blocking[0] == "P1.1 is not-run"
    assert judge([]).verdict == COULD_NOT_RUN and judge([]).lowest == 0.0
    assert judge(all_in(), trouble="no stack").verdict == COULD_NOT_RUN and "no stack" in judge(all_in(), trouble="no stack").line


def test_of_two_results_of_one_check_the_worse_counts() -> None:
    for results in ([*all_in(), result("P1.1", "fail")], [result("P1.1", "fail"), *all_in()]):
        assert "P1.1 is fail" in judge(results).blocking


def test_a_weak_pass_counts_nothing_under_strict_and_opens_no_gate() -> None:
    graded = {name: proof for name, proof in PROVEN.items() if name != "P3.4"}
    assert judge(all_in(), graded=graded).verdict == READY
    strict = judge(all_in(), graded=graded, strict=True)
    assert strict.verdict == NOT_READY and gate(strict, "targets_up")["state"] == "fail" and "P3.4 is pass, but weak" in strict.blocking
    assert judge(all_in(), graded=graded, strict=True, smoke=True).verdict == NOT_READY


def test_what_else_forbids_it_is_kept() -> None:
    assert judge(all_in(), against=["limits are looser"]).blocking == ("limits are looser",)
    assert judge(all_in(), against=["limits are looser"]).verdict == NOT_READY


def test_an_unknown_stage_is_refused() -> None:
    with pytest.raises(BadRequest, match="dev, staging, prod"):
        judge(all_in(), stage="production")


def test_every_gate_of_the_specification_is_there() -> None:
    assert [one.name for one in RULES.gates] == ["restore_drill", "golden_questions", "targets_up", "alert_delivered", "authorisation",
                                                 "default_credentials", "ci_green", "latency", "evidence"]
    assert {name for risk in load_risks() for name in risk["checks"]} <= set(expected.IDS)


@pytest.mark.parametrize(("old", "new"), [
    ('checks = ["P5.2"]', 'checks = ["P5.22"]'), ('checks = ["P5.2"]', "checks = []"), ("evidence = true", "evidence = false"),
    ('name = "latency"', 'name = "ci_green"'), ("prod = 0.8", "prod = 8"), ("seconds = 86400", "seconds = 0"), ('states = ["not-run"]', 'states = ["fail"]'),
    ("why = \"another", "reason = \"another"), ('"P3.2" = ["opened_by_others"]', '"P3.1" = ["opened_by_others"]'), ("[floor]", "[roof]"), ("[[gates]]", "[[gates"),
])
def test_a_file_of_gates_that_is_wrong_is_refused(old: str, new: str, tmp_path: Path) -> None:
    text = package_file("runbooks/gates.toml").read_text(encoding="utf-8")
    assert old in text
    (tmp_path / "gates.toml").write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(SettingsError, match="mend the file"):
        load_rules(tmp_path / "gates.toml")


def test_a_risk_that_is_tied_to_no_check_of_a_release_is_refused(tmp_path: Path) -> None:
    text = package_file("runbooks/risks.toml").read_text(encoding="utf-8")
    for old, new, words in (('checks = ["P1.3"]', 'checks = ["P9.3"]', "P9.3"), ('answer = "Each port', 'reply = "Each port', "answer")):
        (tmp_path / "risks.toml").write_text(text.replace(old, new, 1), encoding="utf-8")
        with pytest.raises(SettingsError, match=words):
            load_risks(tmp_path / "risks.toml")
