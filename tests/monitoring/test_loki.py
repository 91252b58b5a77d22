"""Shipping to a Loki: nothing is lost while it can be avoided, all that is lost is counted, and nobody who writes a line notices."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from loki_stage import Loki, loki

from suite.errors import SettingsError
from suite.monitoring import loki as shipping
from suite.monitoring.log import FileLog, open_log
from suite.monitoring.log_query import Query
from suite.monitoring.loki import Shipper
from suite.monitoring.request_context import enter
from suite.settings import load


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shipping, "FIRST_WAIT", 0.01)
    monkeypatch.setattr(shipping, "LONGEST_WAIT", 0.05)
    monkeypatch.setattr(shipping, "PAUSE", 0.01)


@pytest.fixture
def stand() -> Iterator[Loki]:
    with loki() as made:
        yield made


def until(condition: Callable[[], Any]) -> bool:
    deadline = time.monotonic() + 20
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.005)
    return bool(condition())


def opened(folder: Path, stand: Loki, **settings: Any) -> FileLog:
    return open_log(load({"loki_url": stand.url, **settings}, environ={}), folder)


def test_each_line_arrives_once_in_order_with_two_labels_and_the_rest_inside(tmp_path: Path, stand: Loki) -> None:
    log = opened(tmp_path, stand)
    enter("rag", "req-9")
    for n in range(2500):
        logging.getLogger("suite.knowledge" if n % 2 else "suite.memory").warning("line %d", n, extra={"token": "tok-123"})
    assert stand.wait(lambda: len(stand.entries) == 2500) and stand.wrong == []
    assert stand.messages() == [f"line {n}" for n in range(2500)]
    _, service, level, line = next(entry for entry in stand.entries if entry[3]["message"] == "line 1")
    assert (service, level, line["request_id"], line["extra"]) == ("rag", "warning", "req-9", {"token": "***"})
    assert abs(int(stand.entries[0][0]) / 1e9 - time.time()) < 60 and len(stand.requests) < 200
    assert until(lambda: log.shipper.sent == 2500) and log.shipper.lost == 0
    log.close()


def test_the_rest_is_sent_when_the_stack_stops(tmp_path: Path, stand: Loki, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shipping, "PAUSE", 60)
    log = opened(tmp_path, stand)
    logging.getLogger("suite").warning("last words")
    log.close()
    assert stand.messages() == ["last words"] and log.shipper.sent == 1


@pytest.mark.parametrize(("given", "sent"), [
    ({}, None), ({"loki_token": "tok"}, "Bearer tok"), ({"loki_user": "me", "loki_token": "tok"}, "Basic bWU6dG9r"),
])
def test_who_logs_in(tmp_path: Path, stand: Loki, given: dict, sent: str | None) -> None:
    log = opened(tmp_path, stand, **given)
    logging.getLogger("suite").warning("x")
    assert stand.wait(lambda: stand.entries) and stand.requests[0].get("authorization") == sent
    log.close()
    assert "tok" not in str(load(given, environ={}).values()).replace("token", "")


def test_a_loki_that_is_away_gets_all_when_it_comes_back(tmp_path: Path) -> None:
    with loki() as first:
        log = opened(tmp_path, first)
        logging.getLogger("suite").warning("before")
        assert first.wait(lambda: first.entries)
    logging.getLogger("suite").warning("while it is away")
    assert until(lambda: "does not answer" in log.shipper.failing)
    with loki(first.port) as second:
        logging.getLogger("suite").warning("after")
        assert second.wait(lambda: {"while it is away", "after"} <= set(second.messages())) and log.shipper.lost == 0
        assert until(lambda: log.shipper.failing == "")
    log.close()
    said = [row["message"] for row in log.reader.newest(Query.of(contains="shipped"))]
    assert len(said) == 2 and said[0].startswith("the log is not shipped: http") and said[1].endswith("again"), "once each, not for each batch"


@pytest.mark.parametrize("status", [500, 503, 429, 408])
def test_what_a_busy_loki_did_not_take_is_sent_again(tmp_path: Path, stand: Loki, status: int) -> None:
    stand.status = status
    log = opened(tmp_path, stand)
    logging.getLogger("suite").warning("patience")
    assert stand.wait(lambda: len(stand.requests) >= 3)
    stand.status = 204
    assert stand.wait(lambda: "patience" in stand.messages()) and log.shipper.lost == 0
    assert len(log.reader.newest(Query.of(contains="is not shipped"))) == 1, "said once, not for each try"
    log.close()


def test_what_is_refused_for_good_is_counted_and_what_comes_after_is_sent(tmp_path: Path, stand: Loki) -> None:
    stand.status = 401
    log = opened(tmp_path, stand)
    logging.getLogger("suite").warning("refused")
    assert until(lambda: log.shipper.lost >= 1)
    stand.status = 204
    logging.getLogger("suite").warning("taken")
    assert stand.wait(lambda: "taken" in stand.messages()) and "refused" not in stand.messages()
    (why,) = log.reader.newest(Query.of(contains="not shipped"))
    assert "status 401" in why["message"] and "LOKI_TOKEN" in why["message"]
    log.close()


def test_a_loki_that_hangs_holds_up_nobody(tmp_path: Path, stand: Loki, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shipping, "GRACE_SECONDS", 0.05)
    monkeypatch.setattr(shipping, "ANSWER_SECONDS", 60)
    stand.holds = True
    log = opened(tmp_path, stand)
    logging.getLogger("suite").warning("first")
    assert stand.wait(lambda: stand.requests)
    done = threading.Event()

    def write() -> None:
        for n in range(500):
            logging.getLogger("suite").warning("line %d", n)
        log.close()
        done.set()

    threading.Thread(target=write, daemon=True).start()
    assert done.wait(20), "neither writing nor closing waits for the answer"
    assert log.shipper.lost == 501 and log.counts["warning"] == 501 and log.lost == 0
    stand.close()
    log.shipper._thread.join(20)
    assert log.shipper.lost + log.shipper.sent == 501


@pytest.mark.parametrize("limit", ["MOST_LINES", "MOST_BYTES"])
def test_the_oldest_make_room_and_are_counted(tmp_path: Path, stand: Loki, monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    monkeypatch.setattr(shipping, limit, 100 if limit == "MOST_LINES" else 20_000)
    stand.holds = True
    shipper = Shipper(stand.url)
    shipper.put(time.time(), "stack", "info", '{"message": "first"}')
    assert stand.wait(lambda: stand.requests)
    for n in range(300):
        shipper.put(time.time(), "stack", "info", f'{{"message": "{n}", "x": "{"x" * 180}"}}')
    waiting = len(shipper._waiting)
    assert 90 <= waiting <= 100 and shipper.lost == 300 - waiting
    stand.holds = False
    stand._go.set()
    assert stand.wait(lambda: len(stand.entries) == 1 + waiting) and stand.messages()[1:] == [str(n) for n in range(300 - waiting, 300)]
    shipper.put(time.time(), "stack", "info", f'{{"message": "there is room again", "x": "{"x" * 2000}"}}')
    assert stand.wait(lambda: stand.messages()[-1] == "there is room again") and shipper.lost == 300 - waiting
    shipper.close()


def test_lines_that_the_disk_did_not_take_are_shipped_all_the_same(tmp_path: Path, stand: Loki) -> None:
    log = opened(tmp_path, stand)
    log._file.close()
    for path in tmp_path.glob("suite.jsonl"):
        path.unlink()
        path.mkdir()
    logging.getLogger("suite").warning("only there")
    assert stand.wait(lambda: stand.messages() == ["only there"]) and log.lost == 1
    log.close()


@pytest.mark.parametrize("url", ["loki", "ftp://h", "http://", "http://me:pw-secret@h:3100", "http://[::1", "http://h:99999999"])
def test_a_url_that_is_none_is_one_sentence(url: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"LOKI_URL is .* but must be such as http://127\.0\.0\.1:3100") as refused:
        open_log(load({"loki_url": url}, environ={}), tmp_path)
    assert "pw-secret" not in str(refused.value) and "\n" not in str(refused.value)
    assert not [thread for thread in threading.enumerate() if thread.name == "suite-loki"]


@pytest.mark.parametrize("url", ["{}", "{}/", "{}/loki/api/v1/push"])
def test_the_url_may_name_the_route_or_not(url: str, stand: Loki) -> None:
    shipper = Shipper(url.format(stand.url))
    shipper.put(time.time(), "stack", "info", '{"message": "x"}')
    assert stand.wait(lambda: stand.entries) and stand.wrong == []
    shipper.close()
    shipper.close()
