"""`suite bench tools` with tiny loads: its rows, servers that do not answer as they should, and kills whose records are lost."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from suite.benchmark import tools as bench
from suite.benchmark import tools_kill as kill
from suite.benchmark import tools_mcp, tools_parts
from suite.benchmark.row import Limit, status
from suite.benchmark.tools_parts import Calls, Parts
from suite.cli.main import main
from suite.errors import ApprovalNeeded, RunFailed, UpstreamError
from suite.settings import Settings, load

TINY = bench.Load(calls=20, granted=3, clients=6, each=2, runs=1, kills=1)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load({"data_dir": str(tmp_path / "data")}, environ={})


def endless(limit: Limit) -> Limit:
    """The same row without a time that could be missed."""
    return replace(limit, limit=1e9, op="<=")


def test_every_row_is_measured(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CALL_50", "CALL_99", "CALL_CPU", "SHARE"):  # a test asserts no time
        monkeypatch.setattr(bench, name, endless(getattr(bench, name)))
    monkeypatch.setattr(bench, "sandboxed", lambda name, made=bench.sandboxed: endless(made(name)))
    rows = bench.tools(settings, 1, False, lambda text: None, TINY)
    boxes = sum("in the sandbox" in row["name"] for row in rows)
    assert [row["name"] for row in rows if row["value"] is None] == [] or boxes == 0
    expected = [limit.name for limit in (bench.CALL_50, bench.CALL_99, bench.CALL_CPU, bench.GRANTED_50, bench.GRANTED_99, *bench.MCP, *bench.KILLED.values())]
    assert {name for name in expected if not any(row["name"].startswith(name) for row in rows)} == set()
    assert len(rows) == len(expected) + 1 + boxes and status(rows) in (0, 2) and not [row for row in rows if row["met"] is False]
    assert all(row["value"] > 0 for row in rows if row["unit"] in ("ms", "x", "calls/s"))


@pytest.mark.parametrize(("limit", "good", "bad"), [(bench.CALL_50, 1.0, 1.01), (bench.CALL_99, 5.0, 5.1), (bench.CALL_CPU, 0.5, 0.51), (bench.SHARE, 0.75, 0.74),
                                                    (bench.sandboxed("x"), 2.2, 2.21), (bench.KILLED["lost"], 0, 1), (bench.KILLED["ahead"], 0, 1)])
def test_what_is_over_its_limit_is_not_met(limit: Limit, good: float, bad: float) -> None:
    assert (limit.row(good)["met"], limit.row(bad)["met"]) == (True, False)


def test_calls_in_process_are_authenticated_approved_and_recorded(tmp_path: Path) -> None:
    made = Calls(str(tmp_path))
    assert len(made.free(4)["marks"]) == 4 and len(made.granted(2)["marks"]) == 2
    events = [(event.actor, event.subject, event.outcome) for event in made._parts.audit.every()]
    assert events[:8] == [("dev_user", "list_files", outcome) for _ in range(4) for outcome in ("allowed", "done")]
    assert [outcome for _, subject, outcome in events if subject == "write_file"] == ["ask", "allowed", "allowed", "done"] * 2
    with pytest.raises(ApprovalNeeded):
        made._call("write_file", {"path": "file-1"})  # its approval was used up
    made._key = "suite_" + "x" * 43
    with pytest.raises(RunFailed, match="not known"):
        made.free(1)
    made._parts.close()


def test_both_servers_answer_alike_and_ours_records_every_call(tmp_path: Path) -> None:
    with tools_mcp.ours(str(tmp_path)) as ours, tools_mcp.bare() as bare:
        found = [tools_mcp.calls(where["url"], where["keys"], clients=7, each=2) for where in (ours, bare)]
        assert [len(one["marks"]) for one in found] == [14, 14] and len(ours["keys"]) == tools_mcp.ACTORS
        with pytest.raises(UpstreamError):
            tools_mcp.calls(ours["url"], [""], clients=1, each=1)
    parts = Parts(tmp_path)
    events = [event for event in parts.audit.every() if event.kind == "tool_call"]
    assert len(events) == 2 * 7 * 3 and {event.actor for event in events} == {f"client-{which}" for which in range(5)} and parts.audit.verify().ok
    parts.close()


def test_an_answer_that_is_another_one_is_no_measurement(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tools_parts, "ANSWER", {"count": 1})
    with tools_mcp.ours(str(tmp_path)) as ours, pytest.raises(UpstreamError, match="answered a call with"):
        tools_mcp.calls(ours["url"], ours["keys"], clients=2, each=1)


def test_without_a_sandbox_its_rows_say_so() -> None:
    with pytest.raises(RunFailed, match="nothing would confine"):
        bench.programs({}, 1, TINY)
    with pytest.raises(RunFailed, match="instead of 1"):
        bench._halfway(lambda: "2\n", 1)


@pytest.fixture
def calls_of_a_killed_process(tmp_path: Path) -> tuple[Path, dict[str, int]]:
    found: dict[str, int] = {}
    for seed in range(5):  # on a busy machine a process may be killed before its first call
        found |= kill.killed(tmp_path, seed, 0.4)
        if found:
            break
    assert found
    return tmp_path, found


def test_after_a_kill_every_acknowledged_call_is_in_a_whole_trail(calls_of_a_killed_process: tuple[Path, dict[str, int]]) -> None:
    data, found = calls_of_a_killed_process
    assert kill.examined(data, found) == kill.Round(0)
    assert kill.examined(data, found | {"never made": 1}).lost == 1 and kill.examined(data, found | {"of no entry": 10**9}).lost == 1


@pytest.mark.parametrize(("fault", "wrong"), [
    ("DELETE FROM audit WHERE seq > (SELECT max(seq) - 4 FROM audit)", "ahead"), ("UPDATE audit SET detail = '{\"arguments\": {}}' WHERE seq > 2", "broken"),
    ("UPDATE audit SET outcome = 'failed' WHERE outcome = 'done'", "lost"),
])
def test_a_trail_that_lost_something_is_found_out(fault: str, wrong: str, calls_of_a_killed_process: tuple[Path, dict[str, int]]) -> None:
    data, found = calls_of_a_killed_process
    with closing(sqlite3.connect(data / "sqlite" / "suite.db")) as connection, connection:
        connection.execute(fault)
    seen = kill.examined(data, found)
    assert seen.wrong()[wrong] > 0 and seen.lost > 0 and not seen.whole


def test_kills_before_any_call_say_nothing(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kill, "rounds", lambda *_: [kill.Round(0)])
    rows = bench.tools(settings, 1, True, lambda text: None, replace(TINY, kills=1, calls=1, granted=1, clients=1, each=1))
    unmeasured = [row for row in rows if row["value"] is None and "say nothing" in row["name"]]
    assert len(unmeasured) == len(bench.KILLED) and status(rows) != 0


def test_a_process_that_ends_by_itself_is_no_kill(tmp_path: Path) -> None:
    (tmp_path / "sqlite").write_text("no folder")
    with pytest.raises(RunFailed, match="ended by itself with status 1"):
        kill.killed(tmp_path, 1, 5.0)


@pytest.mark.parametrize(("value", "code"), [(0.9, 0), (1.1, 1)])
def test_the_command_exits_by_the_rows(value: float, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    asked: list[Any] = []

    def measure(settings: Settings, rounds: int, quick: bool, say: Callable[[str], None]) -> list[dict[str, Any]]:
        asked.append((rounds, quick))
        return [bench.CALL_50.row(value)]

    monkeypatch.setattr(bench, "tools", measure)
    assert main(["bench", "tools", "--quick", "--rounds", "2", "--json"]) == code and asked == [(2, True)]
    assert json.loads(capsys.readouterr().out)["rows"][0]["met"] is (code == 0)
