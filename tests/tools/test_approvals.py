"""A sensitive call waits; a grant is good for one call of one actor with exactly these arguments, until it expires, and across a restart."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tools_stage import Stage, open_stage, set_stage

from suite.access.approval import Approval, Wish
from suite.access.approvals import Approvals
from suite.access.caller import Caller
from suite.access.opening import Openings
from suite.errors import ApprovalNeeded, BadRequest, Denied, NotFound, NotPending, StorageError, TooMany
from suite.tools.call import Tools
from suite.tools.tool import tool_of

OWNER, ADMIN, DEV = "local-owner", Caller("admin_user", "k1"), Caller("dev_user", "k2")
RAN: list[dict[str, Any]] = []


def write_file(path: str, content: str = "") -> dict[str, Any]:
    RAN.append({"path": path, "content": content})
    return {"path": path}


def stage_at(root: Path, **settings: object) -> Stage:
    RAN.clear()
    stage = set_stage(root, mcp_user_id=OWNER, **settings)
    return offer(stage)


def offer(stage: Stage) -> Stage:
    stage.tools._tools.pop("write_file", None)
    stage.tools.register(tool_of(write_file))
    return stage


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    found = stage_at(tmp_path)
    yield found
    found.storage.close()


def asked(stage: Stage, caller: Caller | None = None, **arguments: Any) -> str:
    """Make a call that has to wait, and give the id of its approval."""
    with pytest.raises(ApprovalNeeded) as waits:
        stage.tools.call("write_file", arguments or {"path": "a"}, caller=caller)
    return str(waits.value.facts["approval"])


def trail(stage: Stage, n: int) -> list[tuple[str, str, str]]:
    return [(event.actor, event.kind, event.outcome) for event in stage.audit.tail(n)]


def test_a_call_waits_is_approved_by_another_and_runs_once(stage: Stage) -> None:
    id = asked(stage, path="a", content="x")
    [waiting] = stage.tools.approver.list(ADMIN, state="pending")
    assert waiting.id == id and waiting.arguments == {"path": "a", "content": "x"} and waiting.actor == OWNER and RAN == []
    assert waiting.expires - waiting.requested == 300 and Approval.from_dict(waiting.to_dict()).id == id and "digest" not in waiting.to_dict()
    granted = stage.tools.approver.approve(id, "looks right", ADMIN)
    assert (granted.state, granted.decided_by, granted.rule, granted.reason) == ("approved", "admin_user", "approver", "looks right")
    result = stage.tools.call("write_file", {"path": "a", "content": "x"})
    assert RAN == [{"path": "a", "content": "x"}] and id in result.decision.reason and "looks right" in result.decision.reason
    assert trail(stage, 4) == [(OWNER, "tool_call", "ask"), ("admin_user", "approval", "allowed"), (OWNER, "tool_call", "allowed"), (OWNER, "tool_call", "done")]
    assert asked(stage, path="a", content="x") != id and len(RAN) == 1 and stage.tools.approver.look(id, ADMIN).state == "used"


def test_who_asks_again_gets_the_same_approval(stage: Stage) -> None:
    assert asked(stage) == asked(stage) and len(stage.tools.approver.list(ADMIN)) == 1


@pytest.mark.parametrize("changed", [{"path": "b"}, {"path": "a", "content": "y"}, {"path": "a", "content": ""}, {"path": "A"}, {"path": "a "}])
def test_a_grant_is_not_for_other_arguments(stage: Stage, changed: dict[str, str]) -> None:
    stage.tools.approver.approve(asked(stage), "ok", ADMIN)
    asked(stage, **changed)
    assert RAN == []
    stage.tools.call("write_file", {"path": "a"})
    assert len(RAN) == 1


def test_a_grant_is_not_for_another_actor_folder_or_tool(stage: Stage) -> None:
    stage.tools.approver.approve(asked(stage), "ok", ADMIN)
    asked(stage, DEV)
    with pytest.raises(ApprovalNeeded):
        stage.tools.call("write_file", {"path": "a"}, cwd=stage.workspace / "notes")
    stage.tools.register(tool_of(write_file, name="run_runbook"))
    with pytest.raises(ApprovalNeeded):
        stage.tools.call("run_runbook", {"path": "a"})
    assert RAN == []


def test_a_grant_and_a_request_expire(tmp_path: Path) -> None:
    clock = [1000.0]
    stage = set_stage(tmp_path)
    approvals = Approvals(stage.storage, 300, 50, lambda: clock[0])
    wish = Wish("ann", "write_file", {"path": "a"}, "/w")
    first, fresh = approvals.ask(wish, "why")
    assert fresh and not approvals.ask(wish, "why")[1]
    clock[0] += 300
    assert approvals.get(first.id).state == "expired" and approvals.list("expired") and not approvals.list("pending")
    with pytest.raises(NotPending, match="expired"):
        approvals.decide(first.id, "approved", "bob", "approver", "late")
    second, fresh = approvals.ask(wish, "why")
    assert fresh
    approvals.decide(second.id, "approved", "bob", "approver", "ok")
    clock[0] += 299
    other = Wish("ann", "write_file", {"path": "a"}, "/x")
    assert approvals.take(other) is None
    clock[0] += 1
    assert approvals.take(wish) is None and approvals.get(second.id).state == "expired"
    stage.storage.close()


@pytest.mark.parametrize("id", ["", "0" * 36, "%", "________", "' OR 1=1 --", "\0", "../../x", "7" * 8])
def test_a_forged_id_decides_nothing(stage: Stage, id: str) -> None:
    asked(stage)
    with pytest.raises(NotFound):
        stage.tools.approver.approve(id, "ok", ADMIN)
    with pytest.raises(ApprovalNeeded):
        stage.tools.call("write_file", {"path": "a"})


def test_the_beginning_of_an_id_is_enough_and_less_is_not(stage: Stage) -> None:
    id = asked(stage)
    with pytest.raises(NotFound):
        stage.tools.approver.approve(id[:7], "ok", ADMIN)
    assert stage.tools.approver.approve(id[:8], "ok", ADMIN).id == id


def test_what_was_decided_is_not_decided_again(stage: Stage) -> None:
    id = asked(stage)
    assert stage.tools.approver.reject(id, "no", ADMIN).state == "rejected"
    for decide in (stage.tools.approver.approve, stage.tools.approver.reject):
        with pytest.raises(NotPending, match="is rejected"):
            decide(id, "again", ADMIN)
    assert trail(stage, 1) == [("admin_user", "approval", "failed")] and RAN == []
    asked(stage)


def test_of_two_approvers_at_once_one_decides(stage: Stage) -> None:
    id, outcomes, start = asked(stage), [], threading.Barrier(2)

    def decide(state: str) -> None:
        start.wait(20)
        try:
            (stage.tools.approver.approve if state == "approved" else stage.tools.approver.reject)(id, "me", ADMIN)
            outcomes.append(state)
        except NotPending:
            outcomes.append("late")

    threads = [threading.Thread(target=decide, args=(state,)) for state in ("approved", "rejected")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    [won] = [state for state in outcomes if state != "late"]
    assert len(outcomes) == 2 and stage.tools.approver.look(id, ADMIN).state == won


def test_of_two_calls_at_once_one_uses_the_grant(stage: Stage) -> None:
    stage.tools.approver.approve(asked(stage), "ok", ADMIN)
    start, outcomes = threading.Barrier(4), []

    def call() -> None:
        start.wait(20)
        try:
            stage.tools.call("write_file", {"path": "a"})
            outcomes.append("ran")
        except ApprovalNeeded:
            outcomes.append("waits")

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(outcomes) == ["ran", "waits", "waits", "waits"] and len(RAN) == 1


@pytest.mark.parametrize("settings", [{"stage": "staging"}, {"stage": "prod", "security_mode": "normal"}, {"security_mode": "strict"}])
def test_nobody_approves_their_own_call_outside_of_stage_dev(tmp_path: Path, settings: dict[str, str]) -> None:
    stage = stage_at(tmp_path, **settings)
    id = asked(stage)
    with pytest.raises(Denied, match="asked for this call"):
        stage.tools.approver.approve(id, "mine", stage.tools.owner())
    assert trail(stage, 1) == [(OWNER, "approval", "denied")]
    stage.tools.approver.approve(id, "ok", ADMIN)
    stage.storage.close()


def test_in_stage_dev_the_owner_confirms_and_the_record_says_so(stage: Stage) -> None:
    granted = stage.tools.approver.approve(asked(stage), "I want this", stage.tools.owner())
    assert granted.rule == "owner-confirm" and stage.audit.tail(1)[0].detail["rule"] == "owner-confirm"
    assert "owner-confirm" in stage.tools.call("write_file", {"path": "a"}).decision.reason


def test_a_key_does_not_confirm_its_own_call_not_even_an_administrators(stage: Stage) -> None:
    for caller in (ADMIN, DEV, Caller(OWNER, "k3")):
        id = asked(stage, caller)
        with pytest.raises(Denied, match="asked for this call"):
            stage.tools.approver.approve(id, "mine", caller)
        assert stage.tools.approver.cancel(id, caller).state == "cancelled"


def test_who_may_not_decide_is_denied_and_recorded(stage: Stage) -> None:
    id = asked(stage)
    for caller, says in ((DEV, "'approvals.decide'"), (Caller("guest_user", "g"), "'approvals.decide'"), (Caller("mallory", "m"), "not known")):
        for decide in (stage.tools.approver.approve, stage.tools.approver.reject):
            with pytest.raises(Denied, match=says):
                decide(id, "ok", caller)
    assert trail(stage, 6)[0] == ("dev_user", "approval", "denied") and stage.tools.approver.look(id, ADMIN).state == "pending"
    with pytest.raises(Denied, match=r"approvals\.view"):
        stage.tools.approver.list(Caller("guest_user", "g"))
    with pytest.raises(Denied, match=r"approvals\.view"):
        stage.tools.approver.look(id, Caller("guest_user", "g"))


@pytest.mark.parametrize("reason", ["", "  \n", "x" * 1001])
def test_a_decision_needs_a_reason_that_can_be_kept(stage: Stage, reason: str) -> None:
    id = asked(stage)
    with pytest.raises(BadRequest, match="reason"):
        stage.tools.approver.approve(id, reason, ADMIN)
    assert stage.tools.approver.look(id, ADMIN).state == "pending"


def test_a_grant_survives_a_restart(tmp_path: Path) -> None:
    stage = stage_at(tmp_path)
    stage.tools.approver.approve(asked(stage), "ok", ADMIN)
    stage.storage.close()
    again = offer(open_stage(tmp_path, mcp_user_id=OWNER))
    again.tools.call("write_file", {"path": "a"})
    assert len(RAN) == 1
    again.storage.close()


def test_no_more_than_the_most_wait(tmp_path: Path) -> None:
    stage = stage_at(tmp_path, approval_max_pending=3, rate_limit_enabled=False)
    for number in range(3):
        asked(stage, path=str(number))
    with pytest.raises(TooMany, match="3 calls wait for an approval already") as refused:
        stage.tools.call("write_file", {"path": "one too many"})
    assert 1 <= refused.value.facts["retry_after"] <= 300 and trail(stage, 1) == [(OWNER, "tool_call", "denied")]
    asked(stage, path="1")  # one that waits already is no further one
    stage.storage.close()


def test_secrets_are_masked_for_whoever_decides_and_still_bind_the_grant(stage: Stage) -> None:
    id = asked(stage, path="a", content="password=hunter2")
    assert "hunter2" not in repr(stage.tools.approver.look(id, ADMIN).to_dict()) and "hunter2" not in repr(stage.audit.tail(9))
    stage.tools.approver.approve(id, "ok", ADMIN)
    asked(stage, path="a", content="password=hunter3")
    stage.tools.call("write_file", {"path": "a", "content": "password=hunter2"})
    assert RAN[-1]["content"] == "password=hunter2"


def test_a_decision_that_cannot_be_recorded_is_not_made(stage: Stage) -> None:
    id = asked(stage)
    with stage.storage.begin() as connection:
        connection.exec_driver_sql("CREATE TRIGGER full BEFORE INSERT ON audit BEGIN SELECT RAISE(ABORT, 'no room'); END")
    with pytest.raises(StorageError):
        stage.tools.approver.approve(id, "ok", ADMIN)
    with stage.storage.begin() as connection:
        connection.exec_driver_sql("DROP TRIGGER full")
    assert stage.tools.approver.look(id, ADMIN).state == "pending"


def test_without_the_workflow_a_call_goes_ahead_and_the_record_says_why(tmp_path: Path) -> None:
    stage = stage_at(tmp_path, approval_workflow_enabled=False)
    result = stage.tools.call("write_file", {"path": "a"})
    assert "APPROVAL_WORKFLOW_ENABLED is false" in result.decision.reason and "APPROVAL_WORKFLOW_ENABLED" in stage.audit.tail(2)[0].reason
    assert not stage.tools.info("write_file")["require_approval"]
    stage.storage.close()


def test_everything_is_approved_only_by_an_administrators_key_for_a_time_and_loudly(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    openings = stage.tools.openings
    for caller in (DEV, stage.tools.owner(), Caller("admin_user")):  # the last: an administrator without a key
        with pytest.raises(Denied):
            openings.open(5, "fire", caller)
    for minutes, reason in ((0, "fire"), (61, "fire"), (float("nan"), "fire"), (5, " ")):
        with pytest.raises(BadRequest):
            openings.open(minutes, reason, ADMIN)
    assert openings.now() is None
    asked(stage)
    openings.open(5, "the archive burns", ADMIN)
    assert "ALERT: admin_user approved all calls for 5 minutes" in caplog.text
    assert "the archive burns" in stage.tools.call("write_file", {"path": "a"}).decision.reason
    assert openings.close(ADMIN) is not None and openings.now() is None
    asked(stage, path="b")
    assert [event.outcome for event in stage.audit.tail(50) if event.kind == "approve_all"] == ["denied"] * 3 + ["allowed"] * 2


def test_such_a_time_ends_by_itself(tmp_path: Path) -> None:
    stage, clock = set_stage(tmp_path), [1000.0]
    openings = Openings(stage.storage, stage.actors, stage.audit, lambda: clock[0])
    openings.open(2, "fire", ADMIN)
    clock[0] += 119
    assert openings.now() is not None
    clock[0] += 1
    assert openings.now() is None
    stage.storage.close()


def test_limits_refuse_record_and_can_be_switched_off(tmp_path: Path) -> None:
    stage = stage_at(tmp_path)
    for _ in range(70):
        stage.tools.call("list_files")
    with pytest.raises(TooMany):
        stage.tools.call("list_files")
    assert trail(stage, 1) == [(OWNER, "tool_call", "denied")]
    used = stage.tools.used("list_files")
    assert (used["current_count"], used["max_requests"], used["burst_size"], used["remaining"]) == (70, 60, 10, 0)
    stage.tools.call("list_files", caller=DEV)  # another's calls are counted by themselves
    assert stage.tools.used("list_files", "dev_user")["current_count"] == 1
    free = Tools(stage.audit, stage.actors, stage.workspace, open_stage(tmp_path, mcp_user_id=OWNER, rate_limit_enabled=False).settings)
    free.start()
    for _ in range(80):
        free.call("list_files")
    assert not free.used("list_files")["enabled"]
    stage.storage.close()
