"""A call is found, decided, recorded, run and recorded again; what cannot be recorded does not run."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tools_stage import Stage, desk, set_stage

from suite.access.permission import Sensitivity
from suite.errors import ApprovalNeeded, BadRequest, Denied, NotFound, NotReady, StorageError, ToolFailed
from suite.tools.tool import Place, Tool, ToolResult, tool_of


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    found = set_stage(tmp_path)
    yield found
    found.storage.close()


def offer(stage: Stage, name: str, function: Any) -> Tool:
    """Register a function under a name for which the policy has a row."""
    return stage.tools.register(tool_of(function, name=name))


def stop_audit(stage: Stage, outcome: str = "%") -> None:
    """Let the database refuse audit entries of one outcome."""
    with stage.storage.begin() as connection:
        connection.exec_driver_sql(f"CREATE TRIGGER stop BEFORE INSERT ON audit WHEN NEW.outcome LIKE '{outcome}' "
                                   "BEGIN SELECT RAISE(FAIL, 'database or disk is full'); END")


def trail(stage: Stage) -> list[tuple[str, str, str]]:
    return [(event.actor, event.subject, event.outcome) for event in stage.audit.tail(100)]


def test_an_allowed_call_leaves_its_decision_and_its_outcome(stage: Stage) -> None:
    result = stage.tools.call("read_file", {"path": "README.md"})
    assert result.value["content"] == "# 안녕\n" and result.actor == "admin_user" and result.decision.allowed and result.seconds >= 0
    assert trail(stage) == [("admin_user", "read_file", "allowed"), ("admin_user", "read_file", "done")]
    done = stage.audit.get(result.audit_seq)
    assert done.outcome == "done" and done.detail["decision_seq"] == result.audit_seq - 1 and done.detail["result"]["bytes"] > 0
    assert done.detail["arguments"] == {"path": "README.md"} and stage.audit.verify().ok


def test_an_unknown_tool_is_not_found_and_recorded(stage: Stage) -> None:
    with pytest.raises(NotFound, match="'rm'"):
        stage.tools.call("rm", {"path": "x"})
    assert trail(stage) == [("admin_user", "rm", "failed")]


def test_a_stranger_is_denied_and_recorded(stage: Stage) -> None:
    with pytest.raises(Denied, match="'mallory' is not known"):
        stage.tools.call("list_files", {}, actor="mallory")
    assert trail(stage) == [("mallory", "list_files", "denied")]


def test_a_denied_call_does_not_run_nor_tell_what_it_takes(stage: Stage) -> None:
    ran = []
    offer(stage, "web_scrape", lambda: ran.append(1))
    with pytest.raises(Denied, match=r"web\.scrape"):
        stage.tools.call("web_scrape", {"odd": 1}, actor="guest_user")
    assert not ran and trail(stage) == [("guest_user", "web_scrape", "denied")]
    assert stage.tools.call("web_scrape", {}, actor="dev_user").actor == "dev_user" and ran == [1]


def test_a_sensitive_tool_asks_for_approval_and_does_not_run(stage: Stage) -> None:
    ran = []
    offer(stage, "write_file", lambda: ran.append(1))
    with pytest.raises(ApprovalNeeded, match="HIGH"):
        stage.tools.call("write_file")
    assert not ran and trail(stage)[-1] == ("admin_user", "write_file", "ask")


def test_strict_mode_asks_where_normal_mode_does_not(tmp_path: Path) -> None:
    stage = set_stage(tmp_path, security_mode="strict")
    with pytest.raises(ApprovalNeeded, match="strict"):
        stage.tools.call("read_file", {"path": "README.md"})
    assert stage.tools.call("list_files").value["count"] == 2
    assert stage.tools.info("read_file")["require_approval"] and not stage.tools.info("list_files")["require_approval"]
    stage.storage.close()


def test_without_rbac_a_guest_may_and_it_is_still_recorded(tmp_path: Path) -> None:
    stage = set_stage(tmp_path, rbac_enabled=False)
    offer(stage, "web_scrape", lambda: "page")
    assert "RBAC_ENABLED is false" in stage.tools.call("web_scrape", actor="guest_user").decision.reason
    with pytest.raises(Denied):
        stage.tools.call("web_scrape", actor="mallory")
    assert [row[2] for row in trail(stage)] == ["allowed", "done", "denied"]
    stage.storage.close()


def test_the_default_actor_is_the_setting_and_a_ceiling(tmp_path: Path) -> None:
    stage = set_stage(tmp_path, mcp_user_id="dev_user")
    assert stage.tools.call("list_files").actor == "dev_user"
    assert stage.tools.call("list_files", actor="guest_user").actor == "guest_user"
    with pytest.raises(Denied, match="'dev_user' may not act as 'admin_user'"):
        stage.tools.call("list_files", actor="admin_user")
    assert trail(stage)[-1] == ("admin_user", "list_files", "denied")
    stage.actors.change("dev_user", active=False)
    with pytest.raises(Denied):
        stage.tools.call("list_files", actor="guest_user")
    stage.storage.close()


def test_what_cannot_be_recorded_does_not_run(stage: Stage) -> None:
    ran = []
    offer(stage, "web_scrape", lambda: ran.append(1))
    stop_audit(stage)
    with pytest.raises(StorageError, match="full"):
        stage.tools.call("web_scrape")
    assert not ran


def test_an_outcome_that_cannot_be_recorded_withholds_the_result(stage: Stage) -> None:
    stop_audit(stage, "done")
    with pytest.raises(StorageError, match="full"):
        stage.tools.call("read_file", {"path": "README.md"})
    assert trail(stage) == [("admin_user", "read_file", "allowed")]
    with pytest.raises(StorageError, match="full"):
        stage.tools.call("list_files")
    assert trail(stage) == [("admin_user", "read_file", "allowed")], "both entries about a quick call that reads, or neither"


def quick(stage: Stage, name: str, function: Any, **changes: Any) -> None:
    """Register a function under the name of a quick tool, whose row of the policy is changed."""
    stage.tools.policy.tools[name] = replace(stage.tools.policy.tools[name], quick=True, **changes)
    offer(stage, name, function)


def test_both_entries_about_a_quick_call_that_reads_are_written_at_once(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, begin = [], stage.storage.quick.transaction
    monkeypatch.setattr(stage.storage.quick, "transaction", lambda: begun.append(1) or begin())
    result = stage.tools.call("list_files")
    allowed, done = stage.audit.tail(2)
    assert len(begun) == 1 and (allowed.outcome, done.outcome, done.detail["decision_seq"]) == ("allowed", "done", allowed.seq)
    assert (result.audit_seq, done.seq) == (done.seq, allowed.seq + 1) and stage.audit.verify().ok
    assert done.at >= allowed.at and done.detail["arguments"] == allowed.detail["arguments"]


def test_a_quick_tool_that_changes_something_or_needs_an_approval_is_recorded_before_it_runs(stage: Stage) -> None:
    seen: list[Any] = []
    quick(stage, "web_scrape", lambda: seen.append(trail(stage)[-1]), effect="changes")
    stage.tools.call("web_scrape")
    assert seen == [("admin_user", "web_scrape", "allowed")]
    quick(stage, "web_screenshot", lambda: seen.append(trail(stage)[-1]), effect="reads", sensitivity=Sensitivity.CRITICAL)
    with pytest.raises(ApprovalNeeded) as waiting:
        stage.tools.call("web_screenshot", actor="dev_user")
    desk(stage).approve(str(waiting.value.facts["approval"]), "for the test", key=stage.keys.create("admin_user")[1])
    stage.tools.call("web_screenshot", actor="dev_user")
    assert seen[1:] == [("dev_user", "web_screenshot", "allowed")]


def test_a_quick_tool_that_breaks_leaves_both_entries(stage: Stage) -> None:
    def breaks() -> None:
        raise KeyboardInterrupt

    def fails() -> None:
        raise ZeroDivisionError("of nothing")

    quick(stage, "web_scrape", fails, effect="reads")
    quick(stage, "web_screenshot", breaks, effect="reads")
    with pytest.raises(ToolFailed, match="the audit entry 1 has its arguments"):
        stage.tools.call("web_scrape")
    with pytest.raises(KeyboardInterrupt):
        stage.tools.call("web_screenshot")
    assert [row[2] for row in trail(stage)] == ["allowed", "failed", "allowed"] and stage.audit.tail(2)[0].detail["decision_seq"] == 1


def test_a_database_that_is_gone_is_a_storage_error_and_nothing_runs(stage: Stage) -> None:
    ran = []
    offer(stage, "web_scrape", lambda: ran.append(1))
    with stage.storage.begin() as connection:
        connection.exec_driver_sql("DROP TABLE audit")
    with pytest.raises(StorageError):
        stage.tools.call("web_scrape")
    assert not ran and not stage.tools.ready().ok and not stage.tools.deep().ok


@pytest.mark.parametrize(("arguments", "says"), [
    ({}, "needs the argument 'path'"), ({"path": "a", "mode": "w"}, "no argument 'mode'"),
    ({"path": 3}, "'path' of read_file must be of type string"),
    ({"path": None}, "must be of type string"), ({"path": True}, "must be of type string"),
    ([], "must be an object"), ("README.md", "must be an object"),
])
def test_wrong_arguments_are_named_and_recorded(stage: Stage, arguments: Any, says: str) -> None:
    with pytest.raises(BadRequest, match=says):
        stage.tools.call("read_file", arguments)
    assert trail(stage) == [("admin_user", "read_file", "failed")]


def test_a_tool_that_breaks_is_one_error_and_one_entry(stage: Stage) -> None:
    def breaks() -> None:
        raise ZeroDivisionError("of token=abcdef")

    offer(stage, "web_scrape", breaks)
    with pytest.raises(ToolFailed, match="ZeroDivisionError") as caught:
        stage.tools.call("web_scrape")
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert [row[2] for row in trail(stage)] == ["allowed", "failed"] and "abcdef" not in stage.audit.tail(1)[0].reason


def test_a_result_that_is_not_json_is_a_failure(stage: Stage) -> None:
    offer(stage, "web_scrape", lambda: object())
    offer(stage, "ai_chat", lambda: float("nan"))
    for name in ("web_scrape", "ai_chat"):
        with pytest.raises(ToolFailed):
            stage.tools.call(name)


def test_a_refusal_by_the_tool_itself_is_recorded_as_denied(stage: Stage) -> None:
    with pytest.raises(Denied):
        stage.tools.call("read_file", {"path": "../outside.txt"})
    with pytest.raises(NotFound):
        stage.tools.call("read_file", {"path": "none"})
    assert [row[2] for row in trail(stage)] == ["allowed", "denied", "allowed", "failed"]


def test_secret_arguments_do_not_reach_the_audit(stage: Stage) -> None:
    def scrape(url: str, token: str) -> str:
        return "fine"

    offer(stage, "web_scrape", scrape)
    stage.tools.call("web_scrape", {"url": "https://a:hunter2pw@b/", "token": "tok-12345"})
    with stage.storage.begin() as connection:
        stored = str(connection.exec_driver_sql("SELECT * FROM audit").all())
    assert "hunter2pw" not in stored and "tok-12345" not in stored and "web_scrape" in stored


def test_calls_from_many_threads_are_all_recorded_in_one_chain(stage: Stage) -> None:
    results: list[ToolResult] = []
    threads = [threading.Thread(target=lambda: results.extend(stage.tools.call("list_files") for _ in range(5))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len({result.audit_seq for result in results}) == 30 and stage.audit.verify().entries == 60 and stage.audit.verify().ok


def test_a_tool_without_a_row_in_the_policy_cannot_be_registered(stage: Stage) -> None:
    for name in ("format_disk", "read_file"):
        with pytest.raises(BadRequest, match=name):
            offer(stage, name, lambda: None)


def test_every_registered_tool_has_the_policy_s_sensitivity(stage: Stage) -> None:
    assert {(tool.name, tool.sensitivity, tool.permission) for tool in stage.tools.list()} == {
        ("list_files", "LOW", "file.list"), ("read_file", "MEDIUM", "file.read")}


def test_a_part_that_was_not_started_or_was_closed_takes_no_call(stage: Stage) -> None:
    assert stage.tools.live().ok
    stage.tools.close()
    with pytest.raises(NotReady):
        stage.tools.call("list_files")
    assert not stage.tools.live().ok and not stage.tools.ready().ok and not stage.tools.deep().ok
    stage.tools.start()
    assert stage.tools.call("list_files").value["count"] == 2 and stage.tools.ready().ok


def test_a_workspace_that_is_missing_makes_the_part_not_ready_with_the_reason(tmp_path: Path) -> None:
    stage = set_stage(tmp_path)
    stage.tools.workspace = tmp_path / "gone"
    stage.tools.start()
    state = stage.tools.ready()
    assert not state.ok and "WORKSPACE_DIR" in state.reasons[0]
    with pytest.raises(NotReady, match="WORKSPACE_DIR"):
        stage.tools.call("list_files")
    stage.storage.close()


def test_ready_tells_what_was_looked_at(stage: Stage) -> None:
    state = stage.tools.ready()
    assert state.ok and state.facts["tools"] == ["list_files", "read_file"] and state.facts["roles"] == ["admin", "developer", "guest"]


def test_deep_makes_an_allowed_and_a_denied_call_and_marks_both_as_probes(stage: Stage) -> None:
    state = stage.tools.deep()
    assert state.ok, state.reasons
    entries = stage.audit.tail(10)
    assert [(event.kind, event.outcome) for event in entries] == [("probe", "allowed"), ("probe", "done"), ("probe", "denied")]
    assert (state.facts["allowed_seq"], state.facts["denied_seq"]) == (2, 3)


def test_deep_fails_when_the_default_actor_is_gone_or_switched_off(stage: Stage) -> None:
    stage.actors.change("admin_user", active=False)
    assert "switched off" in stage.tools.deep().reasons[0]
    with stage.storage.begin() as connection:
        connection.exec_driver_sql("DELETE FROM actors")
    assert "not known" in stage.tools.deep().reasons[0]


def test_deep_fails_when_the_role_lost_its_permission(stage: Stage) -> None:
    stage.actors.change("admin_user", role="guest")
    stage.tools.policy.roles["guest"] = frozenset()
    assert "must be allowed was not" in stage.tools.deep().reasons[0]


def test_deep_fails_when_strangers_are_let_in(stage: Stage) -> None:
    from suite.tools.call import STRANGER

    stage.actors.add(STRANGER, "guest")
    assert "was allowed" in stage.tools.deep().reasons[0]


def test_deep_fails_when_the_audit_chain_was_changed(stage: Stage) -> None:
    stage.tools.call("list_files")
    with stage.storage.begin() as connection:
        connection.exec_driver_sql("UPDATE audit SET actor='eve' WHERE seq=1")
    assert "Entry 1 was changed" in stage.tools.deep().reasons[0]


def test_a_result_survives_json_and_shows_what_matters(stage: Stage) -> None:
    result = stage.tools.call("list_files")
    assert ToolResult.from_dict(result.to_dict()) == result
    assert "README.md" in repr(result) and "admin_user" in result._repr_html_()
    tool = stage.tools.list()[0]
    assert Tool.from_dict(tool.to_dict()) == tool


def test_a_tool_is_told_its_place_only_when_it_asks(stage: Stage) -> None:
    def where(place: Place) -> str:
        return str(place.cwd)

    offer(stage, "git_status", where)
    assert stage.tools.call("git_status", cwd=stage.workspace / "notes").value == str(stage.workspace / "notes")
    assert stage.tools.call("git_status", cwd=Path("/")).value == str(stage.workspace)
