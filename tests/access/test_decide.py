"""Who may do what: deny unless the policy says otherwise, and always say why."""

from __future__ import annotations

from pathlib import Path

import pytest

from suite.access.actor import Actor, Actors
from suite.access.decide import Decision, decide
from suite.access.permission import Sensitivity
from suite.access.policy import load_policy
from suite.errors import BadRequest, NotFound, SettingsError
from suite.storage.engine import open_storage

POLICY = load_policy()


def row(tool: str):
    found = POLICY.permission(tool)
    assert found is not None
    return found


def test_an_unknown_actor_is_denied_and_named() -> None:
    decision = decide(None, row("list_files"), POLICY, asked="mallory")
    assert decision.outcome == "deny" and "'mallory'" in decision.reason


@pytest.mark.parametrize("rbac", [True, False])
def test_an_inactive_actor_is_denied_whatever_the_roles(rbac: bool) -> None:
    decision = decide(Actor("old", "admin", active=False), row("list_files"), POLICY, rbac=rbac)
    assert decision.outcome == "deny" and "switched off" in decision.reason


def test_a_role_without_the_permission_is_denied() -> None:
    decision = decide(Actor("g", "guest"), row("write_file"), POLICY)
    assert decision.outcome == "deny" and "'file.write'" in decision.reason and "'guest'" in decision.reason


def test_a_role_that_the_policy_does_not_know_is_denied() -> None:
    assert decide(Actor("g", "king"), row("list_files"), POLICY).outcome == "deny"


def test_a_held_permission_of_low_sensitivity_is_allowed() -> None:
    decision = decide(Actor("g", "guest"), row("list_files"), POLICY)
    assert decision.allowed and "'file.list'" in decision.reason


@pytest.mark.parametrize(("mode", "level", "outcome"), [
    ("normal", "MEDIUM", "allow"), ("normal", "HIGH", "ask"), ("normal", "CRITICAL", "ask"),
    ("strict", "LOW", "allow"), ("strict", "MEDIUM", "ask"), ("strict", "HIGH", "ask"), ("no such mode", "MEDIUM", "ask"),
])
def test_the_security_mode_says_from_where_approval_is_needed(mode: str, level: str, outcome: str) -> None:
    tool = next(found for found in POLICY.tools.values() if found.sensitivity is Sensitivity[level])
    decision = decide(Actor("a", "admin"), tool, POLICY, mode=mode)
    assert decision.outcome == outcome and decision.reason.endswith(".")


def test_without_rbac_every_known_actor_may_and_the_reason_says_so() -> None:
    guest = Actor("g", "guest")
    scrape = row("web_scrape")
    assert decide(guest, scrape, POLICY).outcome == "deny"
    decision = decide(guest, scrape, POLICY, rbac=False)
    assert decision.allowed and "RBAC_ENABLED is false" in decision.reason


def test_without_rbac_sensitive_tools_still_need_approval() -> None:
    assert decide(Actor("g", "guest"), row("execute_bash"), POLICY, rbac=False).outcome == "ask"


def test_a_decision_without_a_reason_cannot_be_made() -> None:
    with pytest.raises(ValueError, match="reason"):
        Decision("allow", " ")


def test_a_decision_survives_json() -> None:
    decision = decide(None, row("list_files"), POLICY, asked="x")
    assert Decision.from_dict(decision.to_dict()) == decision


def test_each_role_may_do_what_the_one_below_may() -> None:
    assert POLICY.covers("admin", "developer") and POLICY.covers("developer", "guest")
    assert not POLICY.covers("guest", "developer") and not POLICY.covers("developer", "admin") and not POLICY.covers("nobody", "guest")
    assert len({tool.name for tool in POLICY.tools.values()}) == len(POLICY.tools)  # one permission per tool: one place to look


@pytest.mark.parametrize(("text", "says"), [
    ("[tools", "cannot be read"),
    ("[roles]", "malformed"),
    ('[tools]\nx = {permission="a", sensitivity="HUGE"}\n[roles]', "'HUGE'"),
    ('[tools]\n[roles.r]\npermissions=["b"]', "'b'"),
    ('[tools]\n[roles.r]\npermissions=[]\nincludes="r"', "circle"),
    ('[tools]\n[roles.r]\npermissions=[]\n[actors]\nann="queen"', "'queen'"),
])
def test_a_malformed_policy_is_refused_by_name(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "policy.toml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(SettingsError, match=says):
        load_policy(file)


@pytest.fixture
def actors(tmp_path: Path):
    storage = open_storage("", tmp_path)
    yield Actors(storage, POLICY)
    storage.close()


def test_an_empty_table_is_seeded_once(actors: Actors) -> None:
    assert actors.seed() == 4 and actors.seed() == 0
    assert {actor.name: actor.role for actor in actors.list()} == {"admin_user": "admin", "dev_user": "developer", "guest_user": "guest",
                                                                   "local-owner": "developer"}


def test_a_removed_actor_does_not_come_back_by_itself(actors: Actors) -> None:
    actors.add("ann", "guest")
    assert actors.seed() == 0 and [actor.name for actor in actors.list()] == ["ann"]


def test_a_change_of_an_actor_holds_at_once(actors: Actors) -> None:
    actors.seed()
    assert actors.change("dev_user", role="guest", active=False) == actors.find("dev_user")
    assert actors.find("dev_user").role == "guest" and not actors.find("dev_user").active


def test_bad_actors_are_refused(actors: Actors) -> None:
    actors.seed()
    for name, role in (("", "guest"), ("a b", "guest"), ("x" * 81, "guest"), ("new", "king"), ("dev_user", "guest")):
        with pytest.raises(BadRequest):
            actors.add(name, role)
    with pytest.raises(NotFound, match="ghost"):
        actors.change("ghost", active=False)
    assert actors.find("x\0y") is None and actors.find("' OR 1=1 --") is None


def test_an_actor_survives_json() -> None:
    actor = Actor("a", "guest", False, 1.5)
    assert Actor.from_dict(actor.to_dict()) == actor
