"""Advice on made-up usage: each sentence appears at its limit, with its numbers, and not below it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from suite.usage.advise import Advice, advise
from suite.usage.record import Usage

DAY = 86_400
NOW = 1_767_279_600.0
ONE = Usage(at=NOW - DAY, who="ann", alias="chat-7b", model="qwen", server="inference-chat", prompt_tokens=10, tokens=4, cached=6, seconds=0.5,
            outcome="ok", queue_seconds=0.0, first_seconds=0.1)


def rows(count: int, **changed: Any) -> list[Usage]:
    return [replace(ONE, **changed) for _ in range(count)]


def at(hour: int) -> float:
    """A moment yesterday at that local hour."""
    return datetime.fromtimestamp(NOW - DAY).replace(hour=hour, minute=30).timestamp()


def of(kind: str, asked: Sequence[Usage], **more: Any) -> list[Advice]:
    return [one for one in advise(asked, NOW, **more) if one.kind == kind]


def test_of_few_requests_nothing_is_said_but_that() -> None:
    (only,) = advise(rows(49, outcome="timeout"), NOW, NOW - 90 * DAY, {})
    assert (only.kind, only.numbers) == ("too little", {"requests": 49}) and only.sentence == "Nothing can be said of 49 requests; 50 are needed."
    assert advise(rows(50), NOW) == []


def test_a_queue_that_is_long_at_a_busy_hour() -> None:
    (advice,) = advise([*rows(60, at=at(14), queue_seconds=8.0), *rows(30, at=at(3))], NOW)
    assert advice.numbers == {"hour": 14, "queue_p95": 8.0, "requests": 60} and advice.about == "chat-7b"
    assert advice.sentence.startswith("One request in twenty to chat-7b waits more than 8.0 s for its turn between 14:00 and 15:00 (60 requests);")
    assert "between 23:00 and 00:00" in of("queue", rows(60, at=at(23), queue_seconds=8.0))[0].sentence
    assert advise(rows(60, at=at(14), queue_seconds=5.0), NOW) == []
    assert of("queue", [*rows(60, at=at(14)), *rows(19, at=at(15), queue_seconds=60.0)]) == []  # too few to speak of an hour
    busier = [*rows(40, at=at(1)), *rows(40, at=at(2)), *rows(40, at=at(3))]
    assert of("queue", [*busier, *rows(30, at=at(14), queue_seconds=60.0)]) == []  # none of the three busiest hours
    assert of("queue", rows(60, queue_seconds=None)) == []


def test_replies_that_begin_late_although_they_did_not_wait() -> None:
    (advice,) = advise(rows(60, first_seconds=11.0, seconds=20.0), NOW)
    assert (advice.kind, advice.numbers) == ("late", {"first_p95": 11.0, "queue_p95": 0.0, "requests": 60}) and "later than 11.0 s" in advice.sentence
    assert of("late", rows(60, first_seconds=10.0)) == of("late", rows(60, first_seconds=11.0, queue_seconds=5.6)) == []
    assert of("late", [*rows(19, first_seconds=99.0), *rows(60, first_seconds=None)]) == [] and of("late", rows(60, first_seconds=99.0, outcome="timeout")) == []


def test_stand_ins_above_one_in_twenty() -> None:
    (advice,) = advise([*rows(94), *rows(6, outcome="fallback", server="gpu-box")], NOW)
    assert advice.numbers == {"share": 0.06, "requests": 100, "fallbacks": 6}
    assert advice.sentence.startswith("6% of 100 requests to chat-7b were answered by a stand-in, mostly gpu-box;")
    assert advise([*rows(95), *rows(5, outcome="fallback")], NOW) == []
    assert advise([*rows(95), *rows(19, alias="code-7b", outcome="fallback")], NOW) == []  # too few of that alias


def test_failures_above_one_in_twenty_of_those_that_nobody_cancelled() -> None:
    (advice,) = advise([*rows(90), *rows(6, outcome="timeout"), *rows(4, outcome="UpstreamError")], NOW)
    assert advice.numbers == {"share": 0.1, "requests": 100, "failed": 10, "most": "timeout"} and "most often with timeout (6 times)" in advice.sentence
    assert advise([*rows(95), *rows(5, outcome="timeout")], NOW) == []
    assert of("failures", [*rows(40), *rows(60, outcome="cancelled"), *rows(3, outcome="timeout")])[0].numbers["requests"] == 43
    assert of("failures", [*rows(19, outcome="timeout"), *rows(60, outcome="cancelled")]) == []


def test_a_server_that_nobody_used_for_thirty_days() -> None:
    month, used = NOW - 31 * DAY, {"inference-chat": NOW}
    (advice,) = advise(rows(60), NOW, month, used)
    assert (advice.kind, advice.about, advice.numbers) == ("unused", "inference-code", {"days": 31})
    assert advice.sentence.startswith(f"inference-code was not used since {datetime.fromtimestamp(month).date()}, 31 days ago;")
    assert "bench.unload_model('code')" in advice.sentence
    long_ago = of("unused", rows(60), first=NOW - 90 * DAY, uses={**used, "inference-code": NOW - 40 * DAY})
    assert long_ago[0].numbers == {"days": 40} and "was last used on" in long_ago[0].sentence
    assert of("unused", rows(60), first=NOW - 90 * DAY, uses={**used, "inference-code": NOW - 29 * DAY}) == []
    assert of("unused", rows(60), first=NOW - 29 * DAY, uses=used) == [] == of("unused", rows(60), first=None, uses=used)
    assert of("unused", rows(60), first=month, uses=used, loaded=["inference-chat"]) == []  # nothing is loaded there
    assert len(of("unused", rows(60), first=month, uses={}, loaded=["inference-chat", "inference-code"])) == 2


def test_each_advice_names_its_numbers_in_its_sentence() -> None:
    bad = [*rows(60, at=at(14), queue_seconds=8.0), *rows(30, outcome="fallback"), *rows(30, outcome="timeout"),
           *rows(60, alias="code-7b", first_seconds=30.0)]
    found = advise(bad, NOW, NOW - 60 * DAY, {})
    assert {one.kind for one in found} == {"queue", "late", "fallback", "failures", "unused"} and len(found) == 6
    for one in found:
        assert any(char.isdigit() for char in one.sentence) and one.sentence.endswith(".") and one.numbers and one.to_dict()["about"] == one.about


@pytest.fixture(autouse=True, scope="module")
def utc() -> object:
    """One zone, whatever the machine's: half of an hour is in no two of them."""
    patch = pytest.MonkeyPatch()
    patch.setenv("TZ", "UTC")
    time.tzset()
    yield
    patch.undo()
    time.tzset()
