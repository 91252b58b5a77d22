"""What becomes of the stack itself stands on the audit trail: starts, stops, kills, restarts, another policy, other settings."""

from __future__ import annotations

import logging
import os
import re
import signal
import sqlite3
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from test_guests import START, wait_until
from tools_stage import set_stage

import suite
from kernels import Process
from suite.access.lifecycle import STACK, Lifecycle
from suite.access.policy import load_policy
from suite.errors import BadRequest, SettingsError, StorageError, SuiteError
from suite.settings import TABLE

OURS = ("start", "stop", "restart", "policy", "settings")
PACKAGED = Path(suite.__file__).parent / "access" / "policy.toml"
REFUSE = "CREATE TRIGGER stop BEFORE INSERT ON audit WHEN NEW.kind = '{}' BEGIN SELECT RAISE(ABORT, 'disk full'); END"


@pytest.fixture
def env(models_dir: Path, tmp_path: Path) -> dict[str, str]:
    (tmp_path / "work").mkdir()
    return {"DATA_DIR": str(tmp_path / "data"), "MODELS_DIR": str(models_dir), "SUITE_PORT_BASE": "auto", "WORKSPACE_DIR": str(tmp_path / "work")}


@pytest.fixture
def given(env: dict[str, str]) -> dict[str, str]:
    """The same as arguments of `suite.start()`."""
    return {name.lower().removeprefix("suite_"): value for name, value in env.items()}


def trail(data: str | Path) -> list[tuple[Any, ...]]:
    """Kind, subject, outcome, reason and detail of the entries that are about the stack, read past the suite."""
    with sqlite3.connect(Path(data, "sqlite", "suite.db")) as connection:
        found = connection.execute("SELECT kind, subject, outcome, reason, detail, actor FROM audit ORDER BY seq").fetchall()
    connection.close()
    return [row[:5] for row in found if row[0] in OURS and row[5] == STACK]


def kinds(data: str | Path) -> list[str]:
    return [row[0] for row in trail(data)]


def test_a_start_and_a_stop_are_an_entry_each_and_the_stop_is_the_last(given: dict[str, str]) -> None:
    bench = suite.start(**given)
    [started] = bench._behind.audit.find(9, kind="start")
    assert bench._behind.audit.tail(100)[0] == started, "nothing is written before it"
    assert (started.actor, started.subject, started.outcome, started.detail["version"]) == (STACK, given["data_dir"], "done", suite.__version__)
    under = started.detail["settings"]
    assert {name: under[name] for name in ("stage", "security_mode", "rbac_enabled", "rate_limit_enabled", "sandbox_enabled", "approval_workflow_enabled")} == {
        "stage": "dev", "security_mode": "normal", "rbac_enabled": True, "rate_limit_enabled": True, "sandbox_enabled": True, "approval_workflow_enabled": True}
    assert re.fullmatch("[0-9a-f]{64}", started.detail["policy"]) and started.detail["policy"] == load_policy().digest
    assert (started.detail["host"], started.detail["pid"]) == (bench.status()["host"]["id"], os.getpid())
    assert started.detail["previous_ended"] is None and "no start stands on this trail before it" in started.reason
    bench.tools.call("list_files")
    bench.stop()
    bench.stop()
    assert kinds(given["data_dir"]) == ["start", "stop"] and trail(given["data_dir"])[1][2] == "done"
    again = suite.start(**given)
    assert [event.kind for event in again._behind.audit.tail(100)] == ["start", "tool_call", "tool_call", "stop", "start"]
    second = again._behind.audit.tail(1)[0]
    assert second.detail["previous_ended"] is True and second.detail["previous"] == 1 and "(entry 1) was stopped" in second.reason
    assert again._behind.audit.verify().ok
    again.stop()


def test_after_kill_9_the_next_start_says_that_the_last_run_did_not_end_by_itself(env: dict[str, str]) -> None:
    host, next_one = Process(env, Path(env["WORKSPACE_DIR"])), Process(env, Path(env["WORKSPACE_DIR"]))
    try:
        host.ask(START)
        host.kill()
        assert kinds(env["DATA_DIR"]) == ["start"]
        next_one.ask(START)
        assert next_one.ask("bench.hosting") is True
        kind, _, _, reason, _ = trail(env["DATA_DIR"])[-1]
        assert kind == "start" and "the last run (entry 1) did not end by itself: it was killed" in reason
        assert next_one.ask("[event.detail['previous_ended'] for event in bench._behind.audit.find(9, kind='start')]") == [None, False]
        assert next_one.end() == 0, "the end of its process is the end of the stack in order"
        assert kinds(env["DATA_DIR"]) == ["start", "start", "stop"]
    finally:
        host.kill()
        next_one.kill()


def test_a_guest_writes_no_start_and_no_stop(env: dict[str, str]) -> None:
    host, guest = Process(env, Path(env["WORKSPACE_DIR"])), Process(env, Path(env["WORKSPACE_DIR"]))
    try:
        host.ask(START)
        guest.ask(START)
        assert guest.ask("bench.hosting") is False and guest.ask("bench.tools.call('list_files').value['count']") == 0
        guest.ask("bench.stop()")
        assert guest.end() == 0 and kinds(env["DATA_DIR"]) == ["start"]
        assert host.end() == 0 and kinds(env["DATA_DIR"]) == ["start", "stop"]
    finally:
        host.kill()
        guest.kill()


def test_another_policy_is_an_entry_with_both_digests(given: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    suite.start(**given).stop()
    suite.start(**given).stop()
    assert "policy" not in kinds(given["data_dir"]), "the same one is no entry"
    other = tmp_path / "policy.toml"
    other.write_text(PACKAGED.read_text(encoding="utf-8").replace("calls = 100,", "calls = 99,", 1), encoding="utf-8")
    monkeypatch.setattr("suite.stack.load_policy", partial(load_policy, other))
    bench = suite.start(**given)
    [changed] = bench._behind.audit.find(9, kind="policy")
    assert changed.detail == {"before": load_policy().digest, "now": load_policy(other).digest} and changed.detail["before"] != changed.detail["now"]
    assert bench._behind.audit.tail(1)[0].seq == changed.seq + 1, "it stands before the start that it belongs to"
    bench.stop()
    suite.start(**given).stop()
    assert kinds(given["data_dir"]).count("policy") == 1, "it is told once"


def test_changed_security_settings_are_an_entry_with_old_and_new_values(given: dict[str, str]) -> None:
    suite.start(**given, notion_token="hunter2-hunter2").stop()
    suite.start(**given, rbac_enabled=False, stage="prod", rag_topk=7, notion_token="hunter3-hunter3").stop()
    [(_, subject, outcome, reason, detail)] = [row for row in trail(given["data_dir"]) if row[0] == "settings"]
    assert (subject, outcome) == ("rbac_enabled, security_mode, stage", "done")
    assert "rbac_enabled True → False; security_mode 'normal' → 'strict'; stage 'dev' → 'prod'." in reason
    assert '"stage":{"before":"dev","now":"prod"}' in detail and "hunter" not in repr(trail(given["data_dir"]))
    suite.start(**given, rbac_enabled=False, stage="prod").stop()
    assert kinds(given["data_dir"]).count("settings") == 1


def test_a_start_that_is_broken_off_says_so_and_one_that_began_nothing_is_no_entry(given: dict[str, str]) -> None:
    with pytest.raises(SettingsError, match="MEMORY_BACKUP_CRON"):
        suite.start(**given, memory_backup_cron="25:99")
    assert [(row[0], row[2]) for row in trail(given["data_dir"])] == [("start", "done"), ("stop", "failed")]
    assert "broken off" in trail(given["data_dir"])[1][3]
    with pytest.raises(SuiteError, match="gpu-9000"):
        suite.start("gpu-9000", **given)
    assert kinds(given["data_dir"]) == ["start", "stop"]


def test_a_start_that_cannot_be_written_does_not_happen(given: dict[str, str]) -> None:
    suite.start(**given).stop()
    with sqlite3.connect(Path(given["data_dir"], "sqlite", "suite.db")) as connection:
        connection.execute(REFUSE.format("start"))
    connection.close()
    with pytest.raises(StorageError) as caught:
        suite.start(**given)
    assert "\n" not in str(caught.value)
    assert kinds(given["data_dir"]) == ["start", "stop"] and os.listdir(Path(given["data_dir"], "run")) == ["host.lock"]


def test_a_stop_that_cannot_be_written_is_logged_ends_all_the_same_and_the_next_start_tells(given: dict[str, str]) -> None:
    bench = suite.start(**given)
    with bench._behind.storage.begin() as connection:
        connection.exec_driver_sql(REFUSE.format("stop"))
    bench.stop()
    assert [name for name in os.listdir(Path(given["data_dir"], "run")) if name != "host.lock"] == []
    logged = "".join(file.read_text(encoding="utf-8") for file in Path(given["data_dir"], "logs").iterdir())
    assert "closing" in logged and "stopped" in logged and "disk full" in logged
    with sqlite3.connect(Path(given["data_dir"], "sqlite", "suite.db")) as database:
        database.execute("DROP TRIGGER stop")
    database.close()
    again = suite.start(**given)
    assert "did not end by itself" in again._behind.audit.tail(1)[0].reason
    again.stop()


def test_a_model_process_that_dies_and_comes_back_is_an_entry_and_one_that_stays_down_too(given: dict[str, str]) -> None:
    bench = suite.start(**given, serving_isolation="process")
    try:
        server, audit = bench._behind.parts["inference-chat"], bench._behind.audit
        for deaths in (1, 2, 3):
            os.kill(server._loaded.decoder.pid, signal.SIGKILL)
            wait_until(lambda: len(audit.find(9, kind="restart")) == deaths)  # noqa: B023 - asked before the next round
        found = audit.find(9, kind="restart")
        assert [(event.actor, event.subject, event.outcome) for event in found] == [(STACK, "inference-chat", outcome) for outcome in ("done", "done", "failed")]
        assert "died of SIGKILL; it was started again." in found[0].reason and "stays down" in found[2].reason
        assert server.restarts == 2 and {event.detail["host"] for event in found} == {bench.status()["host"]["id"]}
    finally:
        bench.stop()
    assert kinds(given["data_dir"]) == ["start", "restart", "restart", "restart", "stop"]


def test_a_restart_that_cannot_be_written_is_logged_and_the_model_serves(given: dict[str, str], caplog: pytest.LogCaptureFixture) -> None:
    bench = suite.start(**given, serving_isolation="process")
    try:
        with bench._behind.storage.begin() as connection:
            connection.exec_driver_sql(REFUSE.format("restart"))
        server = bench._behind.parts["inference-chat"]
        with caplog.at_level(logging.ERROR, "suite.access"):
            os.kill(server._loaded.decoder.pid, signal.SIGKILL)
            wait_until(lambda: "the restart of inference-chat is not in the audit trail" in caplog.text)
        assert bench.chat("Hello", max_tokens=2).model == "smoke"
    finally:
        bench.stop()


# ---- the entries themselves, over a real database ----


def lives(folder: Path, n: int) -> tuple[Any, list[Lifecycle]]:
    """A stage, and runs of stacks of data directories 0 to n-1 on its one trail."""
    stage = set_stage(folder)
    return stage, [Lifecycle(stage.audit, load_policy(), stage.settings, folder / str(number), f"host {number}", "1.0") for number in range(n)]


def test_stacks_that_share_a_database_do_not_take_each_other_for_killed(tmp_path: Path) -> None:
    stage, (one, other) = lives(tmp_path, 2)
    one.started()
    assert f"of {tmp_path / '0'}) did not end" in other.started().reason, "a first start has only the other's to look at"
    other.stopped(whole=True)
    assert other.started().detail["previous_ended"] is True, "its own last run was stopped, though the other's still runs"
    other.stopped(whole=True)
    assert one.started().detail["previous_ended"] is False, "and a stop of the other is none of its own"
    stage.storage.close()


def test_a_data_directory_that_was_moved_is_compared_with_the_last_start_all_the_same(tmp_path: Path) -> None:
    stage, (one, moved) = lives(tmp_path, 2)
    one.started()
    one.stopped(whole=True)
    moved._facts["policy"] = "0" * 64
    moved.started()
    assert [event.kind for event in stage.audit.tail(9)] == ["start", "stop", "policy", "start"]
    stage.storage.close()


def test_the_stop_of_an_earlier_run_is_not_the_end_of_the_last(tmp_path: Path) -> None:
    stage, (life,) = lives(tmp_path, 1)
    life.started()
    life.stopped(whole=True)
    assert life.started().detail["previous_ended"] is True
    assert life.started().detail["previous_ended"] is False
    stage.storage.close()


def test_values_too_long_to_be_stored_whole_are_compared_as_they_are_stored(tmp_path: Path) -> None:
    stage = set_stage(tmp_path, rag_roots="/" + "a" * 5000)
    long, other = (Lifecycle(stage.audit, load_policy(), stage.settings, tmp_path / name, "host", "1.0") for name in ("x" * 500, "other"))
    long.started()
    long.stopped(whole=True)
    other.started()
    again = long.started()
    assert [event.kind for event in stage.audit.tail(9)] == ["start", "stop", "start", "start"], "nothing was otherwise"
    assert again.detail["previous"] == 1 and again.detail["previous_ended"] is True, "its own start was found by its long name"
    stage.storage.close()


@pytest.mark.parametrize("detail", ["[]", "7", "not json", '{"settings": 7}', "{}"])
def test_a_last_start_that_was_edited_does_not_keep_the_next_from_starting(tmp_path: Path, detail: str) -> None:
    stage, (life,) = lives(tmp_path, 1)
    life.started()
    life.stopped(whole=True)
    with stage.storage.begin() as connection:
        connection.exec_driver_sql("UPDATE audit SET detail = ? WHERE seq = 1", (detail,))
    life.started()
    assert [event.kind for event in stage.audit.tail(9)] == ["start", "stop", "policy", "start"] and not stage.audit.verify().ok
    stage.storage.close()


def test_a_stop_without_a_start_writes_nothing(tmp_path: Path) -> None:
    stage, (life,) = lives(tmp_path, 1)
    life.stopped(whole=True)
    assert stage.audit.tail(9) == []
    stage.storage.close()


def test_no_actor_can_have_the_stacks_name(tmp_path: Path) -> None:
    stage, _ = lives(tmp_path, 0)
    with pytest.raises(BadRequest, match="cannot be used"):
        stage.actors.add(STACK, "admin")
    stage.storage.close()


def test_no_secret_is_watched() -> None:
    from suite.access.lifecycle import WATCHED

    assert {row.name for row in TABLE if row.secret} & set(WATCHED) == set() and set(WATCHED) <= {row.name for row in TABLE}
