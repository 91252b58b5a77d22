"""What does not hold may be answered for until a day: a check, one of its conditions; never more than that, and never as a pass."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pytest

from suite.checks.check import Check, Observation, perform
from suite.checks.criteria import Criteria, Criterion, Waiver, Waivers, examine, load
from suite.checks.fault import CLOSED_PORT
from suite.checks.target import Target
from suite.errors import SettingsError

NOWHERE = Target({})
LATE, EARLY = datetime.date(9000, 1, 1), datetime.date(2001, 1, 1)
KIM, GONE = Waiver("kim", LATE, "known"), Waiver("lee", EARLY, "known then")
TEXT = """
["P9.9"]
reason = "a test"
weight = 3
conditions = [
    { name = "a", op = "<=", limit = 3, unit = "s", reason = "r" },
    { name = "b", op = "==", limit = true, unit = "", reason = "r" },
]
"""


def seen(tmp_path: Path, values: dict[str, Any], waivers: Waivers = Waivers(), error: Exception | None = None) -> tuple[Any, Criteria]:  # noqa: B008
    """What comes of a check that sees these values, and the criteria it was judged by."""
    (tmp_path / "limits.toml").write_text(TEXT, encoding="utf-8")
    row = load(tmp_path / "limits.toml")["P9.9"]
    limits = Criteria({"P9.9": Criterion(row.id, row.reason, row.conditions, weight=3, waivers=waivers)}, "test")

    def function(_: Target, observation: Observation) -> None:
        observation.values.update(values)
        if error is not None:
            raise error

    return perform(Check("P9.9", "A test", 9, "security", 3, CLOSED_PORT, function), NOWHERE, limits["P9.9"]), limits


@pytest.mark.parametrize(("values", "waivers", "state"), [
    ({"a": 4, "b": True}, Waivers(conditions={"a": KIM}), "waived"),
    ({"a": 4, "b": False}, Waivers(conditions={"a": KIM}), "fail"),  # nobody answers for b
    ({"a": 4, "b": False}, Waivers(conditions={"a": KIM, "b": KIM}), "waived"),
    ({"a": 4, "b": True}, Waivers(conditions={"b": KIM}), "fail"),
    ({"a": 4, "b": True}, Waivers(conditions={"a": GONE}), "fail"),  # an expired waiver is none
    ({"a": 4, "b": True}, Waivers(conditions={"a": GONE}, whole=KIM), "waived"),
    ({"a": 3, "b": True}, Waivers(KIM, {"a": KIM}), "pass"),
    ({"a": 4, "b": True}, Waivers(looser=KIM), "fail"),  # that one is about limits
])
def test_a_waiver_of_a_condition_answers_for_it_alone(values: dict[str, Any], waivers: Waivers, state: str, tmp_path: Path) -> None:
    result, limits = seen(tmp_path, values, waivers)
    assert result.state == state, result.why
    assert examine(result.to_dict(), limits) == (state, [])


def test_a_check_that_raised_is_waived_as_a_whole_only(tmp_path: Path) -> None:
    broken = {"a": 4, "b": True}
    assert seen(tmp_path, broken, Waivers(conditions={"a": KIM}), ValueError("x"))[0].state == "fail"
    assert seen(tmp_path, broken, Waivers(KIM), ValueError("x"))[0].state == "waived"
    assert seen(tmp_path, {"a": 1, "b": True}, Waivers(conditions={"a": KIM, "b": KIM}), ValueError("x"))[0].state == "fail"


def test_the_result_names_who_answers_and_what_has_expired(tmp_path: Path) -> None:
    result, _ = seen(tmp_path, {"a": 4, "b": False}, Waivers(conditions={"a": KIM, "b": GONE}))
    assert [(item["name"], item["condition"], item["owner"]) for item in result.evidence if "expiry" in item] == [
        ("waiver", "a", "kim"), ("expired-waiver", "b", "lee")]
    assert "a waived by kim until 9000-01-01: known" in result.why and "lee's waiver of b expired on 2001-01-01" in result.why


def test_a_waiver_holds_to_the_end_of_its_day() -> None:
    waiver = Waiver("kim", datetime.date(2027, 1, 31), "known")
    assert waiver.holds("2027-01-31") and not waiver.holds("2027-02-01")


def test_a_file_of_its_own_adds_waivers_and_wins_over_those_of_the_criteria(tmp_path: Path) -> None:
    limits, mine = tmp_path / "limits.toml", tmp_path / "mine.toml"
    limits.write_text(TEXT + "waivers = { a = { owner = 'old', expiry = 2026-01-01, reason = 'r' } }\n", encoding="utf-8")
    mine.write_text("""["P9.9".waivers.a]\nowner = "kim"\nexpiry = 2027-01-31\nreason = "the new disk comes in January"\n
["P9.9".looser]\nowner = "lee"\nexpiry = 2027-01-31\nreason = "agreed"\n""", encoding="utf-8")
    found = load(limits, waivers=mine)["P9.9"].waivers
    assert found.of("a", "2027-01-31").owner == "kim" and found.looser.owner == "lee" and found.whole is None
    assert load(limits)["P9.9"].waivers.of("a", "2026-01-01").owner == "old"
    assert load(limits, waivers=mine).digest != load(limits).digest


@pytest.mark.parametrize(("text", "said"), [
    ("['P9.9'", "cannot be read"), ("['P9.9']\nweight = 1\n", "has 'weight' but a waivers file holds only"), ("owner = 'kim'\n", "has 'owner'"),
    ("['P9.8'.waiver]\nowner='kim'\nexpiry=2027-01-31\nreason='r'\n", "speaks of 'P9.8', which no check is called; did you mean P9.9"),
    ("['P9.9'.waivers.c]\nowner='kim'\nexpiry=2027-01-31\nreason='r'\n", "waives 'c', which none of its conditions is called; there are a, b"),
    ("['P9.9'.waiver]\nowner='kim'\nreason='r'\n", "needs `owner`, `expiry`"),
])
def test_a_malformed_waivers_file_is_refused_with_its_name_in_one_sentence(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "limits.toml").write_text(TEXT, encoding="utf-8")
    (tmp_path / "mine.toml").write_text(text, encoding="utf-8")
    with pytest.raises(SettingsError, match=said) as caught:
        load(tmp_path / "limits.toml", waivers=tmp_path / "mine.toml")
    assert "mine.toml" in str(caught.value) and "\n" not in str(caught.value).strip()


def test_a_missing_waivers_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"nowhere\.toml.*WAIVERS"):
        load(waivers=tmp_path / "nowhere.toml")
