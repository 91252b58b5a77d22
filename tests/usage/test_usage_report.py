"""`suite usage`: what is kept becomes totals, busiest hours, success and latency, and advice."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from suite.cli.main import main
from suite.storage.engine import open_storage
from suite.usage.ledger import Ledger
from suite.usage.read import requests
from suite.usage.record import Usage


def keep(folder: Path, rows: list[Usage]) -> None:
    (folder / "sqlite").mkdir(exist_ok=True)
    storage = open_storage("", folder / "sqlite")
    ledger = Ledger(storage)
    for row in rows:
        ledger.record(row)
    ledger.close()
    storage.close()


def one(**changed: Any) -> Usage:
    made = Usage(at=time.time() - 600, who="ann", alias="chat-7b", model="qwen", server="inference-chat", prompt_tokens=10, tokens=4, cached=6,
                 seconds=2.0, outcome="ok", queue_seconds=0.25, first_seconds=0.5)
    return replace(made, **changed)


def test_the_command_shows_hours_success_latency_and_advice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    keep(tmp_path, [*(one() for _ in range(60)), *(one(alias="code-7b", model="phi", outcome="fallback", seconds=4.0) for _ in range(30)),
                    *(one(alias="code-7b", model="", server="", outcome="timeout", first_seconds=None, queue_seconds=None) for _ in range(10))])
    assert main(["usage", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert [(row["alias"], row["requests"]) for row in said["rows"]] == [("chat-7b", 60), ("code-7b", 30), ("code-7b", 10)]
    assert said["requests"] == 100 and "UTC" in said["zone"] and said["hours"][0]["requests"] == 100
    assert [(row["alias"], row["success"], row["seconds_p95"], row["first_p50"], row["queue_p95"]) for row in said["aliases"]] == [
        ("chat-7b", 1.0, 2.0, 0.5, 0.25), ("code-7b", 0.75, 4.0, 0.5, 0.25)]
    assert [(row["model"], row["requests"]) for row in said["models"]] == [("qwen", 60), ("phi", 30)]
    assert [(row["kind"], row["about"]) for row in said["advice"]] == [("fallback", "code-7b"), ("failures", "code-7b")]
    assert main(["usage"]) == 0
    text = capsys.readouterr().out
    assert f"Busiest hours, {said['zone']}:" in text and "75.0%" in text and "4.00 s" in text
    for row in said["advice"]:
        assert f"- {row['sentence']}\n" in text


def test_usage_that_is_well_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    keep(tmp_path, [one() for _ in range(60)])
    assert main(["usage"]) == 0
    assert capsys.readouterr().out.endswith("Nothing stands out in 60 requests.\n")


def test_the_newest_requests_are_read_whole_and_in_their_order(tmp_path: Path) -> None:
    rows = [one(at=float(place), queue_seconds=None if place % 2 else 0.5) for place in (3, 1, 2, 2, 5)]
    keep(tmp_path, rows)
    storage = open_storage("", tmp_path / "sqlite")
    assert requests(storage) == sorted(rows, key=lambda row: row.at) and [row.at for row in requests(storage, 2.0, 3)] == [2.0, 3.0, 5.0]
    storage.close()
