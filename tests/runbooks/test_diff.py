"""What changed between two releases: states, figures against noise, limits, and what changed although nothing else did."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import made_releases as made
import pytest
from hypothesis import given
from hypothesis import strategies as st

from suite.errors import BadRequest, NotFound
from suite.runbooks.baseline import LEAST, Baseline
from suite.runbooks.diff import RANK, compare, diff
from suite.runbooks.ground import apart, ground, shape
from suite.runbooks.margin import margin, spent

STATES = {"pass": made.check("P2.4"), "fail": made.check("P2.4", {"broken": 1}), "not-run": made.not_run("P2.4", "the kernel died"),
          "not-applicable": made.check("P2.4", not_applicable="of another make")}
figure = st.floats(min_value=0.001, max_value=1000, allow_nan=False)


def series(values: list[float], name: str = "P5.5") -> list[dict[str, Any]]:
    return [made.release(f"r{number}", {name: made.check(name, {"slowest": value}, limit=5000.0)}) for number, value in enumerate(values)]


def judged(values: list[float]) -> str:
    """What is said of the last value after the others."""
    *before, last = series(values)
    return next(drift.judged for drift in Baseline(before).drifts(last) if (drift.check, drift.condition) == ("P5.5", "slowest"))


def test_a_release_does_not_differ_from_itself() -> None:
    found = diff(made.release(), made.release())
    assert found.rows() == [] and not found.worse and found.apart == () and "nothing is worse" in repr(found)
    assert found.notes == (f"Releases of this load shape that are known: 1; {LEAST} are needed to tell a drift from noise.",)


@pytest.mark.parametrize("before", STATES)
@pytest.mark.parametrize("after", STATES)
def test_each_change_of_a_state_is_told_and_is_worse_in_one_direction(before: str, after: str) -> None:
    found = diff(made.release("a", {"P2.4": STATES[before]}, facts={"commit": "b" * 40}), made.release("b", {"P2.4": STATES[after]}))
    assert [(one.check, one.before, one.after, one.worse) for one in found.changes] == (
        [] if before == after else [("P2.4", before, after, RANK.index(after) > RANK.index(before))])
    if before != after:
        assert found.worse is (RANK.index(after) > RANK.index(before)) and f"{before} " in repr(found) and after in found._repr_html_()
        assert {"fail": "broken is 1", "not-run": "the kernel died", "not-applicable": "of another make", "pass": "Check P2.4"}[after] in repr(found)


def test_a_state_that_nobody_knows_is_worse_than_any() -> None:
    strange = {**STATES["fail"], "state": "splendid"}
    assert diff(made.release("a", {"P2.4": STATES["fail"]}), made.release("b", {"P2.4": strange})).changes[0].worse


def test_new_and_removed_checks_are_told_and_one_that_is_gone_is_worse() -> None:
    less, more = made.release("a", without=("P5.8", "P5.7")), made.release("b", without=("P1.1",))
    found = diff(less, more)
    assert (found.new, found.removed) == (("P5.7", "P5.8"), ("P1.1",)) and found.worse
    back = diff(more, less)
    assert (back.new, back.removed) == (found.removed, found.new)
    assert not diff(less, made.release("b")).worse


@given(st.dictionaries(st.sampled_from(made.ALL), st.sampled_from(["pass", "fail", "not-run", "gone"])),
       st.dictionaries(st.sampled_from(made.ALL), st.sampled_from(["pass", "fail", "not-run", "gone"])))
def test_every_check_of_either_is_told_once_and_the_way_back_is_the_reverse(first: dict[str, str], second: dict[str, str]) -> None:
    def of(states: dict[str, str]) -> dict[str, Any]:
        rows = {name: {**STATES[state], "id": name} for name, state in states.items() if state != "gone"}
        return made.release("x", rows, without=tuple(name for name, state in states.items() if state == "gone"))

    there, back = diff(of(first), of(second)), diff(of(second), of(first))
    told = [*(one.check for one in there.changes), *there.new, *there.removed]
    different = [name for name in made.ALL if first.get(name, "pass") != second.get(name, "pass")]
    assert sorted(told) == sorted(different) and len(set(told)) == len(told)
    assert {(one.check, one.after, one.before) for one in there.changes} == {(one.check, one.before, one.after) for one in back.changes}
    assert (set(there.new), set(there.removed)) == (set(back.removed), set(back.new))


# ---- figures against noise ----

def test_a_figure_beyond_all_that_was_seen_has_drifted_and_one_within_it_has_not() -> None:
    usual = [1.00, 1.02, 0.98, 1.01, 0.99, 1.00]
    assert judged([*usual, 1.3]) == "worse" and judged([*usual, 0.7]) == "better" and judged([*usual, 1.015]) == "within noise"
    assert judged([*usual, 1.03]) == "within noise", "outside of what was seen, but by less than three deviations"
    assert judged([1.0, 1.0, 1.0, 1.0, 9.0, 8.0]) == "within noise", "an outlier that came before"
    assert judged([*usual[:LEAST - 1], 50.0]) == "too few" and judged([*usual[:LEAST], 50.0]) == "worse"


def test_of_a_lower_limit_less_is_worse() -> None:
    *before, less = [made.release(f"r{n}", {"P1.6": made.check("P1.6", {"free": 80.0 + n % 2})}) for n in range(6)] + [
        made.release("last", {"P1.6": made.check("P1.6", {"free": 30.0})})]
    drift = next(one for one in Baseline(before).drifts(less) if one.check == "P1.6" and one.condition == "free")
    assert (drift.judged, drift.before, drift.after, drift.unit, drift.n) == ("worse", 81.0, 30.0, "GB", 6) and "81 → 30 GB (worse; usual is" in str(drift)


@given(st.lists(figure, min_size=LEAST, max_size=12), figure)
def test_what_lies_among_the_figures_seen_is_never_a_drift_and_far_beyond_them_always(past: list[float], inside: float) -> None:
    low, high = min(past), max(past)
    assert judged([*past, min(max(inside, low), high)]) == "within noise"
    assert judged([*past, high + 10 * (high - low) + 1]) == "worse"


@given(st.lists(figure, min_size=1, max_size=LEAST - 1), figure)
def test_with_too_few_releases_nothing_is_judged(past: list[float], value: float) -> None:
    assert judged([*past, value]) == "too few"


def test_drifts_of_a_diff_are_told_from_the_releases_before(tmp_path: Path) -> None:
    rows = series([1.0, 1.01, 0.99, 1.0, 1.02, 1.0, 1.5])
    found = diff(rows[-2], rows[-1], rows[:-2])
    assert [(one.check, one.condition, one.judged, one.n) for one in found.drifts] == [("P5.5", "slowest", "worse", 6)] and found.worse
    assert ("figure", "P5.5 slowest", "1 s", "1.5 s", "worse; usual 1 ± 0.0222 (6)") in found.rows()
    few = diff(rows[-2], rows[-1], rows[:2])
    assert [one.judged for one in few.drifts] == ["too few"] and not few.worse and "Releases of this load shape that are known: 3; 5 are needed" in few.notes[0]
    assert "too few to tell" in str(few.drifts[0])


# ---- load shape ----

@pytest.mark.parametrize(("facts", "name"), [({"profile": "laptop"}, "profile"), ({"smoke": False}, "smoke models"), ({"machine": {"cpus": 64}}, "machine"),
                                             ({"models": {"smoke.gguf": "9" * 64}}, "models")])
def test_figures_of_another_load_shape_are_refused(facts: dict[str, Any], name: str) -> None:
    here, there = made.release("a"), made.release("b", facts=facts)
    with pytest.raises(BadRequest, match=rf"The figures of 'b' were measured under another load shape \({name}\)"):
        Baseline([here]).drifts(there)
    with pytest.raises(BadRequest, match="another load shape"):
        Baseline([here, there])
    found = diff(here, there, [there, here])
    assert found.drifts == () and any("Figures are not compared" in note and name in note for note in found.notes)
    assert any(note.startswith("1 earlier releases") for note in found.notes)


def test_the_load_that_a_check_made_is_a_part_of_the_shape() -> None:
    one, other = (made.release(name, {"P5.5": made.check("P5.5", evidence=({"name": "seconds", "route": "/v1/chat", "tokens": tokens, "n": 60, "p50": p50},))})
                  for name, tokens, p50 in (("a", 16, 0.1), ("b", 32, 0.1)))
    assert apart(shape(one), shape(other)) == ["load of P5.5"] and shape(one)["load of P5.5"] == {"route": "/v1/chat", "tokens": 16}
    with pytest.raises(BadRequest, match=r"\(load of P5\.5\)"):
        Baseline([one]).demand(other)


def test_a_baseline_of_nothing_is_refused() -> None:
    with pytest.raises(BadRequest, match="one release at least"):
        Baseline([])


# ---- changes without a cause ----

def test_what_changed_although_nothing_else_did_is_told() -> None:
    found = diff(made.release("a"), made.release("b", {"P2.4": STATES["fail"]}))
    assert [(one.check, one.condition, one.before, one.after) for one in found.unexplained] == [("P2.4", "", "pass", "fail"), ("P2.4", "broken", 0, 1)]
    assert ("unexplained", "P2.4 broken", "0", "1", "code, inputs and environment are the same") in found.rows()
    assert not diff(made.release("a", {"P2.4": STATES["not-run"]}), made.release("b")).worse, "better without a cause is told, and is not worse"
    quiet = diff(made.release("a"), made.release("b", {"P2.4": made.check("P2.4", {"slowest": 0.6})}))
    assert quiet.unexplained == () and len(quiet.drifts) == 1, "a measured figure moves by itself"
    values = [1.0, 1.01, 0.99, 1.0, 1.02, 1.0, 1.5]
    rows = series(values)
    assert [(one.check, one.condition) for one in diff(rows[-2], rows[-1], rows[:-2]).unexplained] == [("P5.5", "slowest")]


@pytest.mark.parametrize("fact", ["commit", "dirty_diff_sha256", "packages_sha256", "criteria_sha256", "settings_sha256", "models", "machine", "profile", "python",
                                  "suite"])
def test_what_has_a_cause_is_not_called_unexplained(fact: str) -> None:
    other = {"models": {"m": "8" * 64}, "machine": {"cpus": 3}}.get(fact, "something else")
    found = diff(made.release("a"), made.release("b", {"P2.4": STATES["fail"]}, facts={fact: other}))
    assert found.unexplained == () and len(found.apart) == 1 and f"Not the same ground: {found.apart[0]}." in found.notes and found.worse


def test_without_the_facts_nobody_can_call_it_unexplained() -> None:
    rows = [made.release(name, facts={"commit": ""}) for name in "ab"]
    rows[1]["checks"][9] = {**STATES["fail"], "id": rows[1]["checks"][9]["id"]}
    found = diff(*rows)
    assert found.unexplained == () and any("cannot be told" in note for note in found.notes) and ground(rows[0])["commit"] is None


# ---- limits ----

def bent(name: str, **more: Any) -> dict[str, Any]:
    """A check with one of its conditions changed."""
    row = copy.deepcopy(made.check("P2.4"))
    row["evidence"] = [{**item, **more} if item["name"] == name else item for item in row["evidence"]]
    return row


@pytest.mark.parametrize(("name", "more", "looser"), [
    ("slowest", {"limit": 4.0}, True), ("slowest", {"limit": 2.0}, False), ("slowest", {"op": "<"}, False), ("free", {"limit": 10.0}, True),
    ("free", {"limit": 30.0}, False), ("free", {"op": ">"}, False), ("slowest", {"unit": "ms"}, True), ("broken", {"limit": 1}, True),
    ("ready", {"limit": False}, True), ("slowest", {"op": ">="}, True), ("broken", {"op": "<="}, True)])
def test_a_limit_that_changed_is_told_with_its_direction(name: str, more: dict[str, Any], looser: bool) -> None:
    found = diff(made.release("a"), made.release("b", {"P2.4": bent(name, **more)}, facts={"criteria_sha256": "0" * 64}))
    assert [(one.check, one.condition, one.looser) for one in found.limits] == [("P2.4", name, looser)] and found.worse is looser
    assert found.rows()[0][0] == "limit" and found.rows()[0][4] == ("looser" if looser else "tighter")


def test_a_condition_that_is_gone_is_looser_and_a_new_one_is_not() -> None:
    less = made.check("P2.4")
    less["evidence"] = [item for item in less["evidence"] if item["name"] != "free"]
    assert [(one.condition, one.looser) for one in diff(made.release("a"), made.release("b", {"P2.4": less})).limits] == [("free", True)]
    assert [(one.condition, one.looser) for one in diff(made.release("a", {"P2.4": less}), made.release("b")).limits] == [("free", False)]
    assert diff(made.release("a"), made.release("b", {"P2.4": STATES["not-run"]})).limits == (), "what was not judged has no limits on record"


@given(figure, figure, st.sampled_from(["<", "<=", ">", ">="]), figure)
def test_a_looser_limit_lets_something_through_that_the_old_one_did_not(old: float, new: float, op: str, observed: float) -> None:
    meets = {"<": lambda a, b: a < b, "<=": lambda a, b: a <= b, ">": lambda a, b: a > b, ">=": lambda a, b: a >= b}[op]
    found = diff(made.release("a", {"P2.4": bent("slowest", op=op, limit=old)}), made.release("b", {"P2.4": bent("slowest", op=op, limit=new)}))
    if meets(observed, new) and not meets(observed, old):
        assert [one.looser for one in found.limits] == [True]
    assert len(found.limits) == (old != new)


# ---- margins ----

@given(figure, figure, st.sampled_from(["<", "<=", ">", ">="]))
def test_a_margin_is_negative_exactly_beyond_the_limit(observed: float, limit: float, op: str) -> None:
    item = {"name": "x", "op": op, "limit": limit, "observed": observed, "met": None, "unit": ""}
    left, share = margin(item), spent(item)
    assert left is not None and share is not None
    assert (left < 0) == ((observed > limit) if "<" in op else (observed < limit))
    assert (share > 1) == (left < 0) or abs(share - 1) < 1e-9


def test_where_there_is_no_order_there_is_no_margin() -> None:
    for more in ({"op": "=="}, {"observed": None}, {"observed": True}, {"observed": "nan"}, {"limit": "3"}, {"observed": float("inf")}):
        item = {"name": "x", "op": "<=", "limit": 3.0, "observed": 1.0, "met": True, "unit": "s", **more}
        assert margin(item) is None and spent(item) is None, more
    assert spent({"op": "<=", "limit": 0, "observed": 0}) is None and margin({"op": "<=", "limit": 0, "observed": 0}) == 0


# ---- of an archive ----

def test_releases_of_an_archive_are_compared_by_name_folder_or_path(tmp_path: Path) -> None:
    reports = tmp_path / "reports"
    rows = [*series([1.0, 1.01, 0.99, 1.0, 1.02, 1.0]), made.release("last", {"P5.5": made.check("P5.5", {"slowest": 1.5}, limit=5000.0)})]
    places = made.sealed(reports, rows)
    found = compare(reports, "r5", "last")
    assert [(one.judged, one.n) for one in found.drifts] == [("worse", 6)], "all that came before r5, and r5"
    assert json.loads(json.dumps(found.to_dict()))["rows"] == json.loads(json.dumps(compare(reports, places[5].name, str(places[6])).to_dict()))["rows"]
    assert [one.n for one in compare(reports, "r5", "last", history=2).drifts] == [3] and [one.n for one in compare(reports, "r5", "last", 0).drifts] == [1]
    first = made.sealed(tmp_path / "old", series([5.0, 5.0, 5.0, 1.0, 1.0, 1.0, 1.5]))[0]
    assert [one.usual for one in compare(first.parent, "r5", "r6", history=2).drifts] == [1.0], "those just before it"
    back = compare(reports, "last", "r5")
    assert all(one.n == 6 for one in back.drifts), "the second release is no part of its own noise"
    with pytest.raises(NotFound, match="No sealed release is called 'r9'"):
        compare(reports, "r5", "r9")
