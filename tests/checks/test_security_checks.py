"""The checks of security on a real stack: they pass, leave nothing behind, and each fault breaks the condition that it is about."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fake_stack import FakeStack

from suite.bench import throwaway
from suite.checks import fault_hardening as hard
from suite.checks import fault_place as place
from suite.checks import fault_security as fault
from suite.checks.check import perform
from suite.checks.criteria import examine, load
from suite.checks.fault import WRONG_CHAT
from suite.checks.phase4 import CHECKS
from suite.checks.phase5_tool import TOOL

LIMITS = load()
BY_ID = {check.id: check for check in (*CHECKS, *TOOL) if check.id != "P4.2"}  # that one asks next to nothing of a stack: test_tested.py
BREAKS = {
    "P4.1": {fault.ROLES_OFF: "guest_writes", fault.APPROVALS_OFF: "high_call", fault.LIMITS_OFF: "flood", fault.LAX_MODE: "mode_weaker",
             fault.UNTOLD_ALERTS: "alertmanager_enabled", fault.BRIEF_LOG: "loki_retention"},
    "P4.3": {place.DAMAGED_MODEL: "models_altered", WRONG_CHAT: "served_altered", place.OPEN_FOLDER: "folders_open",
             place.MISSING_FOLDER: "folders_missing", place.STRANGE_OWNER: "owned_by_others", place.UNFIT_GROUND: "unfit_filesystems",
             place.OPEN_MODELS: "models_open", place.MOVED_DATABASE: "database_there", place.GONE_PROCESS: "same_user"},
    "P4.4": {fault.OPEN_DOOR: "opened_by_wrong_token", fault.FOREIGN_HOST: "opened_by_foreign_host", hard.FOREIGN_ORIGIN: "opened_by_foreign_origin",
             hard.OPEN_SOCKET: "beyond_loopback", fault.LOOSE_FILE: "readable_by_others", fault.LOGGED_TOKEN: "token_in_logs",
             fault.EDITED_AUDIT: "audit_whole", hard.PLAIN_LINK: "unencrypted_links", hard.OLD_KEY: "key_age", hard.LOOSE_SETTINGS: "settings_readable",
             hard.OLD_BACKUP: "backup_age", hard.FEWER_RULES: "rules_missing", hard.UNREADY_FOR_PROD: "models_in_this_process"},
    "P5.4": {fault.ALTERED_BYTES: "bytes_different", fault.LEFT_WORKSPACE: "read_outside", fault.TRUSTED_NAMES: "denied_actor",
             fault.APPROVALS_OFF: "sensitive_call", fault.LIMITS_OFF: "flood"},
}


def broken(result: Any) -> set[str]:
    """The conditions that do not hold."""
    return {sentence.split(" is ")[0] for sentence in result.why.split("; ")}


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    (tmp_path / "work").mkdir()
    return tmp_path / "work"


def test_every_fault_of_these_checks_is_tried() -> None:
    assert {identity: {check.fault, *check.others} for identity, check in BY_ID.items()} == {identity: set(faults) for identity, faults in BREAKS.items()}


def test_a_healthy_stack_passes_them_and_is_as_it_was_afterwards(models_dir: Path, workspace: Path) -> None:
    with throwaway(profile="smoke", models_dir=str(models_dir), workspace_dir=str(workspace)) as (stack, target):
        for identity, check in BY_ID.items():
            result = perform(check, target, LIMITS[identity])
            assert result.state == "pass", (identity, result.why)
            assert examine(result.to_dict(), LIMITS) == ("pass", [])
        assert list(workspace.iterdir()) == [] and stack.approvals.list() == []
        assert {row.state for row in stack.approvals.list("")} == {"cancelled"}


@pytest.mark.parametrize("identity", sorted(BREAKS))
def test_each_fault_breaks_the_condition_that_it_is_about(models_dir: Path, workspace: Path, identity: str) -> None:
    for broke, condition in BREAKS[identity].items():
        with throwaway(profile="smoke", models_dir=str(models_dir), workspace_dir=str(workspace)) as (stack, target):
            stack.tools.call("list_files")  # so that there is an entry to edit
            broke.inject(stack)
            result = perform(BY_ID[identity], target, LIMITS[identity])
            assert result.state == "fail" and condition in broken(result), (broke.sentence, result.why)


@pytest.mark.parametrize("identity", sorted(BREAKS))
def test_a_stack_of_another_make_does_not_say_what_holds(identity: str) -> None:
    target = FakeStack(foreign=True).target()
    result = perform(BY_ID[identity], target, LIMITS[identity])
    target.close()
    assert result.state == "not-applicable" and examine(result.to_dict(), LIMITS) == ("not-applicable", [])


@pytest.mark.parametrize(("settings", "condition"), [
    ({"sandbox_enabled": False}, "sandbox_enabled"), ({"stage": "prod", "security_mode": "normal"}, "mode_weaker"), ({"rate_limit_enabled": False}, "flood"),
    ({"monitoring_enabled": False}, "targets_watched"), ({"alertmanager_enabled": False}, "alerts_port"), ({"loki_retention": 7}, "loki_retention"),
])
def test_settings_that_the_stage_does_not_allow_fail(models_dir: Path, workspace: Path, settings: dict[str, Any], condition: str) -> None:
    with throwaway(profile="smoke", models_dir=str(models_dir), workspace_dir=str(workspace), **settings) as (_, target):
        result = perform(BY_ID["P4.1"], target, LIMITS["P4.1"])
    assert result.state == "fail" and condition in broken(result), result.why
