"""Usage on its way into the database: nothing is lost in order, nothing waits, and no text of anybody is in it."""

from __future__ import annotations

import json
import logging
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from suite.cli.main import main
from suite.cli.usage import moment
from suite.errors import BadRequest
from suite.storage.engine import open_storage
from suite.usage import ledger as ledgers
from suite.usage.ledger import Ledger, totals
from suite.usage.record import Usage

ONE = Usage(at=1000.0, who="ann", alias="chat-7b", model="qwen", server="inference-chat", prompt_tokens=10, tokens=4, cached=6, seconds=0.5, outcome="ok")


def count(storage: Any) -> int:
    with storage.read() as connection:
        return connection.execute(sa.text("SELECT count(*) FROM usage")).scalar()


def test_what_is_noted_is_written_by_closing_whatever_the_number_of_threads(storage: Any) -> None:
    ledger = Ledger(storage)
    threads = [threading.Thread(target=lambda: [ledger.record(ONE) for _ in range(200)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ledger.close()
    assert count(storage) == 1600 and ledger.lost == 0


def test_it_is_written_by_itself_a_moment_later(storage: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledgers, "PAUSE_SECONDS", 0.01)
    written = threading.Event()
    ledger = Ledger(storage)
    flush = ledger.flush
    monkeypatch.setattr(ledger, "flush", lambda: (flush(), written.set()))
    ledger.record(ONE)
    assert written.wait(20) and count(storage) == 1
    ledger.close()


def test_totals_are_by_actor_and_model_and_since_a_moment(storage: Any) -> None:
    ledger = Ledger(storage)
    for usage in (ONE, replace(ONE, outcome="fallback", at=2000.0), replace(ONE, outcome="cancelled"), replace(ONE, outcome="UpstreamError", tokens=0),
                  replace(ONE, who="bob", tokens=500)):
        ledger.record(usage)
    ledger.flush()
    first, second = totals(storage)
    assert (first.who, first.requests, first.tokens) == ("bob", 1, 500)
    assert second.to_dict() == {"who": "ann", "alias": "chat-7b", "model": "qwen", "requests": 4, "fallbacks": 1, "cancelled": 1, "failed": 1,
                                "prompt_tokens": 40, "cached": 24, "tokens": 12, "seconds": 2.0}
    assert [total.requests for total in totals(storage, 1500.0)] == [1] and totals(storage, 3000.0) == []
    ledger.close()


def test_a_database_that_takes_nothing_keeps_nobody_waiting_and_gets_it_later(storage: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    full = [True]

    @sa.event.listens_for(storage.engine, "checkout")
    def _limit(connection: Any, *_: Any) -> None:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages if full[0] else 1 << 30}")

    monkeypatch.setattr(ledgers, "PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(ledgers, "RETRY_SECONDS", 0.01)
    warned = threading.Event()
    monkeypatch.setattr(ledgers.log, "warning", lambda *said: warned.set())
    ledger = Ledger(storage, most_waiting=3000)
    for _ in range(2600):
        ledger.record(replace(ONE, model="m" * 200))
    assert warned.wait(20) and count(storage) < 2600
    full[0] = False
    ledger.close()
    assert count(storage) == 2600 and ledger.lost == 0


def test_more_than_memory_should_hold_is_counted(storage: Any, caplog: pytest.LogCaptureFixture) -> None:
    ledger = Ledger(storage, most_waiting=0)
    ledger.record(ONE)
    with caplog.at_level(logging.WARNING):
        ledger.close()
    assert ledger.lost == 1 and "1 requests was lost" in caplog.text and count(storage) == 0


def test_a_closed_database_is_told_in_the_log_and_stops_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = open_storage("", tmp_path)
    ledger = Ledger(storage)
    with storage.begin() as connection:
        connection.execute(sa.text("DROP TABLE usage"))
    ledger.record(ONE)
    ledger.close()
    assert ledger.lost >= 1 and "could not be kept" in caplog.text
    storage.close()


def test_odd_texts_are_stored_shortened(storage: Any) -> None:
    ledger = Ledger(storage)
    ledger.record(replace(ONE, who="a\0b\ud800" + "x" * 500, model="m" * 999))
    ledger.close()
    only = totals(storage)[0]
    assert only.who == ("ab?" + "x" * 500)[:80] and only.model == "m" * 200


def test_the_command_prints_rows_and_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    assert main(["usage", "--json"]) == 0 and json.loads(capsys.readouterr().out)["rows"] == []
    assert list(tmp_path.glob("**/suite.db")) == []
    (tmp_path / "sqlite").mkdir()
    storage = open_storage("", tmp_path / "sqlite")
    ledger = Ledger(storage)
    ledger.record(ONE)
    ledger.close()
    storage.close()
    assert main(["usage", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"][0] | {"seconds": 0} == totals_row() | {"seconds": 0}
    assert main(["usage"]) == 0 and "ann" in capsys.readouterr().out
    assert main(["usage", "--json", "--since", "7d"]) == 0
    empty = json.loads(capsys.readouterr().out)
    assert empty["rows"] == empty["hours"] == empty["models"] == [] and empty["advice"][0]["kind"] == "too little"
    assert main(["usage", "--since", "7d"]) == 0 and "Nothing can be said of 0 requests; 50 are needed." in capsys.readouterr().out
    assert main(["usage", "--since", "yesterday"]) == 2 and "--since is 'yesterday'" in capsys.readouterr().err


def totals_row() -> dict[str, Any]:
    return {"who": "ann", "alias": "chat-7b", "model": "qwen", "requests": 1, "fallbacks": 0, "cancelled": 0, "failed": 0, "prompt_tokens": 10, "cached": 6,
            "tokens": 4, "seconds": 0.5}


def test_since_means_a_span_or_a_local_time() -> None:
    assert (moment("", 50.0), moment("30m", 5000.0), moment("2h", 9000.0), moment("1d", 90_000.0)) == (0.0, 3200.0, 1800.0, 3600.0)
    assert moment("2026-01-31T08:00+00:00", 0) == 1769846400.0
    for bad in ("7w", "99999999d", "-1d", "2026-13-01", "now"):
        with pytest.raises(BadRequest, match="--since"):
            moment(bad, 0.0)
