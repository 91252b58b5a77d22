"""`suite bench durability` with few rounds: rows, verdicts, and every loss it must see."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from suite.benchmark import durability as bench
from suite.benchmark import durability_drill, durability_kill, durability_pair, postgres_server
from suite.benchmark.durability_kill import Round
from suite.benchmark.row import status
from suite.cli.main import main
from suite.errors import RunFailed
from suite.settings import Settings, load

KEYS = ["name", "value", "unit", "op", "limit", "met", "peer", "ratio"]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load({"data_dir": str(tmp_path / "data")}, environ={})


def server() -> bool:
    try:
        postgres_server.binaries()
    except postgres_server.NoServer:
        return False
    return True


def test_all_of_it_finds_nothing_lost(settings: Settings) -> None:
    rows = bench.durability(settings, 2, False, lambda text: None, seed=5)
    assert all(list(row) == KEYS for row in rows) and len(rows) == 2 * len(bench.WRONG) + 1 + 2 * 4
    assert status(rows) == (0 if server() else 2), [row for row in rows if row["met"] is False]
    assert [row["value"] for row in rows if row["name"].startswith("kill -9 on SQLite")] == [0] * len(bench.WRONG)
    assert "2 kills" in rows[0]["name"] and "seed 5" in rows[0]["name"]
    missing = [row for row in rows if row["value"] is None]
    assert server() or all("not run: no PostgreSQL" in row["name"] for row in missing)


@pytest.mark.parametrize("name", list(bench.WRONG))
def test_anything_that_a_kill_broke_is_not_met(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = [Round(7, True), Round(5, False, **{name: 2})]
    monkeypatch.setattr(durability_kill, "rounds", lambda *_: broken)
    rows = bench.kills(bench.SQLITE, 2, 1, tmp_path, lambda text: None)
    assert [row["name"].split(" (")[0] for row in rows if row["met"] is False] == [f"kill -9 on SQLite: {bench.WRONG[name]}"] and status(rows) == 1
    assert "2 kills, 1 of them in the middle of a deed, 12 deeds acknowledged" in rows[0]["name"]


def test_kills_before_anything_was_done_say_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(durability_kill, "rounds", lambda *_: [Round(0, False)] * 3)
    with pytest.raises(RunFailed, match="Only 0 deeds"):
        bench.kills(bench.SQLITE, 3, 1, tmp_path, lambda text: None)


def test_without_a_server_its_rows_are_not_run_and_say_why(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_server, "PLACES", Path("/nowhere"))
    for name in ("kills", "restored"):
        real: Callable[..., Any] = getattr(bench, name)
        monkeypatch.setattr(bench, name, lambda database, *rest, real=real: [] if database == bench.SQLITE else real(database, *rest))
    rows = bench.durability(settings, 1, False, lambda text: None)
    assert len(rows) == len(bench.WRONG) + 1 + 4 and status(rows) == 2
    assert all(row["value"] is None and "not run: no PostgreSQL 15 or newer below /nowhere" in row["name"] for row in rows)


def test_the_same_deeds_give_the_same_and_others_do_not(tmp_path: Path) -> None:
    one, again, other = (durability_pair.answers("", tmp_path / name, seed) for name, seed in (("one", 3), ("again", 3), ("other", 4)))
    assert len(one) > 200 and durability_pair.differences(one, again) == [] and durability_pair.differences(one, other)
    assert durability_pair.differences([1, 2, 3], [1, 5]) == [1, 2]
    kinds = {answer if isinstance(answer, str) else type(answer).__name__ for answer in one}
    assert {"NotFound", "BadRequest", "dict", "list", "int"} <= kinds  # refusals are compared too


def test_a_difference_is_not_met_and_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "address", lambda database: __import__("contextlib").nullcontext("there"))
    monkeypatch.setattr(durability_pair, "answers", lambda url, folder, seed: [1, 2] if url else [1, 3])
    [row] = bench.same(1, tmp_path)
    assert row["met"] is False and "the first: [3] and [2]" in row["name"]


def test_an_alteration_that_verification_does_not_name_is_not_met(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    verify = durability_drill.verify
    monkeypatch.setattr(durability_drill, "TURNS", 30)
    [problems, lacking, unnamed, seconds] = bench.restored(bench.SQLITE, tmp_path / "good")
    assert (problems["value"], lacking["value"], unnamed["value"]) == (0, 0, 0) and seconds["value"] > 0
    assert unnamed["name"].endswith("(of 12)") or "(of " in unnamed["name"]
    first: list[Any] = []

    def blind(path: Any, **options: Any) -> Any:
        first.append(first[0] if first else verify(path, **options))
        return first[0]

    monkeypatch.setattr(durability_drill, "verify", blind)
    rows = bench.restored(bench.SQLITE, tmp_path / "blind")
    assert rows[2]["value"] > 3 and rows[2]["met"] is False and status(rows) == 1


@pytest.mark.parametrize(("lost", "code"), [(0, 0), (1, 1), (None, 2)])
def test_the_command_exits_by_the_rows(lost: int | None, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    asked: list[int] = []

    def measure(settings: Settings, rounds: int, quick: bool, say: Callable[[str], None]) -> list[dict[str, Any]]:
        asked.append(rounds)
        limit = bench.killed(bench.SQLITE)[0]
        return [limit.unmeasured("not run") if lost is None else limit.row(lost)]

    monkeypatch.setattr(bench, "durability", measure)
    assert main(["bench", "durability", "--rounds", "200", "--json"]) == code and asked == [200]
    assert len(json.loads(capsys.readouterr().out)["rows"]) == 1
