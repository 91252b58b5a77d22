"""The permission matrix, cell by cell: 3 roles times 28 permissions, written down here a second time, and each decided in a real pipeline."""

from __future__ import annotations

import pytest

from suite.access.actor import Actor
from suite.access.decide import decide, decide_act
from suite.access.mode import MODES, OF_STAGE
from suite.access.permission import Sensitivity
from suite.access.policy import load_policy

POLICY = load_policy()
# tool or act, permission, sensitivity, and the least role that may
MATRIX = [
    ("read_file", "file.read", "MEDIUM", "guest"), ("list_files", "file.list", "LOW", "guest"), ("write_file", "file.write", "HIGH", "developer"),
    ("execute_python", "python.run", "CRITICAL", "developer"), ("execute_bash", "shell.run", "CRITICAL", "developer"),
    ("git_status", "git.status", "LOW", "guest"), ("git_log", "git.log", "LOW", "guest"), ("git_diff", "git.diff", "MEDIUM", "guest"),
    ("git_add", "git.add", "MEDIUM", "developer"), ("git_commit", "git.commit", "HIGH", "admin"),
    ("rag_search", "knowledge.search", "LOW", "guest"), ("ai_chat", "model.chat", "LOW", "guest"),
    ("get_current_model", "model.read", "LOW", "developer"), ("switch_model", "model.switch", "HIGH", "admin"),
    ("web_screenshot", "web.screenshot", "MEDIUM", "developer"), ("web_scrape", "web.scrape", "MEDIUM", "developer"),
    ("web_analyze_ui", "web.analyze", "MEDIUM", "developer"), ("web_automate", "web.automate", "HIGH", "admin"),
    ("notion_search", "notion.search", "MEDIUM", "admin"), ("notion_create_page", "notion.create", "MEDIUM", "admin"),
    ("web_to_notion", "notion.import", "MEDIUM", "admin"),
    ("memory_search", "memory.search", "MEDIUM", "developer"), ("memory_save", "memory.save", "MEDIUM", "developer"),
    ("run_runbook", "runbook.run", "HIGH", "developer"),
    ("", "approvals.view", "", "developer"), ("", "approvals.decide", "", "admin"), ("", "audit.read", "", "admin"), ("", "access.admin", "", "admin"),
]
ROLES = ("guest", "developer", "admin")
CELLS = [(role, *row) for role in ROLES for row in MATRIX]


def test_the_matrix_has_every_permission_once() -> None:
    assert len(MATRIX) == 28 and sorted(POLICY.permissions) == sorted(row[1] for row in MATRIX) and set(POLICY.roles) == set(ROLES)
    assert {tool: (row.name, row.sensitivity.name) for tool, row in POLICY.tools.items()} == {row[0]: row[1:3] for row in MATRIX if row[0]}


@pytest.mark.parametrize(("role", "tool", "permission", "level", "least"), CELLS, ids=[f"{cell[0]}-{cell[2]}" for cell in CELLS])
def test_a_cell(role: str, tool: str, permission: str, level: str, least: str) -> None:
    may, actor = ROLES.index(role) >= ROLES.index(least), Actor("somebody", role)
    if not tool:
        decision = decide_act(actor, permission, POLICY)
        assert decision.outcome == ("allow" if may else "deny") and repr(permission) in decision.reason
        return
    for mode in MODES.values():
        decision = decide(actor, POLICY.tools[tool], POLICY, mode=mode.name)
        expected = "deny" if not may else "ask" if Sensitivity[level] >= mode.ask_from else "allow"
        assert decision.outcome == expected and repr(permission) in decision.reason, (mode, decision)


@pytest.mark.parametrize(("mode", "asks", "owner_confirm", "weaker"), [
    ("legacy", ["CRITICAL"], True, True), ("normal", ["HIGH", "CRITICAL"], True, True), ("strict", ["MEDIUM", "HIGH", "CRITICAL"], False, False),
])
def test_each_mode_has_one_meaning(mode: str, asks: list[str], owner_confirm: bool, weaker: bool) -> None:
    found = MODES[mode]
    assert [level.name for level in Sensitivity if level >= found.ask_from] == asks
    assert (found.owner_confirm, found.weaker_sandbox) == (owner_confirm, weaker) and len(MODES) == 3


def test_stages_take_the_modes_that_the_report_recommends() -> None:
    assert OF_STAGE == {"dev": "normal", "staging": "normal", "prod": "strict"}


def test_an_act_is_denied_to_who_is_unknown_or_switched_off() -> None:
    assert decide_act(None, "audit.read", POLICY, asked="mallory").reason.startswith("Actor 'mallory' is not known")
    assert "switched off" in decide_act(Actor("old", "admin", active=False), "audit.read", POLICY).reason
